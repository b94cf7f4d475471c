"""A token bucket: so many a second on average, and as many at once as it holds.

Its time is told to it, once per read and not per token; what happens to whoever finds it empty is the caller's.
"""

from __future__ import annotations

from typing import Final

import attrs

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
