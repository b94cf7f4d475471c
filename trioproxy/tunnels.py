"""An open tunnel's life around the relay: listed, counted live, logged when it opens and when it ends.

Moving its bytes is `relay`'s work, the handshake before it `upgrade`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy import metrics as m
from trioproxy.access_log import log_end, log_tunnel_open
from trioproxy.counts import close_code, close_code_label, status_label
from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.relay.tunnel import SERVICE_RESTART

if TYPE_CHECKING:
    from trioproxy.config import RouteConfig
    from trioproxy.context import Context
    from trioproxy.upgrade import Upgraded


def tunnel_opened(context: Context, opened: Upgraded) -> None:
    """List, count and log it before it is relayed; it is asked to close at once where it came too late."""
    _record_start(context, opened)
    if context.draining:
        opened.tunnel.close(context.config.server.drain.code, Reason.DRAINING)
    elif route_in_force(context, opened) is None:
        opened.tunnel.close(SERVICE_RESTART, Reason.REMOVED)
    elif opened.connection.upstream.draining:
        opened.tunnel.close(SERVICE_RESTART, Reason.DRAINING)


def tunnel_ended(context: Context, opened: Upgraded) -> None:
    """End with it the lease and the upstream's connection; the client's is the caller's. Count and log it."""
    opened.connection.close()
    opened.record.duration_s = context.now() - opened.since
    _record_end(context, opened)


def route_in_force(context: Context, opened: Upgraded) -> RouteConfig | None:
    """A tunnel's route as it is now; None where listener, route, pool and upstream no longer lead to each other."""
    if context.ways is None:  # it is the configuration of the start
        return opened.route
    upstream = opened.connection.upstream
    if opened.entrance.closed or upstream.gone:
        return None
    listener, host = opened.entrance.config.name, opened.record.host.encode("latin-1")
    return context.ways.find(listener, opened.route, host, upstream.pool)


def _record_start(context: Context, opened: Upgraded) -> None:
    record = opened.record
    context.tunnels[record.id] = opened
    opened.connection.upstream.connections.discard(opened.connection)  # where to find it now is `context.tunnels`
    context.open_tunnels.claim()
    context.metrics.inc(m.REQUESTS, (record.route, record.pool, record.kind, status_label(record.status)))
    context.metrics.inc(m.TUNNELS, (record.route, record.pool, record.upstream))
    context.metrics.inc(m.TUNNELS_ACTIVE, (record.route, record.pool, record.upstream))
    log_tunnel_open(context.log, record)


def _record_end(context: Context, opened: Upgraded) -> None:
    record, tunnel = opened.record, opened.tunnel
    tunnel.publish()
    del context.tunnels[record.id]
    context.open_tunnels.release()
    context.metrics.inc(m.TUNNELS_ACTIVE, (record.route, record.pool, record.upstream), -1)
    context.metrics.observe(m.TUNNEL_DURATION, (record.pool,), record.duration_s)
    if record.ending is not None:
        by = record.ending.told.by
        code = close_code_label(close_code(tunnel, by))
        context.metrics.inc(m.CLOSES, (record.pool, record.upstream, by, code))
        count_ending(context, record.ending)
        context.blame(opened.connection.upstream, record.ending)
    log_end(context.log, record)


def unforeseen(error: BaseException, phase: Phase) -> Ending:
    """How that ends which an exception ends: cut where it was cancelled (in a group, if by a nursery), else a bug."""
    return Ending(Source.PROXY, phase, Reason.INTERNAL if isinstance(error, Exception) else Reason.CUT)


def count_ending(context: Context, ending: Ending) -> None:
    """Count one ending, whatever it ended."""
    told = ending.told
    context.metrics.inc(m.ENDINGS, (told.by, told.phase, told.reason))
