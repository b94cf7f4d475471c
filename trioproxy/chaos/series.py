"""A run over time: what clients saw in each of some hundred equal parts of it.

Pure. What comes of the run as a whole is `measures`'; how this is drawn and told is `report`'s.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.chaos.measures import gaps, opened, quantile
from trioproxy.chaos.records import End

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trioproxy.chaos.records import Outcome, Tunnel

MOST_PARTS: Final = 125
QUANTILES: Final = (0.5, 0.99)
CUT: Final = "cut"  # the name of an end without a Close, beside codes
NO_CODE: Final = "no code"  # of a Close without one
_LEAST_WIDTH: Final = 0.01


@attrs.frozen(kw_only=True)
class Series:
    """Numbers over time. Levels have one more than there are parts: at the beginning of each, and at the end.

    What counts something has a number for each part, and its sum is that of the whole run.
    """

    width: float  # of a part, in seconds
    open: Mapping[int | None, Sequence[int]]  # level: tunnels open, by upstream; None where nothing told it
    without: Sequence[int]  # level: clients without a tunnel which they had not ended themselves
    opened: Sequence[int]  # handshakes that became a tunnel, when they did
    failed: Sequence[int]  # those that did not
    handshake_ms: Mapping[float, Sequence[float]]  # by quantile; nan where there was none
    messages: Sequence[int]  # echoes, when they came
    round_trip_ms: Mapping[float, Sequence[float]]  # by quantile, when the message was sent; nan where there was none
    lost: Sequence[int]  # messages without an echo, when they were sent
    ended: Mapping[str, Sequence[int]]  # tunnels that the other side ended: by code, NO_CODE, CUT
    failures: Mapping[str, Sequence[int]]  # handshakes that failed, by their reason

    @property
    def times(self) -> Sequence[float]:
        """The beginning of each part, and the end; in seconds from the beginning of the load."""
        return edges(self.width, len(self.opened))


def series(outcome: Outcome) -> Series:
    """The whole run: from the beginning of the load to the last that was seen."""
    tunnels = opened(outcome)
    failed = [(tunnel.failure, _end(tunnel)) for tunnel in outcome.tunnels if tunnel.opened is None]
    handshakes = [(each.opened, (each.opened - each.asked) * 1000) for each in tunnels if each.opened is not None]
    answered = [trip for tunnel in tunnels for trip in tunnel.round_trips]
    parts = _Parts.of(max([outcome.duration, *map(_last, outcome.tunnels)]))
    return Series(
        width=parts.width,
        open={upstream: parts.level(_spans(tunnels, upstream)) for upstream in _upstreams(outcome, tunnels)},
        without=parts.level(gaps(outcome)),
        opened=parts.count(time for time, _ in handshakes),
        failed=parts.count(time for _, time in failed),
        handshake_ms=parts.quantiles(handshakes),
        messages=parts.count(sent + took for sent, took in answered),
        round_trip_ms=parts.quantiles((sent, took * 1000) for sent, took in answered),
        lost=parts.count(sent for tunnel in tunnels for sent in tunnel.unanswered),
        ended=parts.count_by_name((_kind(each), _end(each)) for each in tunnels if each.end in {End.CLOSED, End.CUT}),
        failures=parts.count_by_name(failed),
    )


def part_width(seconds: float) -> float:
    """The least of 1, 2, 5, 10, 20, ... hundredths of a second with which so many need MOST_PARTS at most."""
    wanted = max(seconds / MOST_PARTS, _LEAST_WIDTH)
    decade = 10.0 ** math.floor(math.log10(wanted))
    width = next(step * decade for step in (1, 2, 5, 10) if step * decade * (1 + 1e-9) >= wanted)
    return float(f"{width:.6g}")  # 0.3 rather than 0.30000000000000004


def edges(width: float, parts: int) -> Sequence[float]:
    """Where parts begin, and the last one ends."""
    return [number * width for number in range(parts + 1)]


@attrs.frozen
class _Parts:
    """Equal parts of a time, and what falls into each."""

    width: float
    edges: Sequence[float]

    @classmethod
    def of(cls, seconds: float) -> _Parts:
        width = part_width(seconds)
        return cls(width, edges(width, max(math.ceil(seconds / width - 1e-6), 1)))

    def _of(self, time: float) -> int:
        return min(max(bisect_right(self.edges, time) - 1, 0), len(self.edges) - 2)

    def level(self, spans: Iterable[tuple[float, float]]) -> Sequence[int]:
        """How many of these are on at each edge."""
        changes = [0] * (len(self.edges) + 1)
        for begin, end in spans:
            changes[bisect_left(self.edges, begin)] += 1
            changes[bisect_left(self.edges, max(begin, end))] -= 1
        found, on = [], 0
        for change in changes[:-1]:
            on += change
            found.append(on)
        return found

    def count(self, times: Iterable[float]) -> Sequence[int]:
        found = Counter(map(self._of, times))
        return [found[number] for number in range(len(self.edges) - 1)]

    def count_by_name(self, named: Iterable[tuple[str, float]]) -> Mapping[str, Sequence[int]]:
        """Each name's count, the most frequent one first."""
        by_name: dict[str, list[float]] = {}
        for name, time in named:
            by_name.setdefault(name, []).append(time)
        return {
            name: self.count(by_name[name]) for name in sorted(by_name, key=lambda name: (-len(by_name[name]), name))
        }

    def quantiles(self, values: Iterable[tuple[float, float]]) -> Mapping[float, Sequence[float]]:
        by_part: list[list[float]] = [[] for _ in self.edges[1:]]
        for time, value in values:
            by_part[self._of(time)].append(value)
        return {share: [quantile(each, share) for each in by_part] for share in QUANTILES}


def _upstreams(outcome: Outcome, tunnels: Iterable[Tunnel]) -> Sequence[int | None]:
    """All that were told of, in their order; None at the end if it has any."""
    seen = {tunnel.upstream for tunnel in tunnels}
    known = sorted({*range(outcome.upstreams), *(each for each in seen if each is not None)})
    return [*known, *([None] if None in seen else [])]


def _spans(tunnels: Iterable[Tunnel], upstream: int | None) -> Iterable[tuple[float, float]]:
    for tunnel in tunnels:
        if tunnel.upstream == upstream and tunnel.opened is not None:
            yield tunnel.opened, math.inf if tunnel.ended is None else tunnel.ended


def _kind(tunnel: Tunnel) -> str:
    if tunnel.end is End.CUT:
        return CUT
    return NO_CODE if tunnel.code is None else str(int(tunnel.code))


def _end(tunnel: Tunnel) -> float:
    """When it ended; of one that was not noted, when it was asked for."""
    return tunnel.asked if tunnel.ended is None else tunnel.ended


def _last(tunnel: Tunnel) -> float:
    """The last that is known of it."""
    came = (sent + took for sent, took in tunnel.round_trips[-1:])
    return max([tunnel.asked, tunnel.opened or 0.0, _end(tunnel), *came, *tunnel.unanswered])
