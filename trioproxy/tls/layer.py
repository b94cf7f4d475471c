"""TLS between octets as they travel and octets as they are meant, without I/O.

Whoever moves the octets feeds what came (`feed`), takes what is to be sent (`take_outgoing`), and asks in between. Over
memory BIOs nothing is ever half written: what was encrypted is whole, and waits to be sent like any other octets. They
never give back memory they once had, so in bulk they get one record at a time.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from typing import Any, Self

_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"})  # what it looks like
RECORD: Final = 16 * 1024  # octets of plaintext in one record at most (RFC 8446 §5.1)
HEADER: Final = 5  # octets before each: content type, version, length
LONGEST: Final = HEADER + RECORD + 2048  # a whole one, encrypted as TLS 1.2 may (RFC 5246 §6.2.3)
_TYPES: Final = range(20, 24)  # what a record may hold
_IDLE: Final = 16  # records without data at once: who asks for new keys with 27 octets costs us 30 µs (OpenSSL 3.0)
_MOST_ANSWERS: Final = 4096  # octets that TLS itself has to say, while nobody else has anything


class TlsError(Exception):
    """What came is not what TLS asks for here, or the certificate is not; the message says it in a few words."""

    @classmethod
    def of(cls, error: ssl.SSLError) -> TlsError:
        """The words of OpenSSL, without its numbers."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return cls(f"certificate not accepted: {error.verify_message}")
        words = (error.reason or str(error)).replace("_", " ").lower()
        return cls(f"{words} (is TLS spoken there?)" if error.reason in _NO_TLS else words)


class TlsEndedError(TlsError):
    """The connection ended inside the handshake."""


@attrs.define(eq=False, weakref_slot=False)
class TlsLayer:
    """One connection's TLS. One task at a time may use it.

    `ended` is set once the peer has said that nothing more will come (close_notify, RFC 8446 §6.1): an end of the
    connection without it may be an attacker's. `closed` is set once we have. `broken` says what was wrong with what
    came, if anything was; nothing can be sent any more then. `tail` and `records` are for who uses `decrypt_into`: the
    beginning of a record of which the rest has not come, and how many the last call has opened.
    """

    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _object: ssl.SSLObject
    ended: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    broken: str = attrs.field(default="", init=False)
    tail: bytes = attrs.field(default=b"", init=False)
    records: int = attrs.field(default=0, init=False)
    _header: bytes = attrs.field(default=b"", init=False)  # of the record under way, what was fed of its header,
    _missing: int = attrs.field(default=0, init=False)  # or how many octets of it are to be fed yet
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
        at, stop = 0, len(data)
        while at < stop:
            at = self._follow(data, at, stop)

    def _follow(self, data: bytes | memoryview, at: int, stop: int) -> int:
        """Where the record ends that is under way at `data[at]`, but not behind `stop`."""
        if not self._missing:
            rest = HEADER - len(self._header)
            self._header += bytes(data[at : at + rest])
            if len(self._header) < HEADER:
                return stop
            at += rest
            self._missing, self._header = int.from_bytes(self._header[3:], "big"), b""
        end = min(at + self._missing, stop)
        self._missing -= end - at
        return end

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
        write, read = self._object.write, self._outgoing.read
        try:
            if len(data) <= RECORD:
                write(data)
                return read()
            view, records = memoryview(data), []
            for at in range(0, len(view), RECORD):
                write(view[at : at + RECORD])
                records.append(read())
        except ssl.SSLError as error:
            raise TlsError.of(error) from error
        return b"".join(records)

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
            self._check_answers()
            return None
        except ssl.SSLZeroReturnError:
            data = b""
        except ssl.SSLError as error:
            raise self._break(error) from error
        self.ended = not data
        return data

    def _check_answers(self) -> None:
        if self._outgoing.pending > _MOST_ANSWERS:  # each request for a new key has its answer
            self.broken = "too many records without data"
            raise TlsError(self.broken) from None

    def decrypt_into(self, data: memoryview, room: memoryview) -> int:
        """All that can be decrypted of what was fed and of `data`, into `room`; how many octets that is.

        `data` begins with `tail`, and what lies behind its last whole record is the new one. `room` has to be larger
        than both together by a RECORD. Never raises: see `ended` and `broken`, which may be set behind what came well.
        """
        size, at, stop, idle = len(self._left), 0, len(data), 0
        self.records = 0
        if size:
            room[:size] = self._left
            self._left = b""
        if self._header or self._missing:  # inside a record, where `feed` has left it
            at = self._follow(data, 0, stop)
            self._incoming.write(data[:at])
        if self._incoming.pending or self._object.pending():
            size += self._read(room[size:])
        while at < stop and not (self.ended or self.broken):
            end = _record_end(data, at, stop)
            if end > stop:
                break
            self._incoming.write(data[at:end])
            at = end
            if got := self._read(room[size:]):
                size += got
            elif (idle := idle + 1) > _IDLE:
                self.broken = self.broken or "too many records without data"
        self.tail = b"" if self.ended or self.broken else bytes(data[at:stop])
        return size

    def _read(self, room: memoryview) -> int:
        """What OpenSSL has. To ask until it wants more would cost an exception, which is as much as a record."""
        read: Any = self._object.read  # into a buffer, any will do
        size = 0
        try:
            while True:
                self.records += 1
                got: int = read(len(room) - size, room[size:])
                size += got
                self.ended = not got
                if self.ended or not (self._incoming.pending or self._object.pending()):
                    break
        except ssl.SSLError as error:
            self._heard(error)
        return size

    def _heard(self, error: ssl.SSLError) -> None:
        """OpenSSL has nothing to give: it wants more, or that was the end, or it is broken."""
        if isinstance(error, ssl.SSLZeroReturnError):
            self.ended = True
        elif not isinstance(error, ssl.SSLWantReadError):  # that is what it says behind a ticket or a new key, too
            self._break(error)

    def _break(self, error: ssl.SSLError) -> TlsError:
        failure = TlsError.of(error)
        self.broken = self.broken or str(failure)
        return failure

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


def _record_end(data: memoryview, at: int, stop: int) -> int:
    """Where the record ends that begins there; somewhere behind `stop` if its length is not known yet.

    What is no record ends where it stands: OpenSSL is to see it and say so.
    """
    if data[at] not in _TYPES:
        return stop
    if stop - at < HEADER:
        return stop + 1
    size = HEADER + (data[at + 3] << 8 | data[at + 4])
    return at + size if size <= LONGEST else stop
