"""The open tunnels as a list in pages: which belong on a page, in which order, and what is told of each.

Pages of several processes make one page here, too; asking for them is `admin`'s and its `Control`'s.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trioproxy.record import Record
    from trioproxy.upgrade import Upgraded


def order(tunnel: str) -> tuple[int, str]:
    """The key that tunnels are listed by: of one process those that were asked for first come first.

    It depends on nothing but the id, so a page begun behind an id stays right while tunnels come and go. Numbers in ids
    have no zeros before them, so of those with one beginning a longer one is the later.
    """
    return len(tunnel), tunnel


def page(tunnels: Iterable[Upgraded], *, after: str, limit: int, where: Mapping[str, str]) -> dict[str, Any]:
    """`limit` tunnels behind the id `after` that have the values in `where`, and how many have them in `total`."""
    wanted = {one.record.id: one for one in tunnels if not where or _has(one.record, where)}
    # By `order`, without calling it: of 10,000 tunnels, 2 ms instead of 12
    ordered = sorted(wanted)
    ordered.sort(key=len)
    start, now = bisect_right(ordered, order(after), key=order), trio.current_time()
    return {"total": len(wanted), "tunnels": [_row(wanted[tunnel], now) for tunnel in ordered[start : start + limit]]}


def merge(pages: Iterable[Mapping[str, Any]], limit: int) -> dict[str, Any]:
    """One page of what several processes answered to the same question."""
    pages = list(pages)
    rows = heapq.nsmallest(limit, (row for one in pages for row in one["tunnels"]), key=lambda row: order(row["id"]))
    return {"total": sum(one["total"] for one in pages), "tunnels": rows}


def _has(record: Record, where: Mapping[str, str]) -> bool:
    return all(getattr(record, name) == value for name, value in where.items())


def _row(opened: Upgraded, now: float) -> dict[str, Any]:
    record, tunnel = opened.record, opened.tunnel
    ways = {"to_upstream": tunnel.to_upstream, "to_client": tunnel.to_client}
    last = max(opened.since, *(way.active for way in ways.values()))
    return {
        "id": record.id,
        "client": record.client,
        "listener": record.listener,
        "route": record.route,
        "pool": record.pool,
        "upstream": record.upstream,
        "host": record.host,
        "path": record.path,
        "subprotocol": record.subprotocol,
        "closing": tunnel.closing,
        "age": round(now - opened.since, 3),
        **({"request_id": record.request_id} if record.request_id else {}),
        "idle": round(max(0.0, now - last), 3),
        "frames": {name: way.frames for name, way in ways.items()},
        "messages": {name: way.messages for name, way in ways.items()},
        "bytes": {name: way.bytes for name, way in ways.items()},
    }
