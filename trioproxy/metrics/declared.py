"""The series that a configuration makes known beforehand: they exist at 0 before anything happened.

Those of failures that alerts wait for are among them: `increase()` does not see a series begin. Others that only come
about by what happens (statuses, endings) are made when they are first counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.counts import HandshakeResult, close_code_label
from trioproxy.errors import Phase, Reason, Source
from trioproxy.metrics.meter import declare_tunnel_series
from trioproxy.metrics.table import (
    CLOSES,
    CONNECTIONS,
    CONNECTIONS_ACTIVE,
    CONNECTIONS_REJECTED,
    ENDINGS,
    HANDSHAKES,
    TUNNELS,
    TUNNELS_ACTIVE,
)

if TYPE_CHECKING:
    from trioproxy.config import Config
    from trioproxy.metrics.registry import Metrics


def declare_series(metrics: Metrics, config: Config) -> None:
    """Make them exist; those that do are left as they are."""
    for listener in config.listeners:
        metrics.declare(CONNECTIONS, (listener.name,))
        metrics.declare(CONNECTIONS_ACTIVE, (listener.name,))
        metrics.declare(CONNECTIONS_REJECTED, (listener.name, Reason.OVERLOADED))
    for phase in Phase:
        metrics.declare(ENDINGS, (Source.PROXY, phase, Reason.INTERNAL))
    for pool in config.pools.values():
        for upstream in pool.upstreams:
            declare_tunnel_series(metrics, pool.name, upstream.address)
            for by in Source:
                metrics.declare(CLOSES, (pool.name, upstream.address, by, close_code_label(None)))
    for route in config.routes:
        metrics.declare(HANDSHAKES, (route.name, route.pool, "none", HandshakeResult.UNREACHABLE))
        for upstream in config.pools[route.pool].upstreams:
            metrics.declare(TUNNELS, (route.name, route.pool, upstream.address))
            metrics.declare(TUNNELS_ACTIVE, (route.name, route.pool, upstream.address))
            for result in HandshakeResult:
                metrics.declare(HANDSHAKES, (route.name, route.pool, upstream.address, result))
