"""WebSocket frames as an intermediary sees them: where they begin and end, what they are, and the few it makes itself.

The upgrade that comes before the first frame is checked in `wire.handshake`; what to do about a broken rule or a
Close frame is `relay`'s decision.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import attrs

from trioproxy.wire.handshake import accept_key, check_request, check_response, has_extensions

__all__ = [
    "NO_CODE",
    "FrameScanner",
    "Opcode",
    "accept_key",
    "check_request",
    "check_response",
    "close_frame",
    "has_extensions",
    "ping_frame",
]

NO_CODE: Final = 1005  # stands for a Close frame without a code (RFC 6455 §7.1.5); never sent
MAX_CONTROL: Final = 125  # RFC 6455 §5.5
MAX_HELD: Final = 131  # an incomplete header has up to 13 bytes, an incomplete masked Close up to 2 + 4 + 125

_FIN: Final = 0x80
_RSV: Final = 0x70
_MASK: Final = 0x80
_TWO_BYTES: Final = 126  # the seven-bit length that says that two bytes of length follow; 127: eight (RFC 6455 §5.2)


class Opcode(IntEnum):
    """RFC 6455 §5.2; the others are reserved."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


# What a frame's first byte makes of it; 0 is refused.
_FINAL: Final = 1  # ends a message
_PART: Final = 2  # a message goes on behind it
_OTHER: Final = 3  # belongs to no message
_CLOSE: Final = 4


def _kind(first: int) -> int:
    opcode = first & 15
    if opcode == Opcode.CLOSE:
        return _CLOSE
    if opcode > Opcode.BINARY:
        return _OTHER
    return _FINAL if first & _FIN else _PART


def _breach(first: int, *, extensions: bool, inside: bool) -> str:
    """What is wrong with a frame's first byte inside or outside of a message; empty if nothing is."""
    opcode = first & 15
    if first & _RSV and not extensions:
        return "reserved bit set"
    if opcode not in Opcode.__members__.values():
        return f"unknown opcode {opcode}"
    if opcode >= Opcode.CLOSE:
        return "" if first & _FIN else "fragmented control frame"
    if inside and opcode != Opcode.CONTINUATION:
        return "new message inside a message"
    if not inside and opcode == Opcode.CONTINUATION:
        return "continuation of no message"
    return ""


def _table(*, extensions: bool, inside: bool) -> bytes:
    return bytes(0 if _breach(b, extensions=extensions, inside=inside) else _kind(b) for b in range(256))


# One look-up by the first byte replaces six checks a frame. Indexed by `extensions`, then `inside`.
_STRICT: Final = tuple(tuple(_table(extensions=e, inside=i) for i in (False, True)) for e in (False, True))
_LENIENT: Final = bytes(_kind(b) for b in range(256))


@attrs.define(eq=False)
class FrameScanner:
    """Follows the frames of one direction without looking at payloads.

    `masked` says whether this direction's frames must be masked (RFC 6455 §5.1: a client's must, a server's must
    not), `extensions` whether any extension was negotiated, so that reserved bits may be set. Without `strict` every
    rule is the endpoints' business and only the lengths are read.

    `left` is how many bytes of the current frame's payload are still to come; 0 means that what was passed so far
    ends on a frame boundary. A caller whose read is shorter than that may subtract it by itself and spare the call.
    `frames` counts by opcode when a header is complete, `messages` when the last byte of a message was read.
    `close_code` is that of the first Close frame, set when the frame is complete. `breach` says which rule was
    broken. When `finished`, behind a breach or, in strict mode, a Close frame, nothing more is scanned.
    """

    masked: bool = attrs.field(kw_only=True)
    strict: bool = attrs.field(kw_only=True)
    extensions: bool = attrs.field(kw_only=True)
    left: int = attrs.field(default=0, init=False)
    messages: int = attrs.field(default=0, init=False)
    frames: list[int] = attrs.field(factory=lambda: [0] * 16, init=False)
    close_code: int | None = attrs.field(default=None, init=False)
    breach: str = attrs.field(default="", init=False)
    finished: bool = attrs.field(default=False, init=False)
    _outside: bytes = attrs.field(init=False)  # what a first byte means outside of a message
    _inside: bytes = attrs.field(init=False)
    _table: bytes = attrs.field(init=False)  # the one of the two that holds now
    _completes: int = attrs.field(default=0, init=False)  # messages that end with the current frame: 0 or 1
    _counted: bool = attrs.field(default=False, init=False)  # the incomplete Close being held is in `frames` already

    def __attrs_post_init__(self) -> None:
        self._outside, self._inside = _STRICT[self.extensions] if self.strict else (_LENIENT, _LENIENT)
        self._table = self._outside

    def scan(self, buffer: bytes | bytearray, start: int, stop: int) -> int:  # noqa: C901, PLR0912 -- see below
        """Take in `buffer[start:stop]` and return where that which may be passed on ends.

        What lies behind is an incomplete header or an incomplete Close frame (at most `MAX_HELD` bytes), which the
        caller holds back and puts before the next read; or, when `finished`, of no use. So what was passed on with
        `left == 0` always ends on a boundary. Costs O(headers), copies no payload and allocates nothing by an
        announced length.
        """
        # Longer than the house likes and in locals: it runs once for nearly every read of the proxy, and a method
        # call saved is about 0.5 % of the proxy's CPU for a small message (64-byte echo over 64 tunnels).
        if self.finished:
            return start
        at = start + self.left
        if at > stop:
            self.left = at - stop
            return stop
        self.left = 0
        if self._completes:
            self._completes = 0
            self.messages += 1
        flip, size = (_MASK, 6) if self.masked else (0, 2)
        while stop - at > 1:
            first = buffer[at]
            kind = self._table[first]
            length = buffer[at + 1] ^ flip
            body = at + size
            if length > MAX_CONTROL or not kind:
                body, length = self._unusual(buffer, at, stop)
                if self.finished:
                    break
            if body > stop:
                break
            end = body + length
            if kind == _CLOSE and length <= MAX_CONTROL:
                if not self._close(buffer, at, end, stop):
                    break
                at = end
                if self.finished:
                    break
                continue
            self.frames[first & 15] += 1
            if kind == _FINAL:
                self._table = self._outside
                if end > stop:
                    self._completes = 1
                else:
                    self.messages += 1
            elif kind == _PART:
                self._table = self._inside
            if end > stop:
                self.left = end - stop
                return stop
            at = end
        return at

    def _unusual(self, buffer: bytes | bytearray, at: int, stop: int) -> tuple[int, int]:
        """Where a long or odd frame's payload begins (behind `stop` if the header is incomplete), and its length."""
        first, second = buffer[at], buffer[at + 1]
        length = second & 127
        wide = 0 if length <= MAX_CONTROL else 2 if length == _TWO_BYTES else 8
        body = at + 2 + wide + (4 if second & _MASK else 0)
        if self.strict:
            self._refuse(_breach(first, extensions=self.extensions, inside=self._table is self._inside))
            if bool(second & _MASK) != self.masked:
                self._refuse("unmasked frame" if self.masked else "masked frame")
            if wide and first & 8:
                self._refuse("control frame above 125 bytes")
        if wide and body <= stop:
            length = int.from_bytes(buffer[at + 2 : at + 2 + wide], "big")
            if self.strict and length < (126 if wide == 2 else 1 << 16):  # noqa: PLR2004 -- bytes of length
                self._refuse("length not minimal")
            if self.strict and length >> 63:
                self._refuse("length of 2^63 or more")
        return body, length

    def _refuse(self, breach: str) -> None:
        """Stop at a broken rule; the first counts, an empty one is none."""
        self.breach = self.breach or breach
        self.finished = bool(self.breach)

    def _close(self, buffer: bytes | bytearray, at: int, end: int, stop: int) -> bool:
        """Note the Close frame `buffer[at:end]`; False while it is incomplete."""
        if not self._counted:
            self._counted = True
            self.frames[Opcode.CLOSE] += 1
        if end > stop:
            return False
        self._counted = False
        if self.close_code is None:
            self.close_code = _code(buffer[at:end])
        self.finished = self.strict
        return True


def _code(frame: bytes | bytearray) -> int:
    """The code in a whole Close frame, masked or not."""
    body = 6 if frame[1] & _MASK else 2
    if len(frame) < body + 2:
        return NO_CODE
    high, low = frame[body : body + 2]
    return ((high ^ frame[2]) << 8 | (low ^ frame[3])) if body == 6 else high << 8 | low  # noqa: PLR2004 -- masked


def close_frame(code: int, *, mask: bytes | None = None) -> bytes:
    """A Close frame without a reason; `mask` are the four random bytes a client must use, None for a server's frame."""
    return _control(Opcode.CLOSE, code.to_bytes(2, "big"), mask)


def ping_frame(payload: bytes, *, mask: bytes | None = None) -> bytes:
    """A Ping with up to 125 bytes of payload; `mask` as in `close_frame`."""
    return _control(Opcode.PING, payload, mask)


def _control(opcode: Opcode, payload: bytes, mask: bytes | None) -> bytes:
    head = bytes((_FIN | opcode, len(payload) | (_MASK if mask else 0)))
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
