"""Faults, and orders, of the proxy itself: a worker killed, a reload, a drain, a new process, no descriptors left.

How they are given to one kind of proxy or another is `proxies`'.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping  # noqa: TC003 - read with the scenario's settings
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from trioproxy.chaos.faults.base import Fault
from trioproxy.config import CountOrNone, setting, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.faults.base import Stage


@attrs.frozen(kw_only=True, eq=False)
class WorkerKill(Fault):
    """SIGKILL for one worker process, chosen by the seed; its tunnels are lost, nobody else's."""

    name = "worker-kill"
    instant = True

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        worker = stage.random.choice(stage.proxy.workers())
        ports = stage.proxy.ports(worker)
        for hop in stage.hops:
            hop.harm(ports)
        os.kill(worker, signal.SIGKILL)


@attrs.frozen(kw_only=True, eq=False)
class Reload(Fault):
    """The proxy reads its configuration again, with these settings laid over it."""

    name = "reload"
    harms: ClassVar[bool] = False
    instant = True

    settings: Mapping[str, Any] = table(dict, "Tables and keys of the proxy's configuration.")

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        await stage.proxy.reload(self.settings)


@attrs.frozen(kw_only=True, eq=False)
class DrainUpstream(Fault):
    """Upstreams are drained at run time, and taken in again when it is over."""

    name = "drain-upstream"

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for upstream in upstreams:
            stage.hops[upstream].harm()
            await stage.proxy.drain_upstream(upstream)

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for upstream in upstreams:
            await stage.proxy.resume_upstream(upstream)


@attrs.frozen(kw_only=True, eq=False)
class Replace(Fault):
    """A new process takes the listening sockets over; the old one drains."""

    name = "replace"
    instant = True

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for hop in stage.hops:
            hop.harm()
        await stage.proxy.replace()


@attrs.frozen(kw_only=True, eq=False)
class Descriptors(Fault):
    """The proxy may open only a few descriptors more."""

    name = "descriptors"
    harms: ClassVar[bool] = False

    spare: CountOrNone = setting(0, "How many more than it has open.")

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        stage.proxy.limit_descriptors(self.spare)

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        stage.proxy.limit_descriptors(None)
