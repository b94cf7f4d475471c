"""What a running proxy says of itself: readiness, the status document, the gauges computed at a scrape.

How it is asked is `admin`'s business.
"""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from trioproxy import metrics as m
from trioproxy._version import __version__
from trioproxy.counts import DIRECTIONS
from trioproxy.health import UpstreamState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trioproxy.config import ListenerConfig
    from trioproxy.context import Context
    from trioproxy.metrics import Labels, Metric
    from trioproxy.upstreams import Pool, Upstream

    Sums = Mapping[Metric, Mapping[Labels, float]]


class Listening(Protocol):
    """What is told of a listener."""

    @property
    def config(self) -> ListenerConfig:
        """Its settings in force."""
        ...

    @property
    def address(self) -> str:
        """As bound."""
        ...

    @property
    def active(self) -> int:
        """Its client connections."""
        ...


@attrs.define(eq=False)
class Status:
    """Reads, and changes nothing; `accepting` is set once the first probe round is over."""

    context: Context
    listeners: Sequence[Listening]
    workers: int = 1
    accepting: bool = False
    _started: float = attrs.field(factory=time.monotonic, init=False)

    def ready(self) -> tuple[bool, dict[str, object]]:
        """Whether traffic should be sent here, and why (not): for /readyz."""
        pools = {pool.name: pool.ready for pool in self.context.pools.values()}
        needed = self.context.config.admin.ready_pools
        served = all(pools[name] for name in needed) and any(pools.values())
        ready = self.accepting and not self._ending and served
        return ready, {"ready": ready, "state": self.state, "pools": pools}

    def summary(self) -> str:
        """The same as `status`, in a line for people."""
        upstreams = [upstream for pool in self.context.pools.values() for upstream in pool.upstreams]
        up = sum(upstream.health.state is UpstreamState.UP for upstream in upstreams)
        return (
            f"{self.state}: {self.context.clients.total} connections, {self.context.open_tunnels.total} tunnels, "
            f"{up} of {len(upstreams)} upstreams up"
        )

    def status(self) -> dict[str, object]:
        """The document of /api/status."""
        metrics = self.context.metrics
        # In one go: asked for upstream by upstream, the time would grow with their square.
        sums = {
            **metrics.sums(m.TUNNELS_ACTIVE, m.TUNNELS, by=("pool", "upstream")),
            **metrics.sums(m.MESSAGES, m.BYTES, by=("pool", "upstream", "direction")),
        }
        return {
            "version": __version__,
            "state": self.state,
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "workers": self.workers,
            "connections": self.context.clients.total,
            "tunnels": self.context.open_tunnels.total,
            "listeners": [
                {
                    "name": listener.config.name,
                    "address": listener.address,
                    "tls": listener.config.tls is not None,
                    "certificate_expires": self.context.certificates.expires(listener.config.tls),
                    "active": self._active(listener),
                }
                for listener in self.listeners
            ],
            "chaos": None if self.context.injections is None else self.context.injections(),
            "pools": [_pool(pool, sums) for pool in self.context.pools.values()],
        }

    def gauges(self) -> Iterator[tuple[Metric, Labels, float]]:
        """What is computed at a scrape rather than counted."""
        yield m.BUILD_INFO, (__version__, platform.python_version(), trio.__version__), 1
        yield m.DRAINING, (), self._ending
        yield m.CONNECTIONS_LIMIT, (), self._most_connections()
        for listener in self.listeners:
            if (expires := self.context.certificates.expires(listener.config.tls)) is not None:
                yield m.CERTIFICATE_EXPIRY, (listener.config.name,), expires
        for pool in self.context.pools.values():
            for upstream in pool.upstreams:
                labels = (pool.name, upstream.address)
                yield m.UPSTREAM_UP, labels, upstream.health.state is UpstreamState.UP
                yield m.UPSTREAM_ACTIVE, labels, upstream.active
                yield m.UPSTREAM_WEIGHT, labels, upstream.weight
                for state in UpstreamState:
                    yield m.UPSTREAM_STATE, (*labels, state), upstream.state is state

    def _active(self, listener: Listening) -> int:
        if self.workers == 1:
            return listener.active
        return int(self.context.metrics.value(m.CONNECTIONS_ACTIVE, (listener.config.name,)))

    def _most_connections(self) -> int:
        # What descriptors allow is each process's own; all have the same limit.
        return min(self.context.config.limits.max_connections, self.context.max_connections * self.workers)

    @property
    def _ending(self) -> bool:
        return self.context.lame_duck or self.context.draining

    @property
    def state(self) -> str:
        """`starting`, `running` or `draining`."""
        if self._ending:
            return "draining"
        return "running" if self.accepting else "starting"


def _pool(pool: Pool, sums: Sums) -> dict[str, Any]:
    return {**describe_pool(pool), "upstreams": [_upstream(upstream, sums) for upstream in pool.upstreams]}


def describe_pool(pool: Pool) -> dict[str, Any]:
    """What is told of a pool wherever one is told of, but for its upstreams."""
    queued = pool.queue.length.total if pool.queue is not None else 0
    return {"name": pool.name, "balance": pool.config.balance, "queued": queued}


def _upstream(upstream: Upstream, sums: Sums) -> dict[str, Any]:
    def total(metric: Metric, *more: str) -> float:
        return sums[metric].get((*upstream.labels, *more), 0)

    return {
        **describe_upstream(upstream),
        "tunnels": total(m.TUNNELS_ACTIVE),
        "tunnels_total": total(m.TUNNELS),
        "messages_total": {direction: total(m.MESSAGES, direction) for direction in DIRECTIONS},
        "bytes_total": {direction: total(m.BYTES, direction) for direction in DIRECTIONS},
    }


def describe_upstream(upstream: Upstream) -> dict[str, Any]:
    """How it stands at this moment, without what it has counted."""
    probe = upstream.last_probe
    return {
        "address": upstream.address,
        "state": upstream.state,
        "health": upstream.health.state,
        "drain": {"cut_in_seconds": round(upstream.cut_in(), 3)} if upstream.draining else None,
        "ejection": {"returns_in_seconds": round(upstream.returns_in(), 3)} if upstream.ejected else None,
        "weight": round(upstream.weight, 3),
        "backup": upstream.backup,
        "active": upstream.active,
        "last_probe": attrs.asdict(probe) if probe else None,
    }
