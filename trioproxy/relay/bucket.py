"""Token buckets: so many a second on average, and as many at once as they hold.

Their time is told to them, once per read and not per token; what happens to whoever finds one empty is the caller's.
"""

from __future__ import annotations

from typing import Final

import attrs

_MESSAGES: Final = frozenset({1, 2})  # the opcodes that begin one: text and binary
ALMOST: Final = 1e-6  # of a token: what sums of fractions may lose


@attrs.define(eq=False)
class Bucket:
    """`rate` tokens a second flow in, up to those of one second, at least one; full at `filled`, in Trio's time."""

    rate: float
    filled: float
    _level: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._level = max(self.rate, 1.0)

    def refill(self, now: float) -> None:
        """Let in what flowed since the last call."""
        self._level = min(self._level + (now - self.filled) * self.rate, max(self.rate, 1.0))
        self.filled = now

    def take(self) -> bool:
        """Take one token; False if there is none."""
        if self._level < 1 - ALMOST:
            return False
        self._level -= 1
        return True


@attrs.define(eq=False)
class Quota:
    """What one client may send: messages, and frames of any kind, each with a bucket where there is a limit."""

    messages: Bucket | None
    frames: Bucket | None

    @classmethod
    def of(cls, message_rate: float, frame_rate: float, now: float) -> Quota | None:
        """So many a second, 0 is no limit; None where neither is limited."""
        if not message_rate and not frame_rate:
            return None
        return cls(*(Bucket(rate, now) if rate else None for rate in (message_rate, frame_rate)))

    def refill(self, now: float) -> None:
        """Let in what flowed since the last call."""
        if self.messages is not None:
            self.messages.refill(now)
        if self.frames is not None:
            self.frames.refill(now)

    def take(self, opcode: int) -> bool:
        """Take one frame; False if there is none, or it begins a message and there is none of those."""
        if self.frames is not None and not self.frames.take():
            return False
        return self.messages is None or opcode not in _MESSAGES or self.messages.take()
