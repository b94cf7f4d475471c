"""How far a client may fall behind the least rate at which a body has to move.

Pure. Who waits, and what a client that is too slow is told, is `forward`'s and `answer`'s work.
"""

from __future__ import annotations

import math

import attrs


@attrs.define(eq=False)
class Pace:
    """Seconds that a client has left: its `grace` at first and at most; waiting for it takes them, octets bring them.

    With `rate` octets a second it has for ever. What came fast is no credit beyond the grace, so that nobody begins
    fast and then holds a connection with one octet a minute. A rate of 0 asks for nothing.
    """

    rate: float
    grace: float
    _left: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._left = self.grace if self.rate else math.inf

    def patience(self, octets: int = 0) -> float:
        """How long to wait for the client's next octets, or until it has taken so many."""
        return self._left + octets / self.rate if self.rate else math.inf

    def waited(self, seconds: float, octets: int) -> None:
        """So long it took until so many octets had come, or were taken."""
        if self.rate:
            self._left = min(self._left - seconds + octets / self.rate, self.grace)
