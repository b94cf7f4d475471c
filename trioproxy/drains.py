"""Tunnels asked to close over time, and with it the drain of one upstream while the proxy runs.

The drain of the whole process is told in `server`; that a draining upstream gets no work is in `upstreams`.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy.errors import Reason
from trioproxy.relay.tunnel import SERVICE_RESTART

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trioproxy.context import Context
    from trioproxy.upgrade import Upgraded
    from trioproxy.upstreams import Upstream


async def close_spread(tunnels: Iterable[Upgraded], spread: float, code: int, reason: Reason = Reason.DRAINING) -> None:
    """Ask these tunnels to close, in random order, each at a random moment of its own slice of `spread` seconds."""
    await in_turn(tunnels, spread, lambda one: one.tunnel.close(code, reason))


async def in_turn(tunnels: Iterable[Upgraded], spread: float, do: Callable[[Upgraded], object]) -> None:
    """Do something to each of these tunnels, in such an order and at such moments."""
    opened = list(tunnels)
    random.shuffle(opened)
    start = trio.current_time()
    for index, one in enumerate(opened):
        await trio.sleep_until(start + spread * (index + random.random()) / len(opened))  # noqa: S311
        do(one)


def usable_spread(spread: float, timeout: float) -> float:
    """No more seconds than that all are told while there is time to answer, also where it is configured longer."""
    return min(spread, timeout / 2)


@attrs.define(eq=False)
class UpstreamDrains:
    """The drains of upstreams under way, each a task of `nursery`; for one process, whose tunnels they close."""

    context: Context
    nursery: trio.Nursery
    _running: dict[Upstream, trio.CancelScope] = attrs.field(factory=dict, init=False)

    def begin(self, upstream: Upstream, *, spread: float, timeout: float) -> float:
        """Give it no new lease, close its tunnels over `spread` seconds, cut after `timeout` what it still has.

        In place of the drain that may be under way, whatever that had still to do. Returns the spread as it is used.
        """
        spread = usable_spread(spread, timeout)
        self._cancel(upstream)
        upstream.drain(timeout)
        self.context.metrics.news += 1
        self.context.log.info(
            "upstream_drain", **named(upstream), active=upstream.active, spread=spread, timeout=timeout
        )
        scope = self._running[upstream] = trio.CancelScope()
        self.nursery.start_soon(self._run, upstream, scope, spread)
        return spread

    def end(self, upstream: Upstream) -> None:
        """Let it have work again. What was told to close goes on closing, all else stays."""
        self._cancel(upstream)
        if upstream.draining:
            upstream.resume()
            self.context.metrics.news += 1
            self.context.log.info("upstream_resume", **named(upstream), state=upstream.state)

    def tunnels(self, upstream: Upstream) -> list[Upgraded]:
        """Those open to it."""
        return [one for one in self.context.tunnels.values() if one.connection.upstream is upstream]

    def _cancel(self, upstream: Upstream) -> None:
        if scope := self._running.pop(upstream, None):
            scope.cancel()

    async def _run(self, upstream: Upstream, scope: trio.CancelScope, spread: float) -> None:
        with scope:
            with trio.move_on_at(upstream.cut_at) as deadline:
                async with trio.open_nursery() as closing:
                    closing.start_soon(close_spread, self.tunnels(upstream), spread, SERVICE_RESTART)
                    await upstream.no_leases()
                    closing.cancel_scope.cancel()
            cut = self._cut(upstream) if deadline.cancelled_caught else 0
            await upstream.no_leases()
            if not scope.cancel_called:  # by a resume, say, before this task had begun
                del self._running[upstream]
                self.context.metrics.news += 1
                self.context.log.info("upstream_drained", **named(upstream), cut=cut)

    def _cut(self, upstream: Upstream) -> int:
        """End what it still has, tunnels with a reset to both sides; how many that were."""
        left = upstream.held
        for one in self.tunnels(upstream):
            one.tunnel.cut()
        for connection in list(upstream.connections):
            connection.cut()
        return left


def named(upstream: Upstream) -> dict[str, str]:
    """Which upstream an event of the log is about."""
    return {"pool": upstream.pool, "upstream": upstream.address}
