"""What the pump keeps of a tunnel: its two sockets, borrowed from the streams, and what waits to go out on each.

When they are read and written is decided in `pump`; the streams stay the caller's.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioproxy.relay.streams import NO_LINGER

if TYPE_CHECKING:
    from trioproxy.relay.direction import Direction
    from trioproxy.relay.tunnel import Tunnel


@attrs.define(eq=False)
class Port:
    """One socket of a tunnel: the source of one direction and the sink of the other.

    `events` is what the epoll watches it for; 0 means it is not registered. `unsent` is the spill: the tail of one
    read that the socket did not take, and what of ours comes behind it.
    """

    socket: socket.socket
    fd: int
    source: Direction
    sink: Direction
    events: int = 0
    unsent: memoryview | None = None
    link: Link = attrs.field(init=False)
    peer: Port = attrs.field(init=False)


@attrs.define(eq=False)
class Link:
    """A tunnel in the pump and the task that waits for its end; None while it does not wait."""

    tunnel: Tunnel
    client: Port
    upstream: Port
    task: trio.lowlevel.Task | None = None

    @classmethod
    def borrow(cls, tunnel: Tunnel) -> Link:
        """Borrow both sockets until `give_back`. TypeError if a stream has none, ClosedResourceError if closed."""
        client, upstream = _socket(tunnel.client), _socket(tunnel.upstream)
        up, down = tunnel.to_upstream, tunnel.to_client
        link = cls(
            tunnel,
            Port(_borrow(client), client.fileno(), source=up, sink=down),
            Port(_borrow(upstream), upstream.fileno(), source=down, sink=up),
        )
        for port, peer in ((link.client, link.upstream), (link.upstream, link.client)):
            port.link, port.peer = link, peer
        return link

    def give_back(self) -> None:
        """Let go of the sockets, prepared for a reset where one is called for. The last thing done with a link."""
        for port in (self.client, self.upstream):
            if port.sink.reset:
                with contextlib.suppress(OSError):
                    port.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            port.socket.detach()
            del port.link, port.peer  # no cycles: an ended tunnel is freed at once, not when the collector comes by

    def let_go(self, _: Any) -> trio.lowlevel.Abort:
        """Trio's abort function for the waiting task: being cancelled takes nothing back."""
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def wake(self) -> None:
        """Have the waiting task go on, if it waits."""
        if self.task is not None:
            task, self.task = self.task, None
            trio.lowlevel.reschedule(task)


def _socket(stream: object) -> trio.socket.SocketType:
    if not isinstance(stream, trio.SocketStream):
        raise TypeError(f"the pump carries sockets only, not {stream!r}")
    if stream.socket.fileno() < 0:
        raise trio.ClosedResourceError("the stream was closed before its tunnel ran")
    return stream.socket


def _borrow(lent: trio.socket.SocketType) -> socket.socket:
    """A second handle on the same descriptor, without a duplicate: descriptors are scarcer than anything else here."""
    borrowed = socket.socket(lent.family, lent.type, lent.proto, fileno=lent.fileno())
    borrowed.setblocking(False)
    return borrowed
