"""Getting a connection to an upstream: pick, lease, connect, and on failure perhaps another upstream.

What is sent over it, and whether a request that failed later may be repeated, is decided in `forward` and `upgrade`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import UpstreamState
from trioproxy.streaming import abort, is_quiet
from trioproxy.transport import dial

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioproxy.context import Context
    from trioproxy.record import Record
    from trioproxy.tls.identity import Identity
    from trioproxy.tls.stream import OverSocket
    from trioproxy.upstreams import Lease, Pool, Upstream

# An idle connection younger than this is safe for a request that could not be repeated: no server closes its own so
# soon.
FRESH_SECONDS = 1.0

_Idle: TypeAlias = "tuple[float, OverSocket, Identity | None]"  # since when, which one, and what was proven


@attrs.define(eq=False)
class UpstreamConnection:
    """A leased connection. Whoever got it ends it with `close` or `keep`, in a finally; both release the lease."""

    lease: Lease
    stream: OverSocket
    identity: Identity | None  # that was proven
    reused: bool
    upstream: Upstream = attrs.field(init=False)  # where it leads
    _ended: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.upstream = self.lease.upstream
        self.upstream.connections.add(self)

    def close(self) -> None:
        """Close at once, without waiting for anything, and give the lease back; does nothing behind `keep`."""
        if not self._ended:
            self._end()
            self.stream.close()

    def cut(self) -> None:
        """Close with a reset, whoever holds it: that one finds it closed. Does nothing behind `close` and `keep`."""
        if not self._ended:
            abort(self.stream)
            self.close()

    @property
    def ended(self) -> bool:
        """Whether it is closed or given back; to who has done neither: that it was cut."""
        return self._ended

    def keep(self, idle: IdleConnections) -> None:
        """Give the lease back and the connection to those that wait for a next request; does nothing behind `cut`."""
        if not self._ended:
            self._end()
            idle.put(self.upstream, self.stream, self.identity)

    def _end(self) -> None:
        self._ended = True
        self.upstream.connections.discard(self)
        self.lease.release()


@attrs.define(eq=False)
class IdleConnections:
    """One pool's connections to upstreams that wait for a next plain request, the youngest used first.

    Its settings may change at any time; `sweep` does what follows.
    """

    seconds: float  # how long one may be idle
    most: int  # to one upstream
    _now: Callable[[], float] = attrs.field(init=False)  # as `Context.now`
    _idle: dict[Upstream, list[_Idle]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._now = trio.lowlevel.current_clock().current_time

    def take(self, upstream: Upstream, *, repeatable: bool) -> OverSocket | None:
        """One that neither expired nor ended meanwhile; for what cannot be repeated only one that was used just now."""
        idle = self._idle.get(upstream)
        if not idle:
            return None
        oldest = self._now() - (self.seconds if repeatable else min(self.seconds, FRESH_SECONDS))
        while idle and idle[-1][0] > oldest:
            _, stream, identity = idle.pop()
            if identity is upstream.identity and is_quiet(stream):
                return stream
            stream.close()
        return None

    def put(self, upstream: Upstream, stream: OverSocket, identity: Identity | None = None) -> None:
        """Keep a connection whose last exchange is over; closes it where there are enough, or it may not be used again.

        `identity` is what was proven when it was made: where the upstream has to prove something else now, it has not.
        """
        idle = self._idle.setdefault(upstream, [])
        if self.seconds <= 0 or len(idle) >= self.most or upstream.gone or identity is not upstream.identity:
            stream.close()
            return
        idle.append((self._now(), stream, identity))

    def sweep(self) -> None:
        """Close what has been idle for too long, has ended, or leads to what is up no more; called every second."""
        oldest = self._now() - self.seconds
        for upstream, idle in list(self._idle.items()):
            for entry in list(idle):
                unwanted = upstream.gone or upstream.state is not UpstreamState.UP or entry[2] is not upstream.identity
                if entry[0] <= oldest or unwanted or not is_quiet(entry[1]):
                    idle.remove(entry)
                    entry[1].close()
            if not idle:
                del self._idle[upstream]

    def close(self) -> None:
        """Close all."""
        for idle in self._idle.values():
            for _, stream, _ in idle:
                stream.close()
        self._idle.clear()

    def __len__(self) -> int:
        return sum(len(idle) for idle in self._idle.values())


def retry_reason(failure: ProxyError) -> str:
    """Which of `retry_on` a failure behind the connect comes under."""
    return "5xx" if failure.reason is Reason.REFUSED else "closed"


def _never() -> bool:
    return False


@attrs.define(eq=False)
class Attempts:
    """The upstreams one request may still try: each at most once, `attempts` of the pool in all.

    `has_left` says whether its client has, so that nothing is to be waited for any more.
    """

    context: Context
    pool: Pool
    record: Record
    connect_timeout: float
    has_left: Callable[[], bool] = _never
    _tried: list[Upstream] = attrs.field(factory=list, init=False)

    async def connect(self) -> UpstreamConnection:
        """A fresh connection to the next upstream, moving on where one cannot be reached and `retry_on` allows it.

        Raises ProxyError: the last upstream's failure, or what `Pool.lease` or `Queue.wait_for_lease` raises.
        """
        return await self._open(idle=None, repeatable=False)

    async def connect_or_reuse(self, idle: IdleConnections, *, repeatable: bool) -> UpstreamConnection:
        """As `connect`, but an idle connection to the picked upstream will do."""
        return await self._open(idle=idle, repeatable=repeatable)

    def forgive(self, upstream: Upstream) -> None:
        """A kept connection to it turned out to be stale, which says nothing of the upstream: no attempt is spent."""
        self._tried.remove(upstream)

    def can_try_another(self, reason: str) -> bool:
        """Whether `retry_on` has `reason`, attempts are left, and an untried upstream is eligible."""
        config = self.pool.config
        left = config.attempts - len(self._tried)
        return left > 0 and reason in config.retry_on and self.pool.has_eligible(self._tried)

    def another(self, failure: ProxyError, reason: str) -> bool:
        """Whether `failure` may be answered by trying another upstream, `reason` being one of `retry_on`.

        Counts the retry, so the caller has to go on with `connect`, before anything else can happen.
        """
        if not failure.retryable or not self.can_try_another(reason):
            return False
        self.context.metrics.inc(m.RETRIES, (self.pool.name, Reason.CHAOS if failure.injected else reason))
        return True

    async def _open(self, *, idle: IdleConnections | None, repeatable: bool) -> UpstreamConnection:
        while True:
            lease = await self._queue() if self.pool.config.queue else self.pool.lease(self._tried)
            upstream = lease.upstream
            identity = upstream.identity  # a reload may change it meanwhile
            self._tried.append(upstream)
            self.record.attempts = len(self._tried)
            self.record.upstream = upstream.address
            try:
                if idle is not None and (kept := idle.take(upstream, repeatable=repeatable)) is not None:
                    return UpstreamConnection(lease, kept, identity, reused=True)
                return UpstreamConnection(lease, await self._dial(upstream, identity), identity, reused=False)
            except ProxyError as failure:
                lease.release()
                if not self.another(failure, "connect"):
                    raise
            except BaseException:
                lease.release()
                raise

    async def _queue(self) -> Lease:
        queue = self.pool.queue
        if queue is None:
            return self.pool.lease(self._tried)
        if (lease := queue.lease_at_once(self._tried)) is not None:
            return lease
        started = trio.current_time()
        try:
            return await queue.wait_for_lease(self._tried, self.has_left)
        finally:
            self.record.queue_s += trio.current_time() - started

    async def _dial(self, upstream: Upstream, identity: Identity | None) -> OverSocket:
        started = self.context.now()
        try:
            stream = await dial(upstream.addresses, self.connect_timeout, identity)
        except ProxyError as failure:
            self._count_failure(upstream, failure)
            raise
        now = self.context.now()
        if now >= upstream.cut_at:
            stream.close()
            detail = f"{upstream.address}: drained while it was connected to"
            raise ProxyError(Source.PROXY, Phase.CONNECT, Reason.DRAINING, 503, detail, retryable=True)
        self.record.connect_s = now - started
        self.context.metrics.observe(m.CONNECT_DURATION, (self.pool.name,), self.record.connect_s)
        return stream

    def _count_failure(self, upstream: Upstream, failure: ProxyError) -> None:
        upstream.want_resolve()
        self.context.metrics.inc(m.CONNECT_FAILURES, (self.pool.name, upstream.address, failure.reason))
        self.context.blame(upstream, failure.ending)
