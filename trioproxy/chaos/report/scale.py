"""From values to places on an axis, where the axis has its marks, and how numbers and times are written.

Pure. What is drawn at those places is `chart`'s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDS: Final = (2, 4, 6, 8, 10)  # of an axis, times a power of ten: half of it is as round
_STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)
_DAY: Final = 86400
_NOTHING: Final = 1e-6  # what is no more needs no axis of its own
_MOST_STEPS: Final = 7
_MOST_DECADES: Final = 4  # that have marks of their own
_LEAST: Final = 0.001  # from which a logarithmic axis begins at the lowest: a microsecond, where it has milliseconds


@attrs.frozen
class Scale:
    """An axis from `low` to `high`, with its marks."""

    low: float
    high: float
    marks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """From 0 at its beginning to 1 at its end; what lies outside is at the nearer of them."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, 0.0), 1.0)


def linear(most: float) -> Scale:
    """From 0 to a round number that is not below `most`."""
    decade = 10.0 ** (math.ceil(math.log10(most) - 1e-9) - 1) if most > _NOTHING else 1.0
    high = next(end * decade for end in _ENDS if end * decade * (1 + 1e-9) >= most)
    return Scale(0, high, (0, high / 2, high))


def logarithmic(least: float, most: float) -> Scale:
    """From a power of ten to a power of ten."""
    first = math.floor(math.log10(max(least, _LEAST)) + 1e-9)
    last = max(math.ceil(math.log10(max(most, _LEAST)) - 1e-9), first + 1)
    step = 1 + (last - first) // (_MOST_DECADES + 1)
    return Scale(10.0**first, 10.0**last, [10.0**power for power in range(first, last + 1, step)], logarithmic=True)


def of_time(seconds: float) -> Scale:
    """From 0 to `seconds`, with marks at round times."""
    days = _DAY * math.ceil(seconds / _DAY / _MOST_STEPS)
    step = next((step for step in _STEPS if seconds / step <= _MOST_STEPS), days)
    return Scale(0, seconds, [number * step for number in range(int(seconds / step + 1e-9) + 1)])


def number(value: float) -> str:
    """As people write it: 0.0312, 12.5, 1,250; nothing where there is none. What is not whole never looks it."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞"
    if value == int(value) or abs(value) >= 1000:  # noqa: PLR2004 - decimals say nothing there
        return f"{value:,.0f}"
    texts = [f"{value:.{digits}g}" for digits in (3, 4, 6, 9)]
    return next((text for text in texts if float(text) != round(value)), texts[-1])


def moment(seconds: float) -> str:
    """A time within a run: 2.5 s, 10 s, 3 min, 3:30 min, 2 h."""
    if seconds < 60 or seconds != int(seconds):  # noqa: PLR2004
        return f"{round(seconds, 2):g} s"
    minutes, rest = divmod(int(seconds), 60)
    if rest:
        return f"{minutes}:{rest:02} min"
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h"
