"""The living side of pools: upstreams with their health and counters, and the leases that count work on them.

Choosing among eligible upstreams is `balancing`'s work, connecting to the chosen one `dialing`'s, resolving names
`resolver`'s, observing health `prober`'s.
"""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING, Any, Self

import attrs
import trio

from trioproxy.balancing import BALANCERS
from trioproxy.board import Tally
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import HealthState, UpstreamState, slow_start_share

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from types import TracebackType

    from trioproxy.balancing import Balancer
    from trioproxy.config import PoolConfig, UpstreamConfig
    from trioproxy.dialing import UpstreamConnection
    from trioproxy.queueing import Queue
    from trioproxy.tls.identity import Identity
    from trioproxy.verbs import Refusal
    from trioproxy.waits import Wait


@attrs.frozen
class LastProbe:
    """What the newest probe of an upstream found."""

    when: float  # Unix time of its end
    result: str  # the `result` label of `trioproxy_probes_total`
    seconds: float  # how long it took
    detail: str = ""  # why it failed, for people


def _nothing(_upstream: Upstream) -> None:
    pass


@attrs.define(eq=False)
class Upstream:
    """One server behind the proxy. Lives as long as its pool and address are configured; there is one task to a field.

    `leases` and `held` belong to `Lease`, `health` and `last_probe` to `prober`, `addresses` to `resolver`, `draining`
    and `cut_at` to `drains`, `ejected` and `returns_at` to `passive`, `connections` (leased, no tunnels) to `dialing`,
    `handshakes` (those of upgrades that wait for its answer) to `upgrade`, `on_room` to `queueing`, `refusal` (of
    upgrades in its name) to `injecting`, `identity` to `Context.trust`, `config` and `gone` to a reload.
    """

    pool: str
    config: UpstreamConfig
    health: HealthState
    leases: Tally = attrs.field(factory=Tally.alone)  # over all processes
    held: int = attrs.field(default=0, init=False)  # of them by this process, and on no other at the same address
    draining: bool = attrs.field(default=False, init=False)
    cut_at: float = attrs.field(default=math.inf, init=False)  # in Trio's time: when its drain has lasted long enough
    ejected: bool = attrs.field(default=False, init=False)
    returns_at: float = attrs.field(default=math.inf, init=False)  # in Trio's time: when its ejection ends
    slow_start: float = 0.0  # seconds over which it gets its weight back, of its pool
    back_since: float | None = attrs.field(default=None, init=False)  # in Trio's time, where that made a slow start
    connections: set[UpstreamConnection] = attrs.field(factory=set, init=False)
    gone: bool = attrs.field(default=False, init=False)  # configured no more; what it has under way goes on
    addresses: tuple[tuple[int, Any], ...] = attrs.field(default=(), init=False)
    identity: Identity | None = attrs.field(default=None, init=False)  # that it has to prove, where it speaks TLS
    last_probe: LastProbe | None = attrs.field(default=None, init=False)
    handshakes: set[Wait] = attrs.field(factory=set, init=False)
    refusal: Refusal | None = attrs.field(default=None, init=False)
    on_change: Callable[[Upstream], object] = attrs.field(default=_nothing, init=False)  # of what workers have to know
    on_room: Callable[[], object] | None = attrs.field(default=None, init=False)  # while somebody waits for a lease
    resolve_wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    host: str = attrs.field(default="", init=False)
    port: int = attrs.field(default=0, init=False)
    _released: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    unix: str | None = attrs.field(default=None, init=False)
    address: str = attrs.field(init=False)  # as configured: its name in logs, labels and the API
    labels: tuple[str, str] = attrs.field(init=False)  # the values of the labels `pool` and `upstream`

    def __attrs_post_init__(self) -> None:
        self.address = self.config.address
        self.labels = self.pool, self.address
        if self.address.startswith("unix:"):
            self.unix = self.address.removeprefix("unix:")
        else:
            host, _, port = self.address.rpartition(":")
            self.host = host.removeprefix("[").removesuffix("]")
            self.port = int(port)
        self.addresses = self._literal()

    @property
    def key(self) -> str:
        """What `balancing` tells it by."""
        return self.address

    @property
    def weight(self) -> float:
        """Its share relative to the others' of its pool; for `slow_start` seconds after it came back, less."""
        if self.back_since is None:
            return self.config.weight
        return self.config.weight * slow_start_share(trio.current_time() - self.back_since, self.slow_start)

    @property
    def active(self) -> int:
        """The leases held on it, by all processes."""
        return self.leases.total

    @property
    def backup(self) -> bool:
        """Whether it only gets work while no primary upstream is eligible."""
        return self.config.backup

    @property
    def state(self) -> UpstreamState:
        """What it is in now; a drain by the operator shows before anything else, an ejection where it is up."""
        if self.draining:
            return UpstreamState.DRAINING
        if self.ejected and self.health.state is UpstreamState.UP:
            return UpstreamState.EJECTED
        return self.health.state

    @property
    def full(self) -> bool:
        """Whether it has as many leases as it may."""
        most = self.config.max_connections
        return most != 0 and self.leases.total >= most

    @property
    def in_service(self) -> bool:
        """Whether it may have leases, if it has room for them and, where it is ejected, nobody else may."""
        return not self.draining and self.health.state is UpstreamState.UP

    @property
    def eligible(self) -> bool:
        """Whether it may get another lease."""
        most = self.config.max_connections
        return (
            not self.draining
            and not self.ejected
            and self.health.state is UpstreamState.UP
            and (most == 0 or self.leases.total < most)
        )

    @property
    def named(self) -> bool:
        """Whether its host is a name, so that `addresses` are the resolver's to fill."""
        return self.unix is None and not self._literal()

    def observe(self, *, ok: bool) -> UpstreamState | None:
        """Take in one observation of its health; the new state where it changed it.

        Going down cancels the upgrades that wait for its answer: they have time to go to another upstream.
        """
        before = self.health.state
        changed = self.health.observe(ok)
        if changed is UpstreamState.DOWN:
            self._give_up_handshakes()
        elif changed is UpstreamState.UP and before is UpstreamState.DOWN:
            self._begin_slowly()
        if changed is not None:
            self.on_change(self)
        return changed

    def learn(self, state: UpstreamState, back_for: float | None = None) -> None:
        """Take over what another process has observed of its health; with what follows from it, as in `observe`."""
        self.health.state = state
        self.back_since = None if back_for is None else trio.current_time() - back_for
        if state is UpstreamState.DOWN:
            self._give_up_handshakes()

    def _give_up_handshakes(self) -> None:
        for wait in self.handshakes:
            wait.cancel()

    def drain(self, timeout: float) -> None:
        """Let it have no new lease; those it has are to be given back within `timeout` seconds."""
        self.draining, self.cut_at = True, trio.current_time() + timeout

    def resume(self) -> None:
        """Let it have leases again, if its health does."""
        self.draining, self.cut_at = False, math.inf
        self._begin_slowly()

    def _begin_slowly(self) -> None:
        self.back_since = trio.current_time() if self.slow_start else None

    def back_for(self) -> float | None:
        """How many seconds ago a slow start began; None where there is none under way."""
        seconds = math.inf if self.back_since is None else trio.current_time() - self.back_since
        return seconds if seconds < self.slow_start else None

    def eject(self, seconds: float) -> None:
        """Let it have no new lease for so long, while others can have them; what it has under way goes on."""
        self.ejected, self.returns_at = True, trio.current_time() + seconds
        self.on_change(self)

    def readmit(self) -> None:
        """Its ejection is over."""
        self.ejected, self.returns_at = False, math.inf
        self._begin_slowly()
        self.on_change(self)

    def returns_in(self) -> float:
        """How many seconds from now its ejection ends; infinity where it is not ejected."""
        return max(0.0, self.returns_at - trio.current_time())

    def cut_in(self) -> float:
        """How many seconds from now what a drain has left is cut; 0 where that has been, infinity without a drain."""
        return max(0.0, self.cut_at - trio.current_time())

    async def no_leases(self) -> None:
        """Wait until this process holds none, while it is draining."""
        while self.held:
            await self._released.park()

    def lease_ended(self) -> None:
        """Count a lease off, and tell who waits for the last one, or for this one."""
        self.leases.release()
        self.held -= 1
        if self.draining and not self.held:
            self._released.unpark_all()
        if self.on_room is not None:
            self.on_room()

    def want_resolve(self) -> None:
        """Ask for its name to be resolved soon, because a connect failed. Does nothing where the host is no name."""
        self.resolve_wanted.set()

    def _literal(self) -> tuple[tuple[int, Any], ...]:
        """The address that needs no resolving, if it is one. A scoped one (`fe80::1%eth0`) needs it."""
        if self.unix is not None:
            return ((trio.socket.AF_UNIX, self.unix),)
        if "%" in self.host:
            return ()
        try:
            version = ipaddress.ip_address(self.host).version
        except ValueError:
            return ()
        if version == 4:  # noqa: PLR2004 - IPv4
            return ((trio.socket.AF_INET, (self.host, self.port)),)
        return ((trio.socket.AF_INET6, (self.host, self.port, 0, 0)),)


@attrs.define(eq=False)
class Lease:
    """A counted claim of one request or tunnel on an upstream, from the pick until its holder releases it."""

    upstream: Upstream
    _held: bool = attrs.field(default=True, init=False)

    @classmethod
    def claim(cls, upstream: Upstream) -> Lease | None:
        """None where that would be more than the upstream's `max_connections`, over all processes."""
        if not upstream.leases.claim(upstream.config.max_connections):
            return None
        upstream.held += 1
        return cls(upstream)

    def release(self) -> None:
        """Give the claim back; a second time does nothing."""
        if self._held:
            self._held = False
            self.upstream.lease_ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


@attrs.define(eq=False)
class Pool:
    """A named set of upstreams with one balancing policy."""

    config: PoolConfig
    leases: Callable[[str], Tally] = lambda _address: Tally.alone()  # of each upstream, by its address
    offset: int = 0  # differs from worker to worker, so that equal upstreams are not all begun with at the same one
    upstreams: list[Upstream] = attrs.field(init=False)
    queue: Queue | None = attrs.field(default=None, init=False)  # those who wait for a lease, if they may
    _balancer: Balancer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.upstreams = [self.new_upstream(self.config, one) for one in self.config.upstreams]
        self._balancer = BALANCERS[self.config.balance](self.offset)

    def new_upstream(self, config: PoolConfig, upstream: UpstreamConfig) -> Upstream:
        """One that nobody has probed yet; `config` are the settings the pool has, or is to have."""
        health = HealthState(rise=config.health.rise, fall=config.health.fall)
        return Upstream(self.name, upstream, health, self.leases(upstream.address), slow_start=config.slow_start)

    def change(self, config: PoolConfig, upstreams: list[Upstream]) -> None:
        """Go on with other settings and `upstreams`, of which those that stay keep all but their settings.

        What is under way on others goes on. Between awaits this is one step: nobody sees a part of it.
        """
        if config.balance != self.config.balance:
            self._balancer = BALANCERS[config.balance](self.offset)
        staying = set(upstreams)
        for upstream in self.upstreams:
            upstream.gone = upstream not in staying
        for upstream, settings in zip(upstreams, config.upstreams, strict=True):
            # However it is spelt now, it keeps its name: its series and open tunnels go by that.
            upstream.config = attrs.evolve(settings, address=upstream.address)
            upstream.health.rise, upstream.health.fall = config.health.rise, config.health.fall
            if upstream.back_for() is None:
                upstream.back_since = None  # a slow start that is over is not taken up again where it now takes longer
            upstream.slow_start = config.slow_start
        self.config, self.upstreams = config, upstreams

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self.config.name

    @property
    def ready(self) -> bool:
        """Whether any of its upstreams is up; an ejected one is, as it gets work where no other can."""
        return any(upstream.in_service for upstream in self.upstreams)

    def has_eligible(self, exclude: Collection[Upstream] = ()) -> bool:
        """Whether `lease` with the same `exclude` would find an upstream."""
        if any(upstream.eligible and upstream not in exclude for upstream in self.upstreams):
            return True
        return bool(self._last_resort(exclude))

    def has_service(self, exclude: Collection[Upstream] = ()) -> bool:
        """Whether there is one that could have a lease, were it not full."""
        return any(upstream.in_service and upstream not in exclude for upstream in self.upstreams)

    def lease(self, exclude: Collection[Upstream] = ()) -> Lease:
        """Pick an eligible upstream outside `exclude` and count the lease at once, before anybody connects.

        Backups are picked from only where no primary is left, ejected ones where none that is up is left at all. Raises
        ProxyError where none is (503): FULL if another lease is all that those left may not have, else NO_UPSTREAM.
        """
        eligible = [upstream for upstream in self.upstreams if upstream.eligible and upstream not in exclude]
        if not eligible:
            eligible = self._last_resort(exclude)
        while eligible:
            candidates = eligible
            if len(eligible) > 1:
                candidates = [upstream for upstream in eligible if not upstream.backup] or eligible
            picked = self._balancer.pick(candidates)
            lease = Lease.claim(picked)
            if lease is not None:
                return lease
            eligible.remove(picked)  # another process took its last place meanwhile
        reason = Reason.FULL if self.has_service(exclude) else Reason.NO_UPSTREAM
        raise ProxyError(Source.PROXY, Phase.CONNECT, reason, 503, f"no upstream of pool {self.name} is eligible")

    def _last_resort(self, exclude: Collection[Upstream]) -> list[Upstream]:
        """Ejected upstreams, where all others are down, draining or tried: one that fails at times is better than none.

        Not where others are merely full. What fails quickly always has room, so it would get all that comes in excess.
        """
        left = [upstream for upstream in self.upstreams if upstream.in_service and upstream not in exclude]
        if not all(upstream.ejected for upstream in left):
            return []
        return [upstream for upstream in left if not upstream.full]
