"""What the pump keeps of a tunnel: its two descriptors, borrowed from the streams, and what waits to go out on each.

When they are read and written is decided in `pump`; the streams stay the caller's.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import outcome
import trio

from trioproxy.sockets import Socket
from trioproxy.tls.layer import TlsError, TlsLayer
from trioproxy.tls.stream import TlsStream

if TYPE_CHECKING:
    from trioproxy.relay.direction import Direction
    from trioproxy.relay.tunnel import Tunnel


@attrs.define(eq=False, weakref_slot=False)
class Port:
    """One socket of a tunnel: the source of one direction and the sink of the other.

    `events` is what the epoll watches it for; 0 means it is not registered. `unsent` is the spill: the tail of one
    read that the socket did not take, and what of ours comes behind it. With `tls` the spill is encrypted already.
    `unread` says that the handshakes have left something in there that epoll will not tell of.
    """

    stream: Socket
    fd: int  # read and written by itself: a socket object for each would be a tenth of an idle tunnel's memory
    source: Direction
    sink: Direction
    tls: TlsLayer | None = None
    events: int = 0
    unsent: memoryview | None = None
    unread: bool = False
    link: Link = attrs.field(init=False)
    peer: Port = attrs.field(init=False)

    @property
    def sealed(self) -> bool:
        """Whether either side of its tunnel has TLS."""
        return self.tls is not None or self.peer.tls is not None

    @property
    def left_over(self) -> bool:
        """Whether TLS has something that came with the handshakes, if only its end."""
        return self.tls is not None and (self.tls.pending or self.tls.ended)

    @property
    def readable(self) -> bool:
        """Whether what comes is wanted: nothing waits for the other side that came from here."""
        if self.link.tunnel.suspended or self.source.ended:
            return False
        return self.peer.unsent is None or self.source.muted

    def send(self, data: bytes | memoryview) -> None:
        """Send, or keep what the socket does not take."""
        if not data or self.sink.lost:
            return
        if self.tls is not None:
            try:
                data = self.tls.encrypt(data)
            except TlsError:  # what it received had broken it
                self.link.tunnel.sink_lost(self.sink)
                return
        self.emit(data)

    def emit(self, octets: bytes | memoryview) -> None:
        """As `send`, with octets as they travel."""
        if not octets or self.sink.lost:
            return
        if self.unsent is not None:
            self.unsent = memoryview(bytes(self.unsent) + octets)
            return
        try:
            sent = os.write(self.fd, octets)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.link.tunnel.sink_lost(self.sink)
            return
        if sent < len(octets):
            self.unsent = memoryview(bytes(octets[sent:]))
            self.sink.stalled = trio.current_time()

    def flush(self) -> bool:
        """Go on with what is unsent, now that there may be room; whether nothing waits any more."""
        if self.unsent is None:
            return False
        try:
            sent = os.write(self.fd, self.unsent)
        except BlockingIOError:
            return False
        except OSError:
            self.link.tunnel.sink_lost(self.sink)
        else:
            self.unsent = self.unsent[sent:]
            self.sink.stalled = trio.current_time()
        if self.unsent and not self.sink.lost:
            return False
        self.unsent = None
        self.sink.stalled = math.inf
        return True

    def pay(self) -> None:
        """Send what is due to this side besides the bytes of the other: frames of the proxy's own, FIN."""
        way = self.sink
        if way.due:
            self.send(way.inject())
        if way.lost:
            self.unsent = None
        elif way.fin and not way.finished and self.unsent is None:
            self._end()

    def _end(self) -> None:
        if self.tls is not None and not self.tls.closed:
            self.emit(self.tls.close())
            if self.unsent is not None or self.sink.lost:  # FIN comes behind it
                return
        try:
            self.stream.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.link.tunnel.sink_lost(self.sink)
        else:
            self.sink.finished = True

    def give_back(self) -> None:
        """See `Link.give_back`."""
        if self.tls is not None and (self.sink.reset or self.unsent is not None):
            self.tls.closed = True  # closing the stream must not say so: inside a record, or before a reset
        if self.sink.reset:
            self.stream.reset_on_close()
        with contextlib.suppress(AttributeError):  # given back already
            del self.link, self.peer  # no cycles: an ended tunnel is freed at once, not when the collector comes by


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
        self.client.give_back()
        self.upstream.give_back()

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
    if isinstance(stream, TlsStream):
        return Port(stream.socket, stream.socket.open_fileno(), source, sink, stream.layer)
    if not isinstance(stream, Socket):
        raise TypeError(f"the pump carries sockets only, not {stream!r}")
    return Port(stream, stream.open_fileno(), source, sink)
