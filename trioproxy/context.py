"""What all connections of a running proxy share: the configuration in force, the living pools, the places to report to.

It only holds them together; `server` fills it and owns the lives of what is in it.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.board import Tally
from trioproxy.certificates import Certificates
from trioproxy.ejection import failure_of
from trioproxy.metrics import TunnelMeter
from trioproxy.per_client import PerClient
from trioproxy.waits import Wait, Waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from trioproxy.changes import Ways
    from trioproxy.client import Entrance
    from trioproxy.config import Config
    from trioproxy.dialing import IdleConnections
    from trioproxy.errors import Ending
    from trioproxy.listening import Listener
    from trioproxy.logs import Log
    from trioproxy.metrics import Metrics
    from trioproxy.readiness import Readiness
    from trioproxy.relay import Relay
    from trioproxy.routing import Router
    from trioproxy.upgrade import Upgraded
    from trioproxy.upstreams import Pool, Upstream


SLICE: Final = 512  # tunnels that are visited at a time: less than a millisecond


def new_ids() -> Iterator[str]:
    """Ids such as `5f3a9c-1`: a random part for the process, then a running number."""
    prefix = os.urandom(3).hex()
    return (f"{prefix}-{number:x}" for number in itertools.count(1))


def _nothing(_upstream: Upstream) -> None:
    pass


@attrs.define(eq=False)
class Context:
    """Shared by every connection; changed only between awaits, and only by `server` and, at a reload, `reloading`.

    To be made inside the Trio run that it is for.
    """

    config: Config
    router: Router
    pools: Mapping[str, Pool]
    idle: Mapping[str, IdleConnections]  # by pool
    metrics: Metrics
    log: Log
    relay: Relay
    max_connections: int  # of this process: `limits.max_connections`, or what its descriptors allow
    certificates: Certificates = attrs.field(factory=Certificates)  # of listeners and pools
    clients: Tally = attrs.field(factory=Tally.alone)  # open client connections of all processes
    open_tunnels: Tally = attrs.field(factory=Tally.alone)  # of all processes
    per_client: PerClient = attrs.field(factory=PerClient)  # open connections of all processes, where they are limited
    worker: int = 0  # which of the worker processes this is
    supervised: bool = False  # another process has bound the listeners, and tells of them
    name: str = "0"  # of this process: the label `worker` of what is measured of one
    connections: int = 0  # open client connections; those being rejected do not count
    lame_duck: bool = False  # a drain has been announced: not ready any more, but everything is served as before
    draining: bool = False  # no new work is taken
    # The waits of client connections that have no request under way: a drain ends them.
    waiting: dict[Wait, Entrance] = attrs.field(factory=dict)
    tunnels: dict[str, Upgraded] = attrs.field(factory=dict)  # by id
    # The injected faults that are on; None where none may be, and in a process that is told what to inject.
    injections: Callable[[], list[dict[str, Any]]] | None = attrs.field(default=None, init=False)
    leaving: Sequence[Listener] = ()  # those that the last reload removed, until the next
    ways: Ways | None = attrs.field(default=None, init=False)  # of the configuration in force; None before a reload
    waits: Waits = attrs.field(factory=Waits, init=False)
    readiness: Readiness | None = attrs.field(default=None, init=False)  # where there is epoll
    on_failure: Callable[[Upstream], object] = attrs.field(default=_nothing, init=False)  # of an upstream, just counted
    meter: TunnelMeter = attrs.field(init=False)
    now: Callable[[], float] = attrs.field(init=False)  # what trio.current_time says, at a fourth of the cost
    _ended: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _ids: Iterator[str] = attrs.field(factory=new_ids, init=False)

    def __attrs_post_init__(self) -> None:
        self.meter = TunnelMeter(self.metrics)
        self.now = trio.lowlevel.current_clock().current_time

    def trust(self, certificates: Certificates) -> None:
        """Shake hands with clients and upstreams by these from here on; which upstreams have to, their pools say."""
        self.certificates = certificates
        for pool in self.pools.values():
            for upstream in pool.upstreams:
                upstream.identity = certificates.identity(pool.config.tls, upstream.host)

    def next_id(self) -> str:
        """An id for one exchange: unique in this process, and very likely among all."""
        return next(self._ids)

    def connection_began(self) -> bool:
        """Count a client connection, unless there are as many as there may be, here or over all processes."""
        if self.connections >= self.max_connections or not self.clients.claim(self.config.limits.max_connections):
            return False
        self.connections += 1
        return True

    def connection_ended(self) -> None:
        """Count it off again, and wake who waits for the last one."""
        self.connections -= 1
        self.clients.release()
        if self.connections == 0:
            self._ended.unpark_all()

    async def no_connections(self) -> None:
        """Wait until no client connection is open."""
        while self.connections:
            await self._ended.park()

    def close_idle(self) -> None:
        """Close all connections to upstreams that wait for a next request."""
        for idle in self.idle.values():
            idle.close()

    def ends(self, entrance: Entrance) -> bool:
        """Whether connections that came in by it are to ask for nothing more."""
        return self.draining or entrance.closed

    def blame(self, upstream: Upstream, ending: Ending) -> None:
        """Count it where a connection ended by a failure of the upstream's own, and tell who judges by that."""
        failure = failure_of(ending)
        if failure is not None:
            self.metrics.inc(m.UPSTREAM_FAILURES, (*upstream.labels, failure))
            self.on_failure(upstream)

    async def publish_tunnels(self) -> None:
        """Bring the metrics up to date with what the open tunnels have counted: some at a time, as they are many."""
        for number, opened in enumerate([*self.tunnels.values()], start=1):
            opened.tunnel.publish()
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
        self.meter.publish()
