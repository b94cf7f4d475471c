"""Waiting for a lease while every upstream of a pool that could take a request is full (`queue`, `queue_timeout`).

Whose turn it is is decided in `line`, who is eligible in `upstreams`. There is no task for it: the first in the line
looks for all, and every lease that is given back in this process is handed on at once.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.line import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from trioproxy.board import Marks, Tally
    from trioproxy.upstreams import Lease, Pool, Upstream

# Between two looks for leases that another process has given back, shortened and lengthened at random by half: several
# that wait must not look in step. A look takes some 20 µs.
LOOK_SECONDS: Final = 0.005
# The same where there is no other process: for upstreams that came up, and settings that were changed.
LOOK_ALONE_SECONDS: Final = 0.05
CHECK_SECONDS: Final = 0.1  # between two looks at all who wait, whether they are still there: 3 µs each

# Room is left to who came in another process if that was by so much sooner. Less is not worth it: until that process
# looks nobody uses the lease, which halves what goes through where requests take 5 ms.
SLACK_NS: Final = 20_000_000
QUEUE_HEADS: Final = "queue_heads"  # the series of the board that says since when the first in each process waits


@attrs.define(eq=False)
class _Ticket:
    """One who waits, until there is a lease or a failure for it."""

    exclude: Collection[Upstream]
    has_left: Callable[[], bool]
    woken: trio.Event = attrs.field(factory=trio.Event, init=False)
    lease: Lease | None = attrs.field(default=None, init=False)
    failure: ProxyError | None = attrs.field(default=None, init=False)
    waiting: bool = attrs.field(default=True, init=False)


@attrs.define(eq=False)
class Queue:
    """Those who wait for a lease of one pool, in this process; `length` and `heads` are those of all processes."""

    pool: Pool
    length: Tally
    heads: Marks
    slack: int = SLACK_NS
    _line: Line[_Ticket] = attrs.field(init=False)
    _checked: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._line = Line(self.slack)

    def lease_at_once(self, exclude: Collection[Upstream]) -> Lease | None:
        """As `Pool.lease`; None where it is FULL, or others wait already: then `wait_for_lease`.

        Who has tried an upstream has had its turn and goes before them.
        """
        if self.length.total and not exclude:
            return None
        try:
            return self.pool.lease(exclude)
        except ProxyError as failure:
            if failure.reason is not Reason.FULL:
                raise
            return None

    async def wait_for_lease(self, exclude: Collection[Upstream], has_left: Callable[[], bool]) -> Lease:
        """A lease on an upstream outside `exclude`, once it is this one's turn.

        Raises ProxyError: FULL where `queue` wait already, TIMEOUT after `queue_timeout`, CLOSED where `has_left` says
        that the client has, NO_UPSTREAM where what it waits for is no more.
        """
        if not self.length.claim(self.pool.config.queue):
            raise _error(Reason.FULL, f"as many wait for a lease of pool {self.pool.name} as may")
        ticket = _Ticket(exclude, has_left)
        self._join(ticket)
        patience = self.pool.config.queue_timeout
        try:
            with trio.move_on_after(patience):
                await self._wait(ticket)
        except BaseException:
            if ticket.lease is not None:
                ticket.lease.release()
            raise
        finally:
            self._settle(ticket)
        if ticket.failure is not None:
            raise ticket.failure
        if ticket.lease is None:
            raise _error(Reason.TIMEOUT, f"no lease of pool {self.pool.name} in {patience:g} s")
        return ticket.lease

    def look(self) -> None:
        """Hand out what leases there are to those whose turn it is."""
        now = trio.current_time()
        if now - self._checked >= CHECK_SECONDS:
            self._checked = now
            self._check()
        while (ticket := self._line.turn(now, self.heads.others(), self._has_room)) is not None:
            if ticket.has_left():
                self._settle(ticket, _left())
                continue
            try:
                ticket.lease = self.pool.lease(ticket.exclude)
            except ProxyError:
                return  # another process was faster
            self._settle(ticket)

    async def _wait(self, ticket: _Ticket) -> None:
        self.look()
        while ticket.waiting:
            if self._line.first is ticket:
                pause = LOOK_SECONDS if self.heads.shared else LOOK_ALONE_SECONDS
                with trio.move_on_after(pause * random.uniform(0.5, 1.5)):  # noqa: S311 - no secret
                    await ticket.woken.wait()
                self.look()
            else:
                await ticket.woken.wait()
            if ticket.waiting and ticket.woken.is_set():  # to be the first
                ticket.woken = trio.Event()

    def _join(self, ticket: _Ticket) -> None:
        for upstream in self.pool.upstreams:
            upstream.on_room = self.look
        # The clock is one for all processes of a machine; Trio's begins anywhere in each.
        self._line.join(ticket, time.monotonic_ns(), picky=bool(ticket.exclude))
        self.heads.set(self._line.head)

    def _settle(self, ticket: _Ticket, failure: ProxyError | None = None) -> None:
        """It waits no longer; does nothing where it does not anyway."""
        if not ticket.waiting:
            return
        ticket.waiting, ticket.failure = False, failure
        self._line.leave(ticket)
        self.length.release()
        self.heads.set(self._line.head)
        ticket.woken.set()
        if (first := self._line.first) is not None:
            first.woken.set()
            return
        for upstream in self.pool.upstreams:
            upstream.on_room = None

    def _check(self) -> None:
        """Let go who has left, and who waits for nothing: all that it could get is down or draining."""
        for ticket in tuple(self._line):
            if ticket.has_left():
                self._settle(ticket, _left())
            elif not self.pool.has_service(ticket.exclude):
                self._settle(ticket, _error(Reason.NO_UPSTREAM, f"no upstream of pool {self.pool.name} is up any more"))

    def _has_room(self, ticket: _Ticket) -> bool:
        return self.pool.has_eligible(ticket.exclude)


def _error(reason: Reason, detail: str) -> ProxyError:
    return ProxyError(Source.PROXY, Phase.CONNECT, reason, 503, detail)


def _left() -> ProxyError:
    return ProxyError(Source.CLIENT, Phase.CONNECT, Reason.CLOSED, 503, "closed its side while it waited for a lease")
