"""Passive checks: upstreams that fail too often are ejected for a while, by the one process that decides for all.

What is a failure and how long an ejection lasts is `ejection`'s work; failures are counted where they happen, on the
board (`Context.blame`), and health is the prober's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.drains import named
from trioproxy.ejection import Conduct, Failure, most_ejected
from trioproxy.health import UpstreamState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trioproxy.context import Context
    from trioproxy.upstreams import Pool, Upstream


@attrs.define(eq=False)
class _File:
    """What is held against one upstream."""

    seen: Mapping[Failure, float]  # how many failures there were at the last look
    conduct: Conduct = attrs.field(factory=Conduct, init=False)


@attrs.define(eq=False)
class Judge:
    """Ejects upstreams and takes them back. Failures of one that gets no new work anyway are not held against it."""

    _context: Context
    _nursery: trio.Nursery
    _files: dict[Upstream, _File] = attrs.field(factory=dict, init=False)

    def begin(self) -> None:
        """Judge from now on, at once by what this process counts; of what others do `look` is to be told."""
        self.follow()
        self._context.on_failure = self.look

    def follow(self) -> None:
        """Take over the pools as they are, when other settings or upstreams have come into force.

        Ejections stay; those that are more than the pool may have now end, the one that was about to end first.
        """
        living = {upstream: pool for pool in self._context.pools.values() for upstream in pool.upstreams}
        self._files = {each: self._files.get(each) or _File(self._counts(each)) for each in living}
        for pool in self._context.pools.values():
            ejected = sorted(_ejected(pool), key=lambda each: each.returns_at)
            most = most_ejected(len(pool.upstreams)) if pool.config.passive.max_failures else 0
            for upstream in ejected[: max(0, len(ejected) - most)]:
                self.pardon(upstream)

    def look(self, upstream: Upstream) -> None:
        """Failures of it have been counted, here or in another process: eject it if they are too many."""
        file, pool = self._files.get(upstream), self._context.pools.get(upstream.pool)
        if file is None or pool is None:
            return  # a reload took it out
        counts = self._counts(upstream)
        new = {failure: int(counts[failure] - file.seen[failure]) for failure in Failure}
        file.seen = counts
        if upstream.state is not UpstreamState.UP:
            return
        if file.conduct.fail(trio.current_time(), sum(new.values()), pool.config.passive):
            self._eject(upstream, pool, max(new, key=lambda failure: new[failure]))

    def pardon(self, upstream: Upstream) -> None:
        """Take it back now; does nothing where it is not ejected."""
        if not upstream.ejected:
            return
        self._files[upstream].conduct.readmit(trio.current_time())
        upstream.readmit()
        self._context.metrics.news += 1
        self._context.log.info("upstream_returned", **named(upstream), state=upstream.state)

    def _eject(self, upstream: Upstream, pool: Pool, reason: Failure) -> None:
        out, most = sum(1 for _ in _ejected(pool)), most_ejected(len(pool.upstreams))
        if out >= most:
            self._context.log.debug(
                "upstream_kept", **named(upstream), reason=reason, ejected=out, upstreams=len(pool.upstreams)
            )
            return
        conduct = self._files[upstream].conduct
        seconds = conduct.eject(trio.current_time(), pool.config.passive)
        upstream.eject(seconds)
        self._context.metrics.inc(m.UPSTREAM_EJECTIONS, (*upstream.labels, reason))
        self._context.metrics.news += 1
        self._context.log.warning(
            "upstream_ejected", **named(upstream), reason=reason, seconds=seconds, ejections=conduct.ejections
        )
        self._nursery.start_soon(self._return, upstream, upstream.returns_at)

    async def _return(self, upstream: Upstream, at: float) -> None:
        await trio.sleep_until(at)
        if upstream.returns_at == at and upstream in self._files:  # it was not taken back, or out, before
            self.pardon(upstream)

    def _counts(self, upstream: Upstream) -> Mapping[Failure, float]:
        """How many failures all processes have counted."""
        value = self._context.metrics.value
        return {failure: value(m.UPSTREAM_FAILURES, (*upstream.labels, failure)) for failure in Failure}


def _ejected(pool: Pool) -> Iterator[Upstream]:
    return (upstream for upstream in pool.upstreams if upstream.ejected)
