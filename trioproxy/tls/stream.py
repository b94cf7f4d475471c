"""A stream of TLS over a socket: as `sockets.Socket`, but for what is sent and read.

Where every microsecond counts the relay's pump does what is here itself, with the same `layer`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs
import trio

from trioproxy.sockets import Socket
from trioproxy.tls.layer import LONGEST, TlsEndedError, TlsError, TlsLayer

if TYPE_CHECKING:
    import ssl
    from typing import Self

_READ_SIZE: Final = LONGEST  # no more is ever decrypted at once, and OpenSSL keeps the memory of what it was fed
_Shaking = TypeVar("_Shaking", bound="TlsStream")


@attrs.define(eq=False, weakref_slot=False)
class TlsStream(trio.abc.HalfCloseableStream):
    """A connection with TLS, over a socket that it owns; one task at a time may read it, and one write.

    `truncated` is set where the connection ended without the peer's close_notify: what came was complete only if it
    says so itself (RFC 8446 §6.1, RFC 9112 §9.8).
    """

    socket: Socket
    layer: TlsLayer
    truncated: bool = attrs.field(default=False, init=False)
    _sending: bool = attrs.field(default=False, init=False)
    _torn: bool = attrs.field(default=False, init=False)  # a send was left in the middle, say: nothing can follow it

    @classmethod
    async def accept(cls, socket: Socket, context: ssl.SSLContext, early: bytes = b"") -> Self:
        """Shake hands with who connected; `early` is what was read of that already.

        Raises TlsError, and what reading and sending raise; the socket is the caller's to close then.
        """
        return await _shaken(cls(socket, TlsLayer.server(context)), early)

    @classmethod
    async def connect(cls, socket: Socket, context: ssl.SSLContext, name: str) -> Self:
        """Shake hands with who was connected to, who has to have a certificate for `name`. Raises as `accept`."""
        return await _shaken(cls(socket, TlsLayer.client(context, name)), b"")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`; b"" at the end, whether it was said or not: see `truncated`."""
        most = _READ_SIZE if max_bytes is None else max_bytes
        if most < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        while (data := self._decrypt(most)) is None:
            came = await self.socket.receive_some(_READ_SIZE)
            if not came:
                self.truncated = True
                return b""
            self.layer.feed(came)
        return data

    def receive_at_once(self, max_bytes: int) -> bytes | None:
        """What has come already, b"" for the end; None where nothing has. Raises as `receive_some`."""
        while (data := self._decrypt(max_bytes)) is None:
            try:
                came = os.read(self.socket.open_fileno(), _READ_SIZE)
            except BlockingIOError:
                return None
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if not came:
                self.truncated = True
                return b""
            self.layer.feed(came)
        return data

    def _decrypt(self, most: int) -> bytes | None:
        self.socket.open_fileno()
        if self.truncated:
            return b""
        try:
            return self.layer.decrypt(most)
        except TlsError as error:
            self._say(self.layer.take_outgoing())  # the alert
            raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`."""
        await self._send(self._encrypt(data))

    def send_at_once(self, data: bytes) -> bytes:
        """Send as much as the socket takes at once; what is left, which nothing but `send_rest` may follow."""
        outgoing = self._encrypt(data)
        try:
            sent = os.write(self.socket.open_fileno(), outgoing)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error
        self._torn = sent < len(outgoing)
        return outgoing[sent:]

    async def send_rest(self, left: bytes) -> None:
        """Send what `send_at_once` left, all of it."""
        await self._send(left)

    def _encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        self._check()
        if self.layer.closed:
            raise trio.ClosedResourceError("close_notify has been sent")
        try:
            return self.layer.encrypt(data) if data else b""
        except TlsError as error:
            raise trio.BrokenResourceError(str(error)) from error

    def _check(self) -> None:
        self.socket.open_fileno()
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this connection")
        if self._torn:
            raise trio.BrokenResourceError("a send was left in the middle, or it is to be reset")

    async def _send(self, outgoing: bytes) -> None:
        self._sending = self._torn = True
        try:
            await self.socket.send_all(outgoing)
            self._torn = False
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        await self.socket.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that nothing more will be sent: close_notify and FIN. See `trio.abc.HalfCloseableStream`.

        What the peer still sends can be read; but before TLS 1.3 it is told to stop, too (RFC 8446 §6.1).
        """
        self._check()
        if outgoing := self.layer.close():
            await self._send(outgoing)
        await self.socket.send_eof()

    def fileno(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        return self.socket.fileno()

    def reset_on_close(self) -> None:
        """Make the coming close a reset, and no proper end in TLS' eyes either. Does nothing where it is closed."""
        self._torn = True  # a close_notify would arrive before the reset
        self.socket.reset_on_close()

    def interrupt(self) -> None:
        """Wake who waits for it, with ClosedResourceError."""
        self.socket.interrupt()

    def close(self) -> None:
        """Close at once, saying so if that can be said at once; who waits for it is woken with ClosedResourceError."""
        if not self.layer.closed:
            self._say(self.layer.close())
        self.socket.close()

    def _say(self, octets: bytes) -> None:
        """Send these if that can be done at once, and not inside a record."""
        if self.socket.fileno() >= 0 and not self._torn:
            with contextlib.suppress(OSError):
                os.write(self.socket.fileno(), octets)

    async def aclose(self) -> None:
        """See `trio.abc.AsyncResource`."""
        self.close()
        await trio.lowlevel.checkpoint()


async def _shaken(stream: _Shaking, data: bytes) -> _Shaking:
    """The same stream once its handshake is over; `data` is what was read of that already."""
    layer, socket = stream.layer, stream.socket
    while True:
        layer.feed(data)
        try:
            over = layer.handshake()
        except TlsError:
            with contextlib.suppress(OSError):  # the alert says why, if it can still be told
                os.write(socket.open_fileno(), layer.take_outgoing())
            raise
        if outgoing := layer.take_outgoing():
            await socket.send_all(outgoing)
        if over:
            return stream
        data = await socket.receive_some(_READ_SIZE)
        if not data:
            raise TlsEndedError("ended inside the TLS handshake")


OverSocket: TypeAlias = Socket | TlsStream
"""A connection that a socket carries: every one but those of tests in memory."""


def socket_of(stream: object) -> Socket | None:
    """The socket that carries this connection; None where none does."""
    if isinstance(stream, Socket):
        return stream
    return stream.socket if isinstance(stream, TlsStream) else None
