"""`trioproxy fault`: injects faults into a running proxy that has `admin.chaos`, tells which are on, ends them."""

from typing import Any

import click

from trioproxy.cli._remote import Asked, counted, duration, table, talks_to_a_proxy

_COLUMNS = (">id", "verb", "pool", "upstream", ">share", "with", "struck", "left", "asked by")

_POOL = click.argument("pool")
_UPSTREAM = click.argument("upstream")
_SHARE = click.option("--share", type=float, required=True, help="The part concerned, above 0 up to 1.")
_SECONDS = click.option("--seconds", type=float, required=True, help="For how long, up to 3600.")
_SEED = click.option("--seed", type=int, help="The same seed makes the same choice.  [default: any]")


@click.group()
def fault() -> None:
    """Inject faults into a running proxy, on purpose: [admin] chaos = true has to allow it."""


@fault.command()
@_POOL
@_UPSTREAM
@_SHARE
@click.option("--code", type=int, help="The Close code its clients are sent.  [default: 1012]")
@click.option("--spread", type=float, help="Seconds over which they are closed.  [default: all at once]")
@_SEED
@talks_to_a_proxy
def close(asked: Asked, pool: str, upstream: str, **settings: Any) -> None:
    """Close a share of the open tunnels of UPSTREAM of POOL."""
    _inject(asked, "close", pool, upstream, settings)


@fault.command()
@_POOL
@_UPSTREAM
@_SHARE
@_SECONDS
@_SEED
@talks_to_a_proxy
def blackhole(asked: Asked, pool: str, upstream: str, **settings: Any) -> None:
    """Let nothing through a share of the open tunnels of UPSTREAM of POOL, for a while."""
    _inject(asked, "blackhole", pool, upstream, settings)


@fault.command()
@_POOL
@_UPSTREAM
@_SHARE
@_SECONDS
@click.option("--status", help='What clients are answered, 400 to 599, or "reset".  [default: 503]')
@_SEED
@talks_to_a_proxy
def refuse(asked: Asked, pool: str, upstream: str, *, status: str | None, **settings: Any) -> None:
    """Refuse a share of the upgrades for UPSTREAM of POOL, as though it had done so itself."""
    number = int(status) if status is not None and status.isascii() and status.isdigit() else status
    _inject(asked, "refuse", pool, upstream, {**settings, "status": number})


@fault.command(name="list")
@talks_to_a_proxy
def list_(asked: Asked) -> None:
    """Show the injected faults that are on."""
    with asked.asking():
        document = asked.remote.faults()
        rows = [_row(each) for each in document["faults"]]
        asked.tell(document, table(_COLUMNS, rows) if rows else "no faults")


@fault.command()
@talks_to_a_proxy
def stop(asked: Asked) -> None:
    """End all injected faults now."""
    with asked.asking():
        document = asked.remote.stop_faults()
        asked.tell(document, f"{counted(len(document['stopped']), 'fault')} ended")


def _inject(asked: Asked, verb: str, pool: str, upstream: str, settings: dict[str, Any]) -> None:
    given = {name: value for name, value in settings.items() if value is not None}
    with asked.asking():
        document = asked.remote.inject(verb, pool, upstream, given)
        asked.tell(document, _words(document))


def _words(document: Any) -> str:
    name = f"{document['upstream']} of pool {document['pool']}"
    for_long = f"for {duration(document['seconds'])}"
    seed = f"fault {document['id']}, seed {document['seed']}"
    if document["verb"] == "refuse":
        with_what = "reset" if document["status"] == "reset" else f"answered {document['status']}"
        return f"{name}: {_percent(document)} of upgrades {with_what} {for_long} ({seed})"
    struck = f"{document['tunnels']} of {counted(document['of'], 'tunnel')}"
    if document["verb"] == "close":
        spread = f" over {duration(document['seconds'])}" if document["seconds"] else ""
        return f"{name}: {struck} closing with {document['code']}{spread} ({seed})"
    return f"{name}: {struck} in a black hole {for_long} ({seed})"


def _row(each: Any) -> tuple[str, ...]:
    if each["verb"] == "refuse":
        struck = counted(each["handshakes"], "upgrade")
    else:
        struck = f"{each['tunnels']} of {counted(each['of'], 'tunnel')}"
    said = str(each.get("status", each.get("code", "")))
    left = duration(each["remaining_seconds"])
    names = (str(each["id"]), each["verb"], each["pool"], each["upstream"])
    return (*names, _percent(each), said, struck, left, each["asked_by"])


def _percent(each: Any) -> str:
    return f"{each['share'] * 100:.3g} %"
