"""TLS between octets as they travel and octets as they are meant, without I/O.

Whoever moves the octets feeds what came (`feed`), takes what is to be sent (`take_outgoing`), and asks in between. Over
memory BIOs nothing is ever half written: what was encrypted is whole, and waits to be sent like any other octets.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from typing import Any, Self

RECORD: Final = 16 * 1024  # octets of plaintext in one record at most (RFC 8446 §5.1)


class TlsError(Exception):
    """What came is not what TLS asks for here, or the certificate is not; the message says it in a few words."""

    @classmethod
    def of(cls, error: ssl.SSLError) -> TlsError:
        """The words of OpenSSL, without its numbers."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return cls(f"certificate not accepted: {error.verify_message}")
        return cls((error.reason or str(error)).replace("_", " ").lower())


@attrs.define(eq=False, weakref_slot=False)
class TlsLayer:
    """One connection's TLS. One task at a time may use it.

    `ended` is set once the peer has said that nothing more will come (close_notify, RFC 8446 §6.1): an end of the
    connection without it may be an attacker's. `closed` is set once we have.
    """

    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _object: ssl.SSLObject
    ended: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _left: bytes = attrs.field(default=b"", init=False)  # decrypted, not yet taken

    @classmethod
    def server(cls, context: ssl.SSLContext) -> Self:
        """The side that was connected to."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        return cls(incoming, outgoing, context.wrap_bio(incoming, outgoing, server_side=True))

    @classmethod
    def client(cls, context: ssl.SSLContext, name: str) -> Self:
        """The side that connects and asks for `name`: a host or IP address that the certificate has to be for."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        return cls(incoming, outgoing, context.wrap_bio(incoming, outgoing, server_hostname=name))

    def feed(self, data: bytes | memoryview) -> None:
        """Take in what came."""
        self._incoming.write(data)

    def take_outgoing(self) -> bytes:
        """What is to be sent next, which is the caller's from here on; often nothing."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def handshake(self) -> bool:
        """Go on with the handshake as far as what came allows; whether it is over. Raises TlsError.

        There may be something to send in any case, an alert where it raises.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise TlsError.of(error) from error
        return True

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """What to send for `data`, and what else was to be sent before. Raises TlsError once the session is broken."""
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            raise TlsError.of(error) from error
        return self._outgoing.read()

    def decrypt(self, most: int) -> bytes | None:
        """Up to `most` octets of what came, b"" once the peer has `ended`, None where more has to come first.

        Raises TlsError for what is not as TLS has it, such as octets that somebody changed on the way.
        """
        if self._left:
            data, self._left = self._left[:most], self._left[most:]
            return data
        if self.ended:
            return b""
        try:
            data = self._object.read(most)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLError as error:
            raise TlsError.of(error) from error
        self.ended = not data
        return data

    def decrypt_into(self, room: memoryview) -> int:
        """All that can be decrypted of what came, into `room`; how many octets that is; then see `ended`.

        `room` has to be larger than what was fed since last time by a RECORD. Raises TlsError as `decrypt`, but only
        where nothing came before it: what did is authentic.
        """
        size = len(self._left)
        read: Any = self._object.read  # into a buffer, any will do
        if size:
            room[:size] = self._left
            self._left = b""
        try:
            # Asking until it wants more would cost an exception for each read, which is as much as decrypting it.
            while (self._incoming.pending or self._object.pending()) and not self.ended:
                got: int = read(len(room) - size, room[size:])
                self.ended = not got
                size += got
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as error:
            if not size:
                raise TlsError.of(error) from error
        return size

    @property
    def pending(self) -> bool:
        """Whether something came that was not decrypted and taken yet."""
        return bool(self._left or self._incoming.pending or self._object.pending())

    def close(self) -> bytes:
        """What tells the peer that nothing more will be sent (close_notify). What comes can still be decrypted.

        Idempotent; b"" where no session is.
        """
        if self.closed:
            return self.take_outgoing()
        self.closed = True
        # OpenSSL looks for the peer's close_notify at once, and throws away what comes before it: it must find nothing.
        while waiting := self._object.pending():
            self._left += self._object.read(waiting)
        withheld = self._incoming.read()
        with contextlib.suppress(ssl.SSLError, ValueError):  # it would like to read; or there was no handshake
            self._object.unwrap()
        self._incoming.write(withheld)
        return self.take_outgoing()

    @property
    def version(self) -> str:
        """Such as `TLSv1.3`; "" before the handshake is over."""
        return self._object.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of it; "" before the handshake is over."""
        found = self._object.cipher()
        return found[0] if found else ""
