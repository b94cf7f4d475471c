"""A stage's client end with TLS, on OpenSSL's memory BIOs: shaken as it is looked at, a cut told from an end."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from support.stage import READ_BYTES

if TYPE_CHECKING:
    import socket


@attrs.define(eq=False)
class TlsEnd:
    """See `stage.End`. Its handshake has begun; `look` goes on with it."""

    socket: socket.socket
    context: ssl.SSLContext
    received: bytes = b""
    ended: bool = False
    reset: bool = False
    shaken: bool = False
    _incoming: ssl.MemoryBIO = attrs.Factory(ssl.MemoryBIO)
    _outgoing: ssl.MemoryBIO = attrs.Factory(ssl.MemoryBIO)
    _object: ssl.SSLObject = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._object = self.context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.look()

    def look(self) -> bool:
        before = len(self.received), self.ended, self.shaken
        try:
            while data := self.socket.recv(READ_BYTES):
                self._incoming.write(data)
            self._incoming.write_eof()
        except BlockingIOError:
            pass
        except ConnectionError:
            self.reset = self.ended = True
        if not self.ended:
            self._go_on()
        return before != (len(self.received), self.ended, self.shaken)

    def _go_on(self) -> None:
        with suppress(ssl.SSLWantReadError):
            if not self.shaken:
                self._object.do_handshake()
                self.shaken = True
            try:
                while data := self._object.read(READ_BYTES):
                    self.received += data
                self.ended = True
            except ssl.SSLZeroReturnError:
                self.ended = True
            except ssl.SSLEOFError:  # without close_notify
                self.ended = self.reset = True
        self._flush()

    def _flush(self) -> None:
        with suppress(ConnectionError):
            data = self._outgoing.read()
            assert self.socket.send(data) == len(data)

    def send(self, data: bytes) -> None:
        self._object.write(data)
        self._flush()

    def finish(self) -> None:
        """close_notify and FIN."""
        self.look()
        with suppress(ssl.SSLError):  # it would like to read the other side's at once
            self._object.unwrap()
        self._flush()
        with suppress(OSError):
            self.socket.shutdown(1)
