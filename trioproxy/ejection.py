"""What the traffic itself shows of an upstream: which endings are its failures, when they are too many, for how long.

Pure: counting failures, carrying an ejection out and telling of it is `passive`'s work; that an ejected upstream gets
no work is in `upstreams`.
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.errors import Phase, Reason, Source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.config import PassiveConfig
    from trioproxy.errors import Ending

LONGEST_SECONDS: Final = 300.0  # that doubling leads to; an `eject` above it stays as it is


class Failure(StrEnum):
    """What an upstream failed at: the `reason` label of the metrics that count failures and ejections."""

    CONNECT = "connect"  # no connection
    HANDSHAKE = "handshake"  # no valid answer to an upgrade
    RESPONSE = "response"  # no answer to a plain request, an invalid one, or a part of one
    TUNNEL = "tunnel"  # an open tunnel that it left without a Close frame, or broke
    CHAOS = "chaos"  # any of these, as a fault that was injected had it


# An answer is a sign of life, whatever its status: a 503 is seen by probes, if they are to look for it. Behind the
# first Close frame a tunnel is over anyway, and many servers end connections there as they please. What is too large
# for a limit of the proxy's own is nobody's failure.
_FAILURES: Final[Mapping[Phase, tuple[Failure, frozenset[Reason]]]] = MappingProxyType(
    {
        Phase.CONNECT: (
            Failure.CONNECT,
            frozenset({Reason.REFUSED, Reason.UNREACHABLE, Reason.TIMEOUT, Reason.RESET, Reason.CLOSED, Reason.TLS}),
        ),
        Phase.HANDSHAKE: (
            Failure.HANDSHAKE,
            frozenset({Reason.CLOSED, Reason.RESET, Reason.TIMEOUT, Reason.STALLED, Reason.INVALID, Reason.TLS}),
        ),
        Phase.RESPONSE: (
            Failure.RESPONSE,
            frozenset({Reason.CLOSED, Reason.RESET, Reason.TIMEOUT, Reason.STALLED, Reason.INVALID, Reason.TLS}),
        ),
        Phase.TUNNEL: (
            Failure.TUNNEL,
            frozenset({Reason.CLOSED, Reason.RESET, Reason.TIMEOUT, Reason.STALLED, Reason.PROTOCOL, Reason.TLS}),
        ),
    }
)


def failure_of(ending: Ending) -> Failure | None:
    """What of the upstream's failed, if it did; None for what the client or the proxy ended, and for proper ends."""
    if ending.by is not Source.UPSTREAM or ending.phase not in _FAILURES:
        return None
    failure, reasons = _FAILURES[ending.phase]
    if ending.reason not in reasons:
        return None
    return Failure.CHAOS if ending.injected else failure


def most_ejected(upstreams: int) -> int:
    """How many of a pool's upstreams may be ejected at once: half of them, rounded down, so the only one never is."""
    return upstreams // 2


@attrs.define(eq=False)
class Conduct:
    """What one upstream failed at lately, and how often it was ejected for it. All times are seconds of one clock.

    The time an ejection takes doubles from one to the next. It starts anew after a calm time: once the upstream has
    been back for as long as it was out last, and at least for `window`, without being ejected.
    """

    ejections: int = attrs.field(default=0, init=False)  # without a calm time between them
    _failures: deque[float] = attrs.field(factory=deque, init=False)  # when; the oldest first
    _seconds: float = attrs.field(default=0.0, init=False)  # the last ejection's
    _back: float = attrs.field(default=-math.inf, init=False)  # since when

    def fail(self, now: float, count: int, settings: PassiveConfig) -> bool:
        """Take in so many failures; whether those within `window` are `max_failures` now. Never where that is 0."""
        most, failures = settings.max_failures, self._failures
        failures.extend([now] * min(count, most))
        while failures and (len(failures) > most or now - failures[0] > settings.window):
            failures.popleft()
        return most > 0 and len(failures) == most

    def eject(self, now: float, settings: PassiveConfig) -> float:
        """For how many seconds it is ejected, beginning now; what it failed at is paid for with that."""
        if now - self._back >= max(self._seconds, settings.window):
            self.ejections = 0
        doubled = min(2 * self._seconds, LONGEST_SECONDS) if self.ejections else 0.0
        self._seconds = max(settings.eject, doubled)
        self.ejections += 1
        self._failures.clear()
        return self._seconds

    def readmit(self, now: float) -> None:
        """It is back, at the end of its time or before."""
        self._back = now
