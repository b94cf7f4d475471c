"""The admin's commands with several workers: each is asked, and their answers make one.

What may be commanded is said in `admin.control`; how workers are asked is `slots`' work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from trioproxy import tunnel_list
from trioproxy.admin.control import Unknown
from trioproxy.control import find_upstream, upstream_answer
from trioproxy.drains import named, usable_spread
from trioproxy.live import Feed
from trioproxy.sampling import Sampler
from trioproxy.slots import ask_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trioproxy.admin.control import Chaos
    from trioproxy.config import Config
    from trioproxy.context import Context
    from trioproxy.metrics import Metrics
    from trioproxy.passive import Judge
    from trioproxy.slots import Slot
    from trioproxy.status import Status
    from trioproxy.upstreams import Upstream


@attrs.frozen(eq=False)
class SupervisorControl:
    """Sees this process, which knows of health and sums, and asks workers for what is theirs; see `admin.Control`."""

    _context: Context
    _status: Status
    _slots: Sequence[Slot]
    _judge: Judge
    chaos: Chaos
    live: Feed = attrs.field(
        default=attrs.Factory(lambda self: Feed(Sampler(self._status)), takes_self=True), init=False
    )

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._context.config

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        return self._context.metrics

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether new traffic is wanted, and why (not)."""
        return self._status.ready()

    async def status(self) -> dict[str, Any]:
        """How all of it stands."""
        return {**self._status.status(), "processes": [slot.status() for slot in self._slots]}

    async def tunnels(self, *, after: str, limit: int, where: Mapping[str, str]) -> dict[str, Any]:
        """A page of the open tunnels of all workers."""
        answers = await ask_all(self._slots, "tunnels", after=after, limit=limit, where=dict(where))
        return tunnel_list.merge([answer.result for answer in answers if not answer.refusal], limit)

    async def drain_upstream(
        self,
        pool: str,
        address: str,
        *,
        spread: float,
        timeout: float,  # noqa: ASYNC109 - the drain takes it, not the call
    ) -> dict[str, Any]:
        """Begin to drain an upstream in all workers; those that start later know of it."""
        upstream = find_upstream(self._context.pools, pool, address)
        upstream.drain(timeout)
        self.metrics.news += 1
        times = {"spread": usable_spread(spread, timeout), "timeout": timeout}
        # Here, as each worker logs it for itself
        self.live.tell("upstream_drain", "info", {**named(upstream), "active": upstream.active, **times})
        return {**await self._command(upstream, "drain_upstream", **times), **times}

    async def resume_upstream(self, pool: str, address: str) -> dict[str, Any]:
        """Take an upstream back, in all workers."""
        upstream = find_upstream(self._context.pools, pool, address)
        if upstream.draining:
            upstream.resume()
            self.live.tell("upstream_resume", "info", {**named(upstream), "state": upstream.state})
        self._judge.pardon(upstream)
        self.metrics.news += 1
        return await self._command(upstream, "resume_upstream")

    async def close_tunnel(self, tunnel: str, code: int) -> dict[str, Any]:
        """Ask one tunnel to close, whichever worker has it."""
        for answer in await ask_all(self._slots, "close_tunnel", tunnel=tunnel, code=code):
            if not answer.refusal:
                self.metrics.news += 1
                result: dict[str, Any] = answer.result
                return result
        raise Unknown("open tunnel", tunnel)

    async def _command(self, upstream: Upstream, what: str, **more: Any) -> dict[str, Any]:
        answers = await ask_all(self._slots, what, pool=upstream.pool, address=upstream.address, **more)
        return upstream_answer(upstream, sum(answer.result["tunnels"] for answer in answers if not answer.refusal))
