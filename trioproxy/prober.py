"""Active checks: one task per upstream that probes it on a timer and tells its health.

How a probe speaks is `probes`' work, what observations make of the state `health`'s.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.health import UpstreamState
from trioproxy.probes import PROBES
from trioproxy.probes.result import ProbeFailed, ProbeResult, judge
from trioproxy.transport import dial
from trioproxy.upstreams import LastProbe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from trioproxy.config import HealthConfig
    from trioproxy.logs import Log
    from trioproxy.metrics import Metrics
    from trioproxy.upstreams import Pool, Upstream

JITTER = 0.1  # intervals are shortened by up to this share, so that many proxies do not probe in step
# The address may be another's by now.
_UNRESOLVED = frozenset({ProbeResult.REFUSED, ProbeResult.UNREACHABLE, ProbeResult.TIMEOUT, ProbeResult.TLS})


async def run_prober(
    pools: Iterable[Pool],
    *,
    metrics: Metrics,
    log: Log,
    rng: random.Random | None = None,
    task_status: trio.TaskStatus[Prober] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Probe all upstreams of `pools`, and those it is told of later, until cancelled.

    Started when each has been probed once. The first round goes to all at once, so it takes the longest
    `health.timeout` at most.
    """
    async with trio.open_nursery() as nursery:
        prober = Prober(nursery, metrics, log, rng or random.Random())  # noqa: S311 - spreads load, keeps no secret
        watches = [prober.watch(upstream, pool.config.health) for pool in pools for upstream in pool.upstreams]
        for watch in watches:
            await watch.probed.wait()
        task_status.started(prober)
        await trio.sleep_forever()


@attrs.define(eq=False)
class Prober:
    """Which upstreams are watched."""

    _nursery: trio.Nursery
    _metrics: Metrics
    _log: Log
    _rng: random.Random
    _watches: dict[Upstream, Watch] = attrs.field(factory=dict, init=False)

    def watch(self, upstream: Upstream, health: HealthConfig) -> Watch:
        """Probe it as `health` says from now on, instead of as before if it was watched already."""
        self.forget(upstream)
        watch = self._watches[upstream] = Watch(upstream, health, self._metrics, self._log, self._rng)
        self._nursery.start_soon(watch.run)
        return watch

    def forget(self, upstream: Upstream) -> None:
        """Probe it no more; does nothing where it is not watched."""
        if (watch := self._watches.pop(upstream, None)) is not None:
            watch.scope.cancel()


@attrs.define(eq=False)
class Watch:
    """The watch over one upstream: its only writer of `health` and `last_probe`."""

    upstream: Upstream
    health: HealthConfig
    metrics: Metrics
    log: Log
    rng: random.Random
    probed: trio.Event = attrs.field(factory=trio.Event, init=False)  # at least once
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def run(self) -> None:
        """Probe until `scope` is cancelled, from `interval` to `interval`, start to start, never two at once.

        `none` takes it for up and ends.
        """
        if self.health.probe == "none":
            while self.upstream.health.state is not UpstreamState.UP:
                self._observe(None)
            self.probed.set()
            return
        with self.scope:
            await self._rounds()

    async def _rounds(self) -> None:
        for result in ProbeResult:
            self.metrics.declare(m.PROBES, (*self.upstream.labels, result))
        self.metrics.declare(m.PROBE_DURATION, self.upstream.labels)
        while True:
            start = trio.current_time()
            await self.round()
            self.probed.set()
            await trio.sleep_until(start + self.health.interval * (1 - JITTER * self.rng.random()))

    async def round(self) -> None:
        """One probe and what follows from it. Only cancellation gets out of it."""
        start = trio.current_time()
        failure = await self._probe()
        seconds = trio.current_time() - start
        result = failure.result if failure else ProbeResult.OK
        self.metrics.inc(m.PROBES, (*self.upstream.labels, result))
        self.metrics.observe(m.PROBE_DURATION, self.upstream.labels, seconds)
        self.upstream.last_probe = LastProbe(time.time(), result, seconds, failure.detail if failure else "")
        if result in _UNRESOLVED:
            self.upstream.want_resolve()
        self._observe(failure)

    async def _probe(self) -> ProbeFailed | None:
        """None for a pass. Whatever an upstream makes a probe raise is its failure and ends nothing else."""
        timeout = self.health.timeout
        try:
            with trio.move_on_after(timeout):
                stream = await dial(self._addresses(), timeout, self.upstream.identity)
                async with stream:
                    await PROBES[self.health.probe](stream, self.health, self._host())
                return None
        except Exception as error:  # the one around a background round
            if (failure := judge(error)) is None:
                self.log.exception("probe_error", **self._labels())
                return ProbeFailed(ProbeResult.ERROR, repr(error))
            return failure
        return ProbeFailed(ProbeResult.TIMEOUT, f"not over within {timeout:g} s")

    def _observe(self, failure: ProbeFailed | None) -> None:
        before = self.upstream.health.state
        if failure:
            # Of an upstream that is down already this is no news.
            tell = self.log.debug if before is UpstreamState.DOWN else self.log.warning
            tell("probe_failed", **self._labels(), result=failure.result, reason=failure.detail)
            if failure.result is ProbeResult.SKIPPED:
                return
        changed = self.upstream.observe(ok=failure is None)
        self.metrics.news += changed is not None
        match changed:
            case UpstreamState.UP:
                self.log.info("upstream_up", **self._labels(), was=before)
            case UpstreamState.DOWN:
                self.log.warning("upstream_down", **self._labels(), was=before, reason=str(failure))
            case _:
                pass

    def _addresses(self) -> tuple[tuple[int, Any], ...]:
        """Where to probe: the upstream's addresses, on `health.port` if there is one. A Unix socket has no port."""
        port = self.health.port
        if not port or self.upstream.unix is not None:
            return self.upstream.addresses
        return tuple((family, (host, port, *more)) for family, (host, _, *more) in self.upstream.addresses)

    def _host(self) -> str:
        return self.health.host or ("localhost" if self.upstream.unix is not None else self.upstream.address)

    def _labels(self) -> dict[str, str]:
        return {"pool": self.upstream.pool, "upstream": self.upstream.address}
