"""Bodies: each kind of framing reads its pieces from the buffer until the end.

Which kind a message has is decided in `heads`; limits on a body's size are `forward`'s work.
"""

from __future__ import annotations

import re
from copy import copy
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import httptools

from trioproxy.errors import ProxyError
from trioproxy.wire.events import BodyKind, Data, EndOfMessage
from trioproxy.wire.headers import Headers
from trioproxy.wire.heads import read_field

if TYPE_CHECKING:
    from trioproxy.wire.buffer import Buffer
    from trioproxy.wire.headers import Field
    from trioproxy.wire.heads import Refuse

MAX_CHUNK_LINE = 512
"""Bytes of one chunk's size and extensions with the line end."""

MAX_EXTENSION_BYTES = 16384
"""Bytes of all extensions (and leading zeros) of one body: they are dropped, so nobody pays for more."""

SIZE_LINE = re.compile(rb"0*([0-9A-Fa-f]{1,15})(?:;[^\r\n]*)?\r\n")
"""RFC 9112 §7.1 without whitespace before the extension; below 2**60, so nothing overflows. llhttp checks the rest."""

CHUNKED_HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
"""Makes llhttp expect chunks. The message's own head will not do: any Upgrade in it turns body parsing off."""


class Body(Protocol):
    """Reads one message's body from the buffer, and not a byte more."""

    def read(self, buffer: Buffer) -> Data | EndOfMessage | None:
        """The next event, or None for want of bytes; not called again after EndOfMessage. Raises ProxyError."""
        ...

    @property
    def pending(self) -> bool:
        """Whether there is an event to read without any further byte."""
        ...


END: Final = EndOfMessage(Headers())
"""The end of a message without trailers."""


class NoBody:
    """No body: nothing but its end."""

    pending = True

    def read(self, buffer: Buffer) -> EndOfMessage:  # noqa: ARG002  # the shape of `Body`
        """See `Body`."""
        return END


@attrs.define(eq=False)
class LengthBody:
    """A body of so many bytes."""

    remaining: int

    def read(self, buffer: Buffer) -> Data | EndOfMessage | None:
        """See `Body`."""
        if not self.remaining:
            return END
        data = buffer.take(self.remaining)
        if not data:
            return None
        self.remaining -= len(data)
        return Data(data)

    @property
    def pending(self) -> bool:
        """See `Body`."""
        return not self.remaining


class UntilCloseBody:
    """A body of all bytes to come; its end is the parser's to tell."""

    pending = False

    def read(self, buffer: Buffer) -> Data | None:
        """See `Body`."""
        data = buffer.take(len(buffer))
        return Data(data) if data else None


class _Step(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()


class _End:
    """Hears from llhttp where the message ends."""

    __slots__ = ("complete",)

    def __init__(self) -> None:
        self.complete = False

    def on_message_complete(self) -> None:
        self.complete = True


class ChunkedBody:
    """A body in chunks (RFC 9112 §7.1): extensions are dropped, trailers kept apart.

    llhttp judges every byte of it. It cannot say where in its input the message ended, so it is fed line by line, and
    the sizes are read along to pass the data by.
    """

    __slots__ = (
        "_end",
        "_extensions",
        "_left",
        "_llhttp",
        "_max_trailers",
        "_next",
        "_refuse",
        "_step",
        "_trailer_room",
        "_trailers",
    )

    def __init__(self, *, max_trailer_bytes: int, max_trailers: int, refuse: Refuse) -> None:
        self._refuse = refuse
        self._end = _End()
        self._llhttp = httptools.HttpRequestParser(self._end)
        self._llhttp.feed_data(CHUNKED_HEAD)
        self._step = _Step.SIZE
        self._left = 0  # bytes of the chunk's data to come
        self._extensions = 0  # bytes seen of them
        self._trailer_room = max_trailer_bytes
        self._max_trailers = max_trailers
        self._trailers: list[Field] = []
        self._next: EndOfMessage | ProxyError | None = None  # stands behind data that was handed out first

    @property
    def pending(self) -> bool:
        """See `Body`."""
        return self._next is not None

    def read(self, buffer: Buffer) -> Data | EndOfMessage | None:
        """See `Body`. What came together goes on together, however small its chunks."""
        pieces: list[bytes] = []
        while self._next is None:
            try:
                piece = self._advance(buffer)
            except ProxyError as error:
                self._next = copy(error)  # without the traceback, whose frames hold this body
                break
            if piece is None:
                break
            if piece:
                pieces.append(piece)
        if pieces:
            return Data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if isinstance(self._next, ProxyError):
            raise copy(self._next)
        return self._next

    def _advance(self, buffer: Buffer) -> bytes | None:
        """One step: data, or nothing for a line of framing, or None for want of bytes."""
        if self._step is _Step.DATA:
            data = buffer.take(self._left)
            self._left -= len(data)
            self._feed(data)
            if not self._left:
                self._step = _Step.DATA_END
            return data or None
        line = self._line(buffer)
        if line is None:
            return None
        if self._step is _Step.SIZE:
            self._size(line)
        elif self._step is _Step.DATA_END:
            self._feed(line)
            self._step = _Step.SIZE
        else:
            self._trailer(line)
        return b""

    def _line(self, buffer: Buffer) -> bytes | None:
        limit = self._trailer_room if self._step is _Step.TRAILERS else MAX_CHUNK_LINE
        end = buffer.data.find(b"\n", buffer.start, buffer.start + limit)
        if end >= 0:
            return buffer.take(end + 1 - buffer.start)
        if len(buffer) >= limit:
            raise self._refuse(400, "line too long in a chunked body")
        return None

    def _size(self, line: bytes) -> None:
        match = SIZE_LINE.fullmatch(line)
        if match is None:
            raise self._refuse(400, "invalid chunk size")
        self._feed(line)
        digits = match[1]
        self._extensions += len(line) - len(digits) - 2
        if self._extensions > MAX_EXTENSION_BYTES:
            raise self._refuse(400, "too many chunk extensions")
        self._left = int(digits, 16)
        self._step = _Step.DATA if self._left else _Step.TRAILERS

    def _trailer(self, line: bytes) -> None:
        self._trailer_room -= len(line)
        if line != b"\r\n":
            if len(self._trailers) == self._max_trailers:
                raise self._refuse(400, "too many trailers")
            try:
                self._trailers.append(read_field(line.removesuffix(b"\r\n")))
            except ValueError:
                raise self._refuse(400, "a trailer that is no field") from None
        self._feed(line)
        if self._end.complete:
            self._next = EndOfMessage(Headers(self._trailers)) if self._trailers else END

    def _feed(self, data: bytes) -> None:
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserError as error:
            raise self._refuse(400, str(error)) from None


NO_BODY: Final = NoBody()


def make_body(kind: BodyKind, length: int | None, max_head_bytes: int, max_headers: int, refuse: Refuse) -> Body:
    """The reader of a body so framed; trailers are held to the limits of heads."""
    if kind is BodyKind.LENGTH and length:
        return LengthBody(length)
    if kind is BodyKind.CHUNKED:
        return ChunkedBody(max_trailer_bytes=max_head_bytes, max_trailers=max_headers, refuse=refuse)
    return UntilCloseBody() if kind is BodyKind.UNTIL_CLOSE else NO_BODY
