"""WebSocket frames as an intermediary sees them: where they begin and end, what they are, and the few it makes itself.

The upgrade that comes before the first frame is checked in `wire.handshake`; what to do about a broken rule or a
Close frame is `relay`'s decision.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from trioproxy.wire.handshake import accept_key, check_request, check_response, has_extensions
from trioproxy.wire.traffic import LONGER, MESSAGE_SIZES, OCTETS, UNFINISHED, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "NO_CODE",
    "TOO_LARGE",
    "TOO_MANY",
    "Allowance",
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
MAX_HELD: Final = 131  # an incomplete header has up to 13 bytes, a masked Close or Pong up to 2 + 4 + 125

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


_BINARY, _CLOSE, _PONG = 2, 8, 10  # the hot path's: looking up an enum's member costs as much as ten comparisons


_UNLIMITED: Final = 1 << 99  # more than frames can announce
_LEAST: Final[Mapping[int, int]] = {2: 126, 8: 1 << 16}  # what so many bytes of length may say: less has a shorter form
_MOST: Final = (1 << 63) - 1  # the top bit of the eight-byte length is 0
TOO_LARGE: Final = "message too large"  # the breaches that are limits of ours and no rules of RFC 6455
TOO_MANY: Final = "too many messages or frames"


class Allowance(Protocol):
    """How many messages and frames may still come."""

    def refill(self, now: float) -> None:
        """Tell it the time, in seconds; its owner does, once for all that is scanned at that time."""

    def take(self, opcode: int) -> bool:
        """Take one frame off, which begins a message if it has the opcode of one; False if none is left."""


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


def _whole(*, extensions: bool) -> bytes:
    """For each first byte, whether the frame is a whole message that breaks no rule if none is under way."""
    return bytes(not b & 8 and b & _FIN and not _breach(b, extensions=extensions, inside=False) for b in range(256))


def _breaches(*, extensions: bool, inside: bool) -> tuple[str, ...]:
    return tuple(_breach(first, extensions=extensions, inside=inside) for first in range(256))


# One look-up by the first byte replaces six checks a frame. Indexed by `extensions`, then `inside`.
_BREACHES: Final = tuple(tuple(_breaches(extensions=e, inside=i) for i in (False, True)) for e in (False, True))
_WHOLE: Final = (_whole(extensions=False), _whole(extensions=True))
_NEVER: Final = bytes(256)
# A message above MAX_CONTROL by the bit length of (its size - 1): 10 for all up to 1 KiB, then two a class.
_CLASS: Final = bytes(min(max(bits - 9, 0) // 2, len(MESSAGE_SIZES) - 1) for bits in range(128))


@attrs.define(eq=False, weakref_slot=False)
class FrameScanner:
    """Follows the frames of one direction without looking at payloads, but for those of Close and, if asked to, Pong.

    `masked` says whether this direction's frames must be masked (RFC 6455 §5.1: a client's must, a server's must
    not), `extensions` whether any extension was negotiated, so that reserved bits may be set. Without `strict` every
    rule is the endpoints' business and only the lengths are read. In any case `limit` is the most bytes the payloads
    of one message may have as they pass (0: no limit), and `allowance` is asked about each frame but Close.

    `left` is how many bytes of the current frame's payload are still to come; 0 means that what was passed so far
    ends on a frame boundary. A caller whose read is shorter than that may subtract it by itself and spare the call.
    `traffic` is told what passes; `messages` and `frames` are this scanner's own. `close_code` is that of the first
    Close frame, set when the frame is complete. `breach` says which rule or limit was broken. When `finished`, behind
    a breach or, in strict mode, a Close frame, nothing more is scanned.

    While `awaited` has payloads, a Pong is held back until it is complete, and counted only then. One that answers
    with such a payload is not counted and not let pass: the scan ends before it with that payload in `pong`. The
    caller takes it out by `take_pong` and scans on behind it.
    """

    masked: bool = attrs.field(kw_only=True)
    strict: bool = attrs.field(kw_only=True)
    extensions: bool = attrs.field(kw_only=True)
    limit: int = attrs.field(kw_only=True, default=0)
    allowance: Allowance | None = attrs.field(kw_only=True, default=None)
    traffic: Traffic = attrs.field(kw_only=True, factory=Traffic)
    awaited: tuple[bytes, ...] = attrs.field(default=(), init=False)
    pong: bytes = attrs.field(default=b"", init=False)
    left: int = attrs.field(default=0, init=False)
    messages: int = attrs.field(default=0, init=False)
    close_code: int | None = attrs.field(default=None, init=False)
    breach: str = attrs.field(default="", init=False)
    finished: bool = attrs.field(default=False, init=False)
    _short: int = attrs.field(init=False)  # up to here a length needs no closer look
    _table: bytes = attrs.field(init=False)  # by a frame's first byte: needs no closer look here and now
    _part: int = attrs.field(default=-1, init=False)  # payload of the current message's earlier frames; -1: of none
    _completes: int = attrs.field(default=-1, init=False)  # size of the message that ends with this frame; -1: none
    _cells: list[int] = attrs.field(init=False)  # the traffic's
    _others: int = attrs.field(default=0, init=False)  # frames that ended no message
    _counted: bool = attrs.field(default=False, init=False)  # the incomplete Close being held is counted already

    def __attrs_post_init__(self) -> None:
        self.limit = self.limit or _UNLIMITED
        self._cells = self.traffic.cells
        self._short = min(MAX_CONTROL, self.limit)
        self._table = self._between()

    @property
    def frames(self) -> int:
        """Frames whose header is complete."""
        return self.messages + self._others

    def take_pong(self) -> tuple[bytes, int]:
        """The payload in `pong`, and how many bytes from where the scan ended that frame takes."""
        payload, self.pong = self.pong, b""
        return payload, len(payload) + (6 if self.masked else 2)

    def scan(self, buffer: bytes | bytearray, start: int, stop: int) -> int:
        """Take in `buffer[start:stop]` and return where that which may be passed on ends.

        What lies behind is an incomplete header, an incomplete Close or Pong (at most `MAX_HELD` bytes), which the
        caller holds back and puts before the next read; or the frame `pong` tells of; or, when `finished`, of no
        use. So what was passed on with `left == 0` always ends on a boundary. Costs O(headers), copies no payload
        and allocates nothing by an announced length.
        """
        # It runs once for nearly every read of the proxy: a whole message in one frame of at most 64 KiB is dealt with
        # here, anything else by `_frame`, as that takes three times as long (scanning a frame of 64 B: 0.25 µs, of
        # 1 KiB: 0.4 µs, by `_frame`: 0.9 µs; the proxy's CPU for it is about 7 µs, most of it the kernel's).
        if self.finished:
            return start
        at = start + self.left
        if at > stop:
            self.left = at - stop
            return stop
        self.left = 0
        if self._completes >= 0:
            self._cells[UNFINISHED] -= 1
            self._others -= 1
            self._complete(self._completes)
            self._completes = -1
        flip, size = (_MASK, 6) if self.masked else (0, 2)
        while stop - at > 1:
            first = buffer[at]
            length = buffer[at + 1] ^ flip
            end = at + size + length
            if length <= self._short and end <= stop and self._table[first]:
                self._cells[first & 15] += 1
                self._cells[OCTETS] += length
                self.messages += 1
            elif (
                length == _TWO_BYTES
                and end < stop  # else it is not complete, perhaps not even its header
                and MAX_CONTROL < (length := buffer[at + 2] << 8 | buffer[at + 3]) <= self.limit
                and at + size + 2 + length <= stop
                and self._table[first]
            ):
                end = at + size + 2 + length
                self._cells[first & 15] += 1
                self._complete(length)
            else:
                end = self._frame(buffer, at, stop)
                if end == at or self.finished:
                    return end
            at = end
        return at

    def _frame(self, buffer: bytes | bytearray, at: int, stop: int) -> int:  # noqa: C901, PLR0911, PLR0912 -- see below
        """Take in one frame of any kind; returns where what may pass of it ends, `at` if nothing may."""
        # Written for 1 KiB messages (echo over 64 tunnels), whose frames all come here: rules and limits are looked
        # at together, and `_check` finds out which it is if any is broken.
        first, second = buffer[at], buffer[at + 1]
        length, wide, body = second & 127, 0, at + (6 if second & _MASK else 2)
        if length > MAX_CONTROL:
            wide = 2 if length == _TWO_BYTES else 8
            body += wide
            if body <= stop:
                length = int.from_bytes(buffer[at + 2 : at + 2 + wide], "big")
        part = self._part
        if self.strict:
            wrong = _BREACHES[self.extensions][part >= 0][first] or (second >= _MASK) != self.masked
            if wrong or (wide and (first & 8 or not _LEAST[wide] <= length <= _MOST)):
                self._check(first, second, wide, length if body <= stop else None)
        if body > stop or self.finished:
            return at
        end, opcode = body + length, first & 15
        if opcode <= _BINARY:
            size = length if part < 0 else part + length
            if size > self.limit or (self.allowance is not None and not self.allowance.take(opcode)):
                self._refuse(TOO_LARGE if size > self.limit else TOO_MANY)
                return at
            if not first & _FIN:
                self._part, self._table = size, _NEVER
                self._unfinished()
            else:
                if part >= 0:
                    self._part, self._table = -1, self._between()
                if end > stop:
                    self._completes = size
                    self._unfinished()
                else:
                    self._complete(size)
        elif opcode == _CLOSE and length <= MAX_CONTROL:
            return self._close(buffer, at, end, stop)
        elif opcode == _PONG and length <= MAX_CONTROL and self.awaited:
            return self._pong(buffer, at, end, stop)
        else:
            if self.allowance is not None and not self.allowance.take(opcode):
                self._refuse(TOO_MANY)
                return at
            self._others += 1
        self._cells[opcode] += 1
        if end > stop:
            self.left = end - stop
            return stop
        return end

    def _check(self, first: int, second: int, wide: int, length: int | None) -> None:
        """The rules of RFC 6455 §5.2, as far as a header has come; `length` is None while bytes of it are missing."""
        self._refuse(_BREACHES[self.extensions][self._part >= 0][first])
        if bool(second & _MASK) != self.masked:
            self._refuse("unmasked frame" if self.masked else "masked frame")
        if wide and first & 8:
            self._refuse("control frame above 125 bytes")
        if wide and length is not None:
            if length < _LEAST[wide]:
                self._refuse("length not minimal")
            if length > _MOST:
                self._refuse("length of 2^63 or more")

    def _refuse(self, breach: str) -> None:
        """Stop at a broken rule; the first counts, an empty one is none."""
        self.breach = self.breach or breach
        self.finished = bool(self.breach)

    def _between(self) -> bytes:
        """The table that holds while no message is under way."""
        return _NEVER if self.allowance is not None else _WHOLE[self.extensions or not self.strict]

    def _unfinished(self) -> None:
        """Count a data frame that ends no message, or not yet."""
        self._cells[UNFINISHED] += 1
        self._others += 1

    def _complete(self, size: int) -> None:
        """Count a message of that size."""
        self.messages += 1
        self._cells[OCTETS] += size
        if size > MAX_CONTROL:
            self._cells[LONGER + _CLASS[(size - 1).bit_length()]] += 1

    def _close(self, buffer: bytes | bytearray, at: int, end: int, stop: int) -> int:
        """Note the Close frame `buffer[at:end]`; nothing of it passes while it is incomplete."""
        if not self._counted:
            self._counted = True
            self._cells[Opcode.CLOSE] += 1
            self._others += 1
        if end > stop:
            return at
        self._counted = False
        if self.close_code is None:
            self.close_code = _code(buffer[at:end])
        self.finished = self.strict
        return end

    def _pong(self, buffer: bytes | bytearray, at: int, end: int, stop: int) -> int:
        """Tell an awaited Pong from any other; nothing of it passes while it is incomplete."""
        if end > stop:
            return at
        payload = _payload(buffer[at:end])
        if payload in self.awaited and bool(buffer[at + 1] & _MASK) == self.masked:
            self.pong = payload
            return at
        if self.allowance is not None and not self.allowance.take(Opcode.PONG):
            self._refuse(TOO_MANY)
            return at
        self._cells[Opcode.PONG] += 1
        self._others += 1
        return end


def _payload(frame: bytes | bytearray) -> bytes:
    """The payload of a whole control frame, unmasked."""
    if not frame[1] & _MASK:
        return bytes(frame[2:])
    return bytes(byte ^ frame[2 + i % 4] for i, byte in enumerate(frame[6:]))


def _code(frame: bytes | bytearray) -> int:
    """The code in a whole Close frame."""
    payload = _payload(frame)
    return int.from_bytes(payload[:2], "big") if len(payload) > 1 else NO_CODE


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
