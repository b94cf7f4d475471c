"""The admin's commands carried out in the process that has the tunnels: the `Control` of a proxy of one process.

What is answered to them over HTTP is `admin`'s; draining is `drains`' work, saying how things stand `status`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from trioproxy import tunnel_list
from trioproxy.admin.control import Unknown
from trioproxy.config_syntax import canonical
from trioproxy.errors import Reason
from trioproxy.live import Feed
from trioproxy.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.admin.control import Chaos
    from trioproxy.config import Config
    from trioproxy.context import Context
    from trioproxy.drains import UpstreamDrains
    from trioproxy.metrics import Metrics
    from trioproxy.passive import Judge
    from trioproxy.status import Status
    from trioproxy.upstreams import Pool, Upstream


@attrs.frozen(eq=False)
class LocalControl:
    """Sees and commands this process alone; see `admin.Control` for what each method promises."""

    _context: Context
    _status: Status
    _drains: UpstreamDrains
    _judge: Judge | None  # of upstreams; None in a worker
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
        return self._status.status()

    async def tunnels(self, *, after: str, limit: int, where: Mapping[str, str]) -> dict[str, Any]:
        """A page of the open tunnels."""
        return tunnel_list.page(self._context.tunnels.values(), after=after, limit=limit, where=where)

    async def drain_upstream(
        self,
        pool: str,
        address: str,
        *,
        spread: float,
        timeout: float,  # noqa: ASYNC109 - the drain takes it, not the call
    ) -> dict[str, Any]:
        """Begin to drain an upstream; what is to end is in the answer."""
        upstream = find_upstream(self._context.pools, pool, address)
        spread = self._drains.begin(upstream, spread=spread, timeout=timeout)
        return {**self._answer(upstream), "spread": spread, "timeout": timeout}

    async def resume_upstream(self, pool: str, address: str) -> dict[str, Any]:
        """Take an upstream back."""
        upstream = find_upstream(self._context.pools, pool, address)
        self._drains.end(upstream)
        if self._judge is not None:
            self._judge.pardon(upstream)
        return self._answer(upstream)

    async def close_tunnel(self, tunnel: str, code: int) -> dict[str, Any]:
        """Ask one tunnel to close."""
        opened = self._context.tunnels.get(tunnel)
        if opened is None:
            raise Unknown("open tunnel", tunnel)
        opened.tunnel.close(code, Reason.OPERATOR)
        self.metrics.news += 1
        return {"id": tunnel, "code": code}

    def _answer(self, upstream: Upstream) -> dict[str, Any]:
        return upstream_answer(upstream, len(self._drains.tunnels(upstream)))


def upstream_answer(upstream: Upstream, tunnels: int) -> dict[str, Any]:
    """What a drain or resume of an upstream with so many tunnels is answered with; see `admin.Control`."""
    return {
        "pool": upstream.pool,
        "upstream": upstream.address,
        "state": upstream.state,
        "active": upstream.active,
        "tunnels": tunnels,
    }


def find_upstream(pools: Mapping[str, Pool], pool: str, address: str) -> Upstream:
    """The upstream with this address, however it is spelt (`[::0]` is `[::]`). Raises Unknown."""
    if pool not in pools:
        raise Unknown("pool", pool, list(pools))
    for upstream in pools[pool].upstreams:
        if canonical(upstream.address) == canonical(address):
            return upstream
    raise Unknown(f"upstream of pool {pool}", address, [upstream.address for upstream in pools[pool].upstreams])
