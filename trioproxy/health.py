"""What probes have seen of one upstream, turned into its state.

Pure: probing is `prober`'s work; whether the state allows a lease is decided in `upstreams`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs

FIRST_SHARE: Final = 0.1  # of its weight that an upstream begins a slow start with


class UpstreamState(StrEnum):
    """The `state` label of `trioproxy_upstream_state`. Only an upstream that is up gets new work."""

    UP = "up"
    DOWN = "down"  # its probes fail
    EJECTED = "ejected"  # the traffic itself failed (`passive`)
    DRAINING = "draining"  # an operator asked for it
    UNKNOWN = "unknown"  # not probed yet


@attrs.define(eq=False)
class HealthState:
    """Counts consecutive observations: `rise` successes bring a down upstream up, `fall` failures take an up one down.

    From UNKNOWN the first observation decides. `state` is one of UNKNOWN, UP, DOWN.
    """

    rise: int
    fall: int
    state: UpstreamState = UpstreamState.UNKNOWN
    _streak: int = attrs.field(default=0, init=False)  # observations in a row that speak against `state`

    def observe(self, ok: bool) -> UpstreamState | None:  # noqa: FBT001 - it is the value observed, not a mode
        """Take in one observation; return the new state if it changed, else None."""
        seen = UpstreamState.UP if ok else UpstreamState.DOWN
        if seen is self.state:
            self._streak = 0
            return None
        self._streak += 1
        if self._streak < self._needed():
            return None
        self.state = seen
        self._streak = 0
        return seen

    def _needed(self) -> int:
        match self.state:
            case UpstreamState.UP:
                return self.fall
            case UpstreamState.DOWN:
                return self.rise
            case _:
                return 1


def slow_start_share(elapsed: float, seconds: float) -> float:
    """Which share of its weight an upstream has so many seconds after it came back; `seconds` is `slow_start`.

    In proportion, but a tenth from the first moment on: with less, one that is still broken would hardly show it.
    """
    return 1.0 if elapsed >= seconds else max(FIRST_SHARE, elapsed / seconds)
