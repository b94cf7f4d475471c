"""Faults of the upstreams' processes: killed, stopped, restarted.

How a process is started and signalled is `servers`'.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

import attrs
import trio

from trioproxy.chaos.faults.base import Fault
from trioproxy.config import SecondsOrNone, setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.faults.base import Stage


@attrs.frozen(kw_only=True, eq=False)
class _Signalled(Fault):
    number = signal.SIGKILL

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for upstream in upstreams:
            stage.hops[upstream].harm()
            stage.servers[upstream].signal(self.number)

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        async with trio.open_nursery() as nursery:
            for upstream in upstreams:
                nursery.start_soon(stage.servers[upstream].start)


@attrs.frozen(kw_only=True, eq=False)
class Kill(_Signalled):
    """SIGKILL; started again when it is over."""

    name = "kill"


@attrs.frozen(kw_only=True, eq=False)
class Terminate(_Signalled):
    """SIGTERM, so that it may say goodbye; started again when it is over."""

    name = "terminate"
    number = signal.SIGTERM


@attrs.frozen(kw_only=True, eq=False)
class Stop(_Signalled):
    """SIGSTOP: connections are accepted by the kernel and nobody speaks; SIGCONT when it is over."""

    name = "stop"
    number = signal.SIGSTOP

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for upstream in upstreams:
            stage.servers[upstream].signal(signal.SIGCONT)


@attrs.frozen(kw_only=True, eq=False)
class Restart(Fault):
    """SIGTERM, and started again as soon as it has ended; with `every` and `times` a loop of restarts."""

    name = "restart"
    instant = True

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        async with trio.open_nursery() as nursery:
            for upstream in upstreams:
                nursery.start_soon(restart, stage, upstream)


@attrs.frozen(kw_only=True, eq=False)
class RollingRestart(Fault):
    """As `restart`, one upstream after the other."""

    name = "rolling-restart"
    instant = True

    pause: SecondsOrNone = setting(1.0, "Seconds between one that listens again and the next one's end.")

    def stretched(self, factor: float) -> Self:
        return attrs.evolve(super().stretched(factor), pause=self.pause * factor)

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for place, upstream in enumerate(upstreams):
            if place:
                await trio.sleep(self.pause)
            await restart(stage, upstream)


async def restart(stage: Stage, upstream: int) -> None:
    """End a server by SIGTERM and start it again; returns when it listens."""
    server = stage.servers[upstream]
    stage.hops[upstream].harm()
    server.signal(signal.SIGTERM)
    await server.start()
