"""`trioproxy close`: closes one tunnel of a running proxy."""

import click

from trioproxy.cli._remote import Asked, talks_to_a_proxy


@click.command()
@click.argument("tunnel", metavar="ID")
@click.option("--code", type=int, default=1012, show_default=True, help="The Close code its client is sent.")
@talks_to_a_proxy
def close(asked: Asked, tunnel: str, code: int) -> None:
    """Close the tunnel ID, politely; `trioproxy tunnels` and the log have the ids."""
    with asked.asking(usage=(400,)):  # one that has ended meanwhile is no mistake of the operator's
        document = asked.remote.close(tunnel, code)
        asked.tell(document, f"{document['id']}: closing with {document['code']}")
