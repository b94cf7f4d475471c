"""The faults that operators have injected: begun, told of, counted as long as they last, ended.

One for all processes, where the admin is; each process carries out what it is told by its `injecting`. A fault is over
when its time is, when its upstream is gone, when somebody stops it, and when the proxy drains.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.admin.control import NotNow
from trioproxy.control import find_upstream
from trioproxy.injecting import Hands
from trioproxy.verbs import Injection, Verb, chosen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from trioproxy.context import Context
    from trioproxy.metrics import Labels, Metric
    from trioproxy.verbs import Order


class Carrier(Protocol):
    """Who carries orders out, in one process or all; see `injecting.Hands`. What it is told first it does first."""

    async def tunnels(self, pool: str, address: str) -> list[str]:
        """Those that can be chosen."""
        ...

    async def close(self, ids: Collection[str], code: int, seconds: float) -> int:
        """Close tunnels."""
        ...

    async def blackhole(self, ids: Collection[str], seconds: float) -> int:
        """Suspend tunnels."""
        ...

    async def refuse(self, pool: str, address: str, share: float, status: int, seed: int, seconds: float) -> None:
        """Refuse upgrades."""
        ...

    async def stop(self) -> None:
        """Undo what is on."""
        ...


@attrs.define(eq=False)
class Injections:
    """What the admin's chaos verbs do: see `admin.control.Chaos`. Ends of faults are waited for in `nursery`."""

    _context: Context
    _nursery: trio.Nursery
    carrier: Carrier
    _allowed: bool = attrs.field(default=False, init=False)
    _choosing: trio.Lock = attrs.field(factory=trio.Lock, init=False)  # or two would choose the same tunnels
    _timers: dict[Injection, trio.CancelScope] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(factory=partial(itertools.count, 1), init=False)
    _stops: int = attrs.field(default=0, init=False)

    @classmethod
    def local(cls, context: Context, nursery: trio.Nursery) -> Injections:
        """Those of a process of its own, or what a worker has to carry out of its supervisor's."""
        return cls(context, nursery, Hands(context, nursery))

    def begin(self) -> None:
        """Allow faults if the configuration does, from now on; `follow` is to be told when that changes."""
        self._context.metrics.add_source(self._gauges)
        self.follow()

    def follow(self) -> None:
        """Take over what a configuration that has come into force says."""
        context, admin = self._context, self._context.config.admin
        allowed = bool(admin.chaos and admin.address)
        if allowed and not self._allowed:
            context.log.warning("chaos_allowed", setting="admin.chaos", address=admin.address)
        self._allowed, context.injections = allowed, self.active if allowed else None
        if not allowed:
            if self._timers:
                self._nursery.start_soon(self.stop, "", "reload")
            return
        labels = [upstream.labels for pool in context.pools.values() for upstream in pool.upstreams]
        for each in labels:
            for verb in Verb:
                context.metrics.declare(m.CHAOS_INJECTED, (*each, verb))
        for injection in list(self._timers):
            if (injection.order.pool, injection.order.upstream) not in labels:
                self._end(injection, "reload", "")

    def active(self) -> list[dict[str, Any]]:
        """Those that are on, the oldest first."""
        return [self._describe(each) for each in self._timers]

    def refusals(self) -> list[tuple[Order, float]]:
        """The orders to refuse upgrades that are on, and for how many seconds yet: for a process that begins."""
        now = trio.current_time()
        on = [each for each in self._timers if each.order.verb is Verb.REFUSE and each.until > now]
        return [(each.order, each.until - now) for each in on]

    async def inject(self, order: Order) -> dict[str, Any]:
        """Begin; see `admin.control.Chaos`."""
        upstream = find_upstream(self._context.pools, order.pool, order.upstream)
        order = attrs.evolve(order, upstream=upstream.address)
        async with self._choosing:
            stops = self._stops
            self._check_running()
            ids = [] if order.verb is Verb.REFUSE else await self.carrier.tunnels(order.pool, order.upstream)
            self._check_running()
            if stops != self._stops:
                raise NotNow("all faults were stopped meanwhile")
            picked = chosen(ids, order.share, order.seed)
            injection = self._begin(order, tunnels=len(picked), among=len(ids))
            match order.verb:
                case Verb.CLOSE:
                    injection.tunnels = await self.carrier.close(picked, order.code, order.seconds)
                case Verb.BLACKHOLE:
                    injection.tunnels = await self.carrier.blackhole(picked, order.seconds)
                case Verb.REFUSE:
                    await self.carrier.refuse(
                        order.pool, order.upstream, order.share, order.status, order.seed, order.seconds
                    )
        return self._describe(injection)

    async def stop(self, asked_by: str, why: str = "stopped") -> list[dict[str, Any]]:
        """End all of them now; what they were."""
        ended = self.active()
        self._stops += 1
        for injection in list(self._timers):
            self._end(injection, why, asked_by)
        if ended:
            await self.carrier.stop()
        return ended

    def _check_running(self) -> None:
        if self._context.lame_duck or self._context.draining:
            raise NotNow("the proxy is draining")

    def _begin(self, order: Order, *, tunnels: int, among: int) -> Injection:
        if order.verb is Verb.REFUSE:
            for each in [each for each in self._timers if _same(each.order, order)]:
                self._end(each, "replaced", order.asked_by)
        until = trio.current_time() + order.seconds
        injection = Injection(next(self._numbers), order, until, tunnels, among, self._refused(order))
        scope = self._timers[injection] = trio.CancelScope()
        self._tell(injection, state="begin", asked_by=order.asked_by)
        self._nursery.start_soon(self._run_out, injection, scope)
        return injection

    async def _run_out(self, injection: Injection, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep_until(injection.until)
        if not scope.cancel_called:
            self._end(injection, "over", "")

    def _end(self, injection: Injection, why: str, asked_by: str) -> None:
        self._timers.pop(injection).cancel()
        self._tell(injection, state="end", why=why, asked_by=asked_by)

    def _tell(self, injection: Injection, **fields: str) -> None:
        known = self._describe(injection)
        del known["remaining_seconds"]
        told = {**known, **fields}
        self._context.metrics.news += 1
        self._context.log.warning("chaos", **{name: value for name, value in told.items() if value != ""})

    def _refused(self, order: Order) -> float:
        return self._context.metrics.value(m.CHAOS_INJECTED, (order.pool, order.upstream, Verb.REFUSE))

    def _describe(self, injection: Injection) -> dict[str, Any]:
        return injection.describe(trio.current_time(), self._refused(injection.order))

    def _gauges(self) -> Iterator[tuple[Metric, Labels, float]]:
        on = {(each.order.pool, each.order.upstream, each.order.verb) for each in self._timers}
        for pool in self._context.pools.values() if self._allowed else ():
            for upstream in pool.upstreams:
                for verb in Verb:
                    yield m.CHAOS_ACTIVE, (*upstream.labels, verb), (*upstream.labels, verb) in on


def _same(one: Order, other: Order) -> bool:
    return (one.verb, one.pool, one.upstream) == (other.verb, other.pool, other.upstream)
