"""The series that a configuration makes known beforehand: they exist at 0 before anything happened.

Those that only come about by what happens (statuses, endings) are made when they are first counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.metrics.meter import declare_tunnel_series
from trioproxy.metrics.table import CONNECTIONS, CONNECTIONS_ACTIVE, TUNNELS, TUNNELS_ACTIVE

if TYPE_CHECKING:
    from trioproxy.config import Config
    from trioproxy.metrics.registry import Metrics


def declare_series(metrics: Metrics, config: Config) -> None:
    """Make them exist; those that do are left as they are."""
    for listener in config.listeners:
        metrics.declare(CONNECTIONS, (listener.name,))
        metrics.declare(CONNECTIONS_ACTIVE, (listener.name,))
    for pool in config.pools.values():
        for upstream in pool.upstreams:
            declare_tunnel_series(metrics, pool.name, upstream.address)
    for route in config.routes:
        for upstream in config.pools[route.pool].upstreams:
            metrics.declare(TUNNELS, (route.name, route.pool, upstream.address))
            metrics.declare(TUNNELS_ACTIVE, (route.name, route.pool, upstream.address))
