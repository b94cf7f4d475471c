"""`trioproxy status`: how a running proxy and its upstreams stand."""

import time
from typing import Any

import click

from trioproxy.cli._remote import Asked, counted, duration, table, talks_to_a_proxy

_COLUMNS = ("pool", "upstream", "state", ">active", ">tunnels", ">total", ">weight", "last probe")


@click.command()
@talks_to_a_proxy
def status(asked: Asked) -> None:
    """Show listeners, pools and upstreams of a running proxy."""
    with asked.asking():
        document = asked.remote.status()
        asked.tell(document, _words(document))


def _words(document: Any) -> str:
    counts = f"{counted(document['connections'], 'connection')}, {counted(document['tunnels'], 'tunnel')}"
    head = f"trioproxy {document['version']}, {document['state']}, up {duration(document['uptime_seconds'])}: {counts}"
    if (faults := document.get("chaos")) is not None:
        head += f"; chaos is allowed, {counted(len(faults), 'fault')} on"
    listeners = [(each["name"], _address(each), str(each["active"])) for each in document["listeners"]]
    upstreams = [_row(pool, upstream) for pool in document["pools"] for upstream in pool["upstreams"]]
    tables = [table(("listener", "address", ">active"), listeners), table(_COLUMNS, upstreams)]
    if processes := document.get("processes"):
        tables.insert(0, table(("worker", ">pid", "state", ">restarts"), [_process(each) for each in processes]))
    return "\n\n".join([head, *tables])


def _address(listener: Any) -> str:
    return f"{listener['address']} (TLS)" if listener["tls"] else str(listener["address"])


def _process(process: Any) -> tuple[str, ...]:
    state = "serving" if process["serving"] else "starting" if process["pid"] else "gone"
    return str(process["worker"]), str(process["pid"] or ""), state, str(process["restarts"])


def _row(pool: Any, upstream: Any) -> tuple[str, ...]:
    return (
        pool["name"],
        upstream["address"] + (" (backup)" if upstream["backup"] else ""),
        _state(upstream),
        str(upstream["active"]),
        str(upstream["tunnels"]),
        str(upstream["tunnels_total"]),
        f"{upstream['weight']:g}",
        _probe(upstream["last_probe"]),
    )


def _state(upstream: Any) -> str:
    """`up`; `ejected, back in 8 s`; `draining, cut in 21 s`; `drained (down)`."""
    if upstream["state"] == "ejected":
        return f"ejected, back in {duration(upstream['ejection']['returns_in_seconds'])}"
    if upstream["drain"] is None:
        return str(upstream["state"])
    health = "" if upstream["health"] == "up" else f" ({upstream['health']})"
    if not upstream["active"]:
        return f"drained{health}"
    return f"draining, cut in {duration(upstream['drain']['cut_in_seconds'])}{health}"


def _probe(probe: Any) -> str:
    if probe is None:
        return ""
    ago = duration(max(0.0, time.time() - probe["when"]))
    detail = f": {probe['detail']}" if probe["detail"] else ""
    return f"{probe['result']} {ago} ago, took {probe['seconds'] * 1000:.1f} ms{detail}"
