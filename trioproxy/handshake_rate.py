"""How many upgrades a listener takes a second, over all processes: a token bucket that holds those of one second.

Where a request is refused for it is `upgrade`'s work; the cells that processes share are `board`'s.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.board import Marks

if TYPE_CHECKING:
    from collections.abc import Callable

HANDSHAKE_RATE: Final = "handshake_rate"  # the series of the board; its label is the listener's address
SECOND: Final = 1_000_000_000  # in nanoseconds
SLOWEST: Final = 1e-9  # upgrades a second: one in 30 years, whose nanoseconds a cell still holds
# Who is refused is told to come when it would be their turn if all came then; for others nobody waits longer.
MOST_SPREAD: Final = 60 * SECOND


@attrs.define(eq=False)
class HandshakeRate:
    """The bucket, told as the moment at which it would be full again (the generic cell rate algorithm, ITU-T I.371).

    Each process has its own such moment on the board, and the latest of all holds: no lock, no share for each. Of two
    processes that take at the same moment one counts itself behind the other.
    """

    marks: Marks = attrs.field(factory=Marks.alone)
    # One clock for all processes of a machine; Trio's begins anywhere in each.
    clock: Callable[[], int] = time.monotonic_ns
    _told: int = attrs.field(default=0, init=False)  # when whoever was refused last is to come again

    def take(self, rate: float) -> int:
        """Take one of `rate` (above 0) a second: 0, or the whole seconds after which it is worth another try.

        Those grow with each that is refused, so that a storm comes back spread over time.
        """
        before, others = self.marks.own, self.marks.others()
        now, cost = self.clock(), round(SECOND / max(rate, SLOWEST))  # behind the marks: none is of a later moment
        limit = now + max(SECOND, cost)
        # Above the limit lies what was taken at a rate below one a second, before a reload: that bucket is gone.
        taken = max([now, *(moment for moment in (before, *others) if moment <= limit)]) + cost
        if taken <= limit:
            meanwhile = set(self.marks.set_and_look(taken)).difference(others)
            if not meanwhile:
                return 0
            # Others took at the same time: behind them, which counts one too many if they have seen this one.
            taken = max(taken, *meanwhile) + cost
            if taken <= limit:
                self.marks.set(taken)
                return 0
            self.marks.set(before)
        wait = taken - limit
        # Of those who are refused the other processes have their part, and tell them the same.
        self._told = min(max(self._told, now) + cost * (1 + len(others)), now + MOST_SPREAD)
        return max(1, -(-max(wait, self._told - now) // SECOND))
