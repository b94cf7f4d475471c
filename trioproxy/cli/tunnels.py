"""`trioproxy tunnels`: the open tunnels of a running proxy."""

from typing import Any

import click

from trioproxy.cli._remote import Asked, counted, duration, octets, table, talks_to_a_proxy

_COLUMNS = ("id", "client", "route", "pool", "upstream", "subprotocol", ">age", ">idle")
_COUNTS = (">msgs up", ">msgs down", ">bytes up", ">bytes down")


@click.command()
@click.option("--pool", help="Only those to this pool.")
@click.option("--upstream", help="Only those to this upstream.")
@click.option("--route", help="Only those by this route.")
@click.option("--listener", help="Only those by this listener.")
@click.option("--client", help="Only those from this address.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@talks_to_a_proxy
def tunnels(asked: Asked, limit: int | None, **where: str | None) -> None:
    """List open tunnels.

    `up` is what the client sent to the upstream, `down` what it got.
    """
    wanted = {name: value for name, value in where.items() if value is not None}
    rows: list[Any] = []
    total = 0
    with asked.asking():
        for total, page in asked.remote.tunnels(limit, wanted):  # noqa: B007 - the last one is told
            rows += page
        asked.tell(rows, _words(rows, total))


def _words(rows: list[Any], total: int) -> str:
    if not rows:
        return "no tunnels"
    shown = f"{len(rows)} of {counted(total, 'tunnel')}" if len(rows) < total else counted(len(rows), "tunnel")
    return f"{table((*_COLUMNS, *_COUNTS), [_row(row) for row in rows])}\n\n{shown}"


def _row(row: Any) -> tuple[str, ...]:
    ways = ("to_upstream", "to_client")
    return (
        row["id"] + (" (closing)" if row["closing"] else ""),
        row["client"],
        row["route"],
        row["pool"],
        row["upstream"],
        row["subprotocol"],
        duration(row["age"]),
        duration(row["idle"]),
        *(str(row["messages"][way]) for way in ways),
        *(octets(row["bytes"][way]) for way in ways),
    )
