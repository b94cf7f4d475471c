"""Chaos verbs carried out on the tunnels and upstreams of this process.

Which tunnels are meant, and what is told of it, is decided in `injections`, for all processes.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.drains import in_turn
from trioproxy.errors import Reason
from trioproxy.verbs import Refusal, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from trioproxy.context import Context
    from trioproxy.upgrade import Upgraded

PREFIX: Final = "chaos."  # of what a worker is asked by its supervisor, before the name of a method of its `Hands`


@attrs.define(eq=False)
class Hands:
    """What it does it undoes by itself when its time is over, or at `stop`; waiting for that in tasks of `nursery`.

    Upstreams it does not know (any more) have no tunnels, and no upgrades to refuse.
    """

    context: Context
    nursery: trio.Nursery
    _on: dict[trio.CancelScope, Callable[[], object]] = attrs.field(factory=dict, init=False)  # how each is undone

    async def tunnels(self, pool: str, address: str) -> list[str]:
        """The ids of the upstream's open tunnels, in the order they opened; no closing or suspended ones."""
        return [name for name, one in self.context.tunnels.items() if _fit(one) and _leads_to(one, pool, address)]

    async def close(self, ids: Collection[str], code: int, seconds: float) -> int:
        """Close those of them that are open here, with this code, over so many seconds; how many there are."""
        opened = self._open(ids)

        def close(one: Upgraded) -> None:
            if _fit(one):
                self._touch(one, Verb.CLOSE)
                one.tunnel.close(code, Reason.CHAOS)

        async def close_all() -> None:
            await in_turn(opened, seconds, close)

        self._begin(close_all, lambda: None)
        return len(opened)

    async def blackhole(self, ids: Collection[str], seconds: float) -> int:
        """Suspend those of them that are open here, for so many seconds; how many there are."""
        opened = self._open(ids)
        for one in opened:
            self._touch(one, Verb.BLACKHOLE)
            one.tunnel.suspend()

        def resume() -> None:
            for one in opened:
                one.tunnel.resume()

        self._begin(partial(trio.sleep, seconds), resume)
        return len(opened)

    async def refuse(self, pool: str, address: str, share: float, status: int, seed: int, seconds: float) -> None:
        """Refuse that share of upgrades in the upstream's name, for so many seconds, instead of what was refused."""
        found = self.context.pools.get(pool)
        for upstream in found.upstreams if found else ():
            if upstream.address == address:
                draws = Random(f"{seed} {self.context.worker}")  # noqa: S311 - no secret
                refusal = upstream.refusal = Refusal(share, status, draws)

                def end(upstream: Any = upstream, refusal: Refusal = refusal) -> None:
                    if upstream.refusal is refusal:
                        upstream.refusal = None

                self._begin(partial(trio.sleep, seconds), end)

    async def stop(self) -> None:
        """Undo everything that is on, now."""
        self.stop_now()

    def stop_now(self) -> None:
        """The same, for who must not wait."""
        on, self._on = self._on, {}
        for scope, undo in on.items():
            scope.cancel()
            undo()

    def _open(self, ids: Collection[str]) -> Sequence[Upgraded]:
        found = (self.context.tunnels.get(name) for name in ids)
        return [one for one in found if one is not None and _fit(one)]

    def _touch(self, one: Upgraded, verb: Verb) -> None:
        one.record.injected = verb
        self.context.metrics.inc(m.CHAOS_INJECTED, (*one.connection.upstream.labels, verb))
        self.context.metrics.news += 1

    def _begin(self, lasting: Callable[[], Any], undo: Callable[[], object]) -> None:
        scope = trio.CancelScope()
        self._on[scope] = undo
        self.nursery.start_soon(self._last, scope, lasting)

    async def _last(self, scope: trio.CancelScope, lasting: Callable[[], Any]) -> None:
        with scope:
            await lasting()
        if (undo := self._on.pop(scope, None)) is not None:
            undo()


def _fit(one: Upgraded) -> bool:
    return not (one.tunnel.closing or one.tunnel.suspended)


def _leads_to(one: Upgraded, pool: str, address: str) -> bool:
    return one.connection.upstream.labels == (pool, address)
