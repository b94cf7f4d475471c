"""`trioproxy drain`: takes one upstream out of a running proxy, politely."""

import time
from typing import Any

import click

from trioproxy.cli._remote import Asked, counted, duration, talks_to_a_proxy
from trioproxy.remote import RemoteError

_LOOK_SECONDS = 0.5  # between two looks at how far it is
_GRACE_SECONDS = 10.0  # behind the deadline: what is cut takes a moment to be gone

_SECONDS = click.FloatRange(min=0)


@click.command()
@click.argument("pool")
@click.argument("upstream")
@click.option("--spread", type=_SECONDS, help="Seconds over which its tunnels are closed.  [default: server.drain's]")
@click.option("--timeout", type=_SECONDS, help="Seconds after which the rest is cut.  [default: server.drain's]")
@click.option("--wait", is_flag=True, help="Return when nothing is left.")
@talks_to_a_proxy
def drain(asked: Asked, pool: str, upstream: str, spread: float | None, timeout: float | None, *, wait: bool) -> None:
    """Give UPSTREAM of POOL no new work and close its tunnels with 1012."""
    times = {name: value for name, value in (("spread", spread), ("timeout", timeout)) if value is not None}
    with asked.asking():
        document = asked.remote.drain(pool, upstream, times)
        if wait:
            document = {**document, **_drained(asked, document)}
        asked.tell(document, _words(document))


def _drained(asked: Asked, document: Any) -> dict[str, Any]:
    """How the upstream stands when nothing is left. Raises RemoteError where that does not come about."""
    late = 0.0
    while True:
        found = _find(asked.remote.status(), document["pool"], document["upstream"])
        if found is None or found["drain"] is None:
            raise RemoteError(f"{document['upstream']} of pool {document['pool']} is not drained any more")
        if not found["active"]:
            return {name: found[name] for name in ("state", "active", "tunnels")}
        if found["drain"]["cut_in_seconds"] == 0:
            late += _LOOK_SECONDS
        if late > _GRACE_SECONDS:
            raise RemoteError(f"{document['upstream']} still has {found['active']} behind the deadline")
        time.sleep(_LOOK_SECONDS)


def _find(status: Any, pool: str, upstream: str) -> Any:
    found = [
        each
        for one in status["pools"]
        if one["name"] == pool
        for each in one["upstreams"]
        if each["address"] == upstream
    ]
    return found[0] if found else None


def _words(document: Any) -> str:
    name = f"{document['upstream']} of pool {document['pool']}"
    if not document["active"]:
        return f"{name}: drained"
    requests = document["active"] - document["tunnels"]
    more = f" and {counted(requests, 'request')}" if requests else ""
    times = f"over {duration(document['spread'])}, cut in {duration(document['timeout'])}"
    return f"{name}: draining, {counted(document['tunnels'], 'tunnel')}{more} to end {times}"
