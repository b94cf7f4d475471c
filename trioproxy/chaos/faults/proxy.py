"""Faults, and orders, of the proxy itself: a worker killed, a reload, a drain, a new process, no descriptors left.

How they are given to one kind of proxy or another is `proxies`'.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping  # noqa: TC003 - read with the scenario's settings
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import trio

from trioproxy.chaos.faults.base import Fault, Share
from trioproxy.config import CloseCode, CountOrNone, SecondsOrNone, setting, table
from trioproxy.verbs import LONGEST_SECONDS, Verb

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
        ports = await trio.to_thread.run_sync(stage.proxy.ports, worker)  # the load goes on meanwhile
        for hop in stage.hops:
            hop.harm(ports)
        with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
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


@attrs.frozen(kw_only=True, eq=False)
class InjectClose(Fault):
    """The proxy closes tunnels to the upstreams, by its chaos verb: no hop is needed for it."""

    name = "inject-close"
    instant = True

    share: Share = setting(1.0, "Of each upstream's open tunnels, above 0 up to 1, chosen by the seed.")
    code: CloseCode = setting(1012, "Of the Close frames.")
    spread: SecondsOrNone = setting(0.0, "Seconds over which they are closed.")

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        await _inject(stage, upstreams, Verb.CLOSE, share=self.share, code=self.code, spread=self.spread)


@attrs.frozen(kw_only=True, eq=False)
class InjectBlackhole(Fault):
    """The proxy lets nothing through open tunnels to the upstreams, by its chaos verb, and goes on when it is over."""

    name = "inject-blackhole"

    share: Share = setting(1.0, "Of each upstream's open tunnels, above 0 up to 1, chosen by the seed.")

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        await _inject(stage, upstreams, Verb.BLACKHOLE, share=self.share, seconds=self.lasts or LONGEST_SECONDS)

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        await _end(self, stage)


@attrs.frozen(kw_only=True, eq=False)
class InjectRefuse(Fault):
    """The proxy refuses upgrades in the upstreams' name, by its chaos verb."""

    name = "inject-refuse"
    harms: ClassVar[bool] = False

    share: Share = setting(1.0, "Of the upgrades that would go there, above 0 up to 1, drawn by the seed.")
    status: CountOrNone = setting(503, "What they are answered, 400 to 599; 0: as though the connection was reset.")

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        seconds, status = self.lasts or LONGEST_SECONDS, self.status or "reset"
        await _inject(stage, upstreams, Verb.REFUSE, share=self.share, seconds=seconds, status=status)

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        await _end(self, stage)


async def _inject(stage: Stage, upstreams: Sequence[int], verb: Verb, **settings: object) -> None:
    for upstream in upstreams:
        if verb is not Verb.REFUSE:
            stage.hops[upstream].harm()  # which of its tunnels it will be only the proxy knows
        await stage.proxy.inject(upstream, verb, {**settings, "seed": stage.random.randrange(2**31)})


async def _end(fault: Fault, stage: Stage) -> None:
    if not fault.lasts:  # else it ends by itself, and others may be on
        await stage.proxy.stop_injecting()
