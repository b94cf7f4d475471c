"""A proxy in this process with tunnels to two upstreams, in which faults may be injected."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
from support.frames import websocket
from support.serving import POOL, make_config, talk_both, unix_upstream
from support.waiting import wait_until
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import AdminConfig, HealthConfig, PoolConfig, UpstreamConfig
from trioproxy.logs import Log
from trioproxy.server import serve
from trioproxy.verbs import Order, Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.frames import WebSocket

    from trioproxy.logs.log import MemoryLog
    from trioproxy.server import Proxy
    from trioproxy.upstreams import Upstream


@attrs.define(eq=False)
class Field:
    """The proxy, what it logged, and the clients' ends of `tunnels`, which are to each upstream in turn."""

    proxy: Proxy
    log: MemoryLog
    ends: list[WebSocket]
    _stack: AsyncExitStack

    @property
    def upstreams(self) -> list[Upstream]:
        return self.proxy.context.pools[POOL].upstreams

    @property
    def chaos(self) -> Any:
        return self.proxy.chaos

    def to(self, upstream: int) -> list[WebSocket]:
        return self.ends[upstream::2]

    async def open(self, count: int) -> None:
        for _ in range(count):
            self.ends.append(await self._stack.enter_async_context(websocket(self.proxy.listeners[0].address)))
        await wait_all_tasks_blocked()

    async def until_open(self, count: int) -> None:
        """Wait for so many tunnels to be left, of which nothing is to be done any more."""
        await wait_until(lambda: len(self.proxy.context.tunnels) == count, f"{count} tunnels")

    def order(self, verb: Verb, share: float = 1.0, seconds: float = 10.0, **more: Any) -> Order:
        """For the first upstream."""
        address, asked_by = self.upstreams[0].address, "203.0.113.9"
        values = {"share": share, "seconds": seconds, "seed": 1, "asked_by": asked_by, **more}
        return Order(verb=verb, pool=POOL, upstream=address, **values)

    def injected(self, verb: Verb) -> float:
        return self.proxy.context.metrics.value(m.CHAOS_INJECTED, (*self.upstreams[0].labels, verb))

    def active(self) -> dict[str, float]:
        """By verb, for the first upstream."""
        samples = [each for each in self.proxy.context.metrics.samples() if each.metric is m.CHAOS_ACTIVE]
        return {each.labels[2]: each.value for each in samples if each.labels[1] == self.upstreams[0].address}

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.log.events if event["event"] == name]


@asynccontextmanager
async def field(folder: Path, *, chaos: bool = True, **pool: Any) -> AsyncIterator[Field]:
    log = Log.memory()
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(unix_upstream(folder / name, talk_both)) for name in ("a", "b")]
        upstreams = tuple(UpstreamConfig(address=each) for each in addresses)
        pools = {POOL: PoolConfig(name=POOL, upstreams=upstreams, **{"health": HealthConfig(probe="none"), **pool})}
        admin = AdminConfig(address="127.0.0.1:0", chaos=chaos)
        config = make_config(listeners=(f"unix:{folder / 'public'}",), pools=pools, admin=admin)
        async with serve(config, log=log) as proxy, AsyncExitStack() as clients:
            yield Field(proxy, log, [], clients)
