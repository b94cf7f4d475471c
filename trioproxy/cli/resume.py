"""`trioproxy resume`: takes a drained upstream of a running proxy back."""

import click

from trioproxy.cli._remote import Asked, talks_to_a_proxy


@click.command()
@click.argument("pool")
@click.argument("upstream")
@talks_to_a_proxy
def resume(asked: Asked, pool: str, upstream: str) -> None:
    """Give UPSTREAM of POOL work again, also in the middle of its drain."""
    with asked.asking():
        document = asked.remote.resume(pool, upstream)
        asked.tell(document, f"{document['upstream']} of pool {document['pool']}: {document['state']}")
