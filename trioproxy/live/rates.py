"""Rates and quantiles from counts at two moments. Pure.

What is counted is `sampling`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def per_second(before: float, now: float, seconds: float) -> float:
    """To a tenth; 0 where no time has passed, and where a count fell (what a lost process had counted is gone)."""
    return round(max(0.0, now - before) / seconds, 1) if seconds > 0 else 0.0


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that this share of the observations does not exceed, or None where there are none.

    `counts` are those within each of the ascending `bounds` (and above the one before), and those above all. Within a
    bucket they are taken to lie evenly, from 0 on in the first; what is above all bounds is taken for the last one: as
    `histogram_quantile` of Prometheus does, so both show the same.
    """
    total = sum(counts)
    if not total:
        return None
    rank, low = share * total, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and rank <= count:
            return low + (bound - low) * rank / count
        rank -= count
        low = bound
    return low
