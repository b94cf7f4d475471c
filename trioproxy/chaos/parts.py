"""What passes a hop in one direction, cut where a fault may want to act: the head, then frames, then the end.

Pure. It follows frames and holds nobody to a rule (`wire.websocket` does that for the proxy): faults are to pass, too.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioproxy.chaos.faults.base import Fault

MOST_HEAD: Final = 64 * 1024  # bytes; what is longer passes as it is
_CONTROL: Final = 8  # an opcode from here on is a control frame's (RFC 6455 §5.5)
_TWO_BYTES: Final = 126
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_STARTS: Final = (b"HTTP/1.", *(f"{method} ".encode() for method in _METHODS))
_FIRST_LINE: Final = re.compile(rb"(?:HTTP/1\.\d .*|[A-Z]+ .* HTTP/1\.\d)\r?")


class Kind(Enum):
    """Of a part."""

    HEAD = auto()  # a whole HTTP head with its blank line
    FRAME = auto()  # of a WebSocket frame: all of a control frame's, some or all of another's
    BODY = auto()  # anything else
    END = auto()  # FIN


class Cut(Enum):
    """What becomes of a connection behind a part."""

    CLOSE = auto()  # FIN to both sides
    RESET = auto()  # RST to both


@attrs.define
class Part:
    """Some bytes on their way through a hop, and what faults have made of them.

    It is sent no sooner than `lag` seconds behind its arrival, `gap` behind the part before it, and not while one of
    `held_by` is on.
    """

    kind: Kind
    data: bytes = b""
    opcode: int = 0
    starts: bool = False  # a frame begins with it
    ends: bool = False  # a frame ends with it
    lag: float = 0.0
    gap: float = 0.0
    cut: Cut | None = None
    held_by: tuple[Fault, ...] = ()

    @property
    def is_upgrade(self) -> bool:
        """An answer's head that opens a tunnel."""
        return self.kind is Kind.HEAD and self.data[9:12] == b"101"


@attrs.define
class Splitter:
    """Follows one direction of one connection from its first byte.

    Until `upgraded` is set behind a head, all behind the first head is body. At `boundary`, what is put in between
    lands between two frames.
    """

    upgraded: bool = attrs.field(default=False, init=False)
    boundary: bool = attrs.field(default=False, init=False)
    _head: bool = attrs.field(default=True, init=False)
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _left: int = attrs.field(default=0, init=False)  # of the payload of the current data frame
    _opcode: int = attrs.field(default=0, init=False)

    def split(self, data: bytes) -> Iterator[Part]:
        """The parts that are complete with `data`; its last ones may stay behind. It is to be used up."""
        self._buffer += data
        if self._head and (head := self._take_head()):
            yield head
        if self._head:
            return
        if self.upgraded:
            yield from self._frames()
        elif self._buffer:
            yield Part(Kind.BODY, self._take(len(self._buffer)))

    def rest(self) -> Iterator[Part]:
        """What came no further, and the end."""
        if self._buffer:
            yield Part(Kind.BODY, self._take(len(self._buffer)))
        yield Part(Kind.END)

    def _take_head(self) -> Part | None:
        is_http = _begins_a_head(self._buffer)
        end = self._buffer.find(b"\r\n\r\n") if is_http else -1
        if is_http and end < 0 and len(self._buffer) <= MOST_HEAD:
            return None
        self._head = False
        self.boundary = True
        return Part(Kind.HEAD, self._take(end + 4)) if end >= 0 else None

    def _frames(self) -> Iterator[Part]:
        while self._buffer:
            if self._left:
                data = self._take(min(self._left, len(self._buffer)))
                self._left -= len(data)
                self.boundary = not self._left
                yield Part(Kind.FRAME, data, self._opcode, ends=self.boundary)
                continue
            header, length = _header(self._buffer)
            self._opcode = self._buffer[0] & 15
            size = header + length
            whole = self._opcode >= _CONTROL and length < _TWO_BYTES
            if not header or (whole and size > len(self._buffer)):
                return
            data = self._take(min(size, len(self._buffer)))
            self._left = size - len(data)
            self.boundary = not self._left
            yield Part(Kind.FRAME, data, self._opcode, starts=True, ends=self.boundary)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


def _begins_a_head(data: bytearray) -> bool:
    """Whether a head of HTTP may become of it; what is none must not wait for a blank line."""
    line, complete, _ = data.partition(b"\n")
    if complete:
        return _FIRST_LINE.fullmatch(line) is not None
    return any(line[: len(start)] == start[: len(line)] for start in _STARTS)


def _header(data: bytearray) -> tuple[int, int]:
    """(size of a frame's header, length of its payload); the size is 0 while it is incomplete (RFC 6455 §5.2)."""
    if len(data) < 2:  # noqa: PLR2004 - the shortest header
        return 0, 0
    length, masked = data[1] & 127, data[1] >> 7
    wide = 0 if length < _TWO_BYTES else 2 if length == _TWO_BYTES else 8
    size = 2 + wide + 4 * masked
    if size > len(data):
        return 0, 0
    return size, int.from_bytes(data[2 : 2 + wide], "big") if wide else length
