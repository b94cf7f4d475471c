"""Waits for a socket's bytes that end by themselves, at a tenth of what a CancelScope each would cost.

What is waited for, and for how long, is decided in `connection`, `answer` and `upgrade`; reading is `streaming`'s work.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

from trioproxy.errors import ProxyError
from trioproxy.tls.stream import socket_of

if TYPE_CHECKING:
    from types import TracebackType

# Whose time is over may just be woken by something else, and for nothing, or not read yet: it is woken again.
RETRY_SECONDS: Final = 1.0
# Between two looks at all open waits, unless a new one is due before: 10,000 of them take half a millisecond, and that
# many clients that say nothing end one by one. Nobody's patience is that exact.
GRAIN_SECONDS: Final = 0.01


@attrs.define(eq=False)
class Wait:
    """The waits of one reader of one stream, one after the other: `with wait.until(deadline):` around the reading.

    As with a CancelScope the block is left when its time is over, and `over` says so. Other than there it is the socket
    that is woken, with what `streaming.BROKEN` names, so the block must do nothing but read from it, and what writes to
    it meanwhile is woken too. A stream that is no socket is not woken: those are memory streams, for tests alone.
    """

    stream: trio.abc.ReceiveStream
    _waits: Waits
    deadline: float = attrs.field(default=math.inf, init=False)
    over: bool = attrs.field(default=False, init=False)

    def until(self, deadline: float) -> Self:
        """Begin with this deadline, in Trio's time."""
        self.deadline = deadline
        self.over = False
        return self

    def end_by(self, deadline: float) -> None:
        """Move the deadline, while waiting."""
        self.deadline = deadline
        self._waits.expect(deadline)

    def cancel(self) -> None:
        """End the wait under way now."""
        self.over = True
        self.end_by(trio.current_time() + RETRY_SECONDS)
        if (socket := socket_of(self.stream)) is not None:
            socket.interrupt()

    def __enter__(self) -> Self:
        waits = self._waits
        waits.open.add(self)
        if self.deadline < waits.due:
            waits.expect(self.deadline)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._waits.open.discard(self)
        return self.over and isinstance(error, trio.ClosedResourceError | ProxyError)


@attrs.define(eq=False)
class Waits:
    """All waits of a running proxy, and the one task that watches their time.

    A plain request has two waits, and a CancelScope costs 5 µs: nearly a tenth of the request.
    """

    open: set[Wait] = attrs.field(factory=set, init=False)
    _sleep: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    due: float = attrs.field(default=math.inf, init=False)  # when the sleep ends, at the latest

    def expect(self, deadline: float) -> None:
        """See to it that whoever is due then is not overslept."""
        if deadline < self.due:
            self.due = self._sleep.deadline = deadline

    async def watch(self) -> None:
        """End waits whose time is over, until cancelled."""
        while True:
            now = trio.current_time()
            for wait in [wait for wait in self.open if wait.deadline <= now]:
                wait.cancel()
            first = min((wait.deadline for wait in self.open), default=math.inf)
            self.due = max(first, now + GRAIN_SECONDS)
            # Waits that end sooner than expected leave this as it is, so it rarely changes.
            with trio.CancelScope(deadline=self.due) as self._sleep:
                await trio.sleep_forever()
