"""What the pump keeps of a tunnel: its two descriptors, borrowed from the streams, and what waits to go out on each.

When they are read and written is decided in `pump`; the streams stay the caller's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import outcome
import trio

from trioproxy.sockets import Socket

if TYPE_CHECKING:
    from trioproxy.relay.direction import Direction
    from trioproxy.relay.tunnel import Tunnel


@attrs.define(eq=False, weakref_slot=False)
class Port:
    """One socket of a tunnel: the source of one direction and the sink of the other.

    `events` is what the epoll watches it for; 0 means it is not registered. `unsent` is the spill: the tail of one
    read that the socket did not take, and what of ours comes behind it.
    """

    stream: Socket
    fd: int  # read and written by itself: a socket object for each would be a tenth of an idle tunnel's memory
    source: Direction
    sink: Direction
    events: int = 0
    unsent: memoryview | None = None
    link: Link = attrs.field(init=False)
    peer: Port = attrs.field(init=False)


class Lender(Protocol):
    """The pump, as a link knows it."""

    def let_go(self, link: Link) -> None:
        """Forget both sockets at once. Idempotent."""


@attrs.define(eq=False, weakref_slot=False)
class Link:
    """A tunnel in the pump, and the task that waits for its end; None while it does not wait.

    It is itself Trio's abort function for that task, as a bound method would be one more object for each open tunnel.
    """

    tunnel: Tunnel
    client: Port
    upstream: Port
    lender: Lender
    task: trio.lowlevel.Task | None = None

    @classmethod
    def borrow(cls, tunnel: Tunnel, lender: Lender) -> Link:
        """Borrow both descriptors until `give_back`. TypeError if a stream has none, ClosedResourceError if closed."""
        up, down = tunnel.to_upstream, tunnel.to_client
        link = cls(tunnel, _borrow(tunnel.client, up, down), _borrow(tunnel.upstream, down, up), lender)
        for port, peer in ((link.client, link.upstream), (link.upstream, link.client)):
            port.link, port.peer = link, peer
        return link

    def give_back(self) -> None:
        """Let go of the descriptors, prepared for a reset where one is called for. The last thing done with a link."""
        for port in (self.client, self.upstream):
            if port.sink.reset:
                port.stream.reset_on_close()
            with contextlib.suppress(AttributeError):  # given back already
                del port.link, port.peer  # no cycles: an ended tunnel is freed at once, not when the collector comes by

    def __call__(self, _: Any) -> trio.lowlevel.Abort:
        """The waiting task is cancelled: nothing is taken back."""
        self.task = None
        self.lender.let_go(self)
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        """Have the waiting task go on, if it waits, with the tunnel's ending."""
        if self.task is not None:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task, outcome.Value(self.tunnel.ending))


def _borrow(stream: object, source: Direction, sink: Direction) -> Port:
    if not isinstance(stream, Socket):
        raise TypeError(f"the pump carries sockets only, not {stream!r}")
    return Port(stream, stream.open_fileno(), source, sink)
