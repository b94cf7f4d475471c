"""What a query of the dashboard has to show, computed from what the clients counted: sums, rates, quantiles, bounds.

Which query has to show what is `panel_values`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

import attrs
from support.ledger import Span, every

from trioproxy.metrics import ALL_METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from support.ledger import Keep
    from support.live_run import Measured
    from support.prometheus import Series

Values = dict[tuple[str, ...], Span]
NEAR = 1e-6  # relative, of numbers that are exact but for their arithmetic
NOTHING = Span(0.0, 0.0)
BOUNDS = {metric.name: metric.buckets.bounds for metric in ALL_METRICS}


@attrs.frozen
class Expectation:
    """The labels a query keeps, and what it gives for their values; for all others it gives 0 or nothing."""

    names: tuple[str, ...]
    values: Callable[[Measured], Values]

    def check(self, found: Sequence[Series], measured: Measured) -> list[str]:
        """What is wrong with an answer, in words; nothing if all is right."""
        expected = self.values(measured)
        got = {self._key(series): series.value for series in found}
        wrong = [f"other labels: {dict(series.labels)}" for series in found if set(series.labels) != set(self.names)]
        if len(got) != len(found):
            wrong.append(f"not by {self.names} alone")
        for key in sorted(expected.keys() | got.keys()):
            span = expected.get(key, NOTHING)
            if key not in got:
                wrong += [f"{key}: nothing, not {span}"] if span.low > 0 else []
            elif not _within(got[key], span):
                wrong.append(f"{key}: {got[key]}, not {span}")
        return wrong

    def nothing_from(self, measured: Measured) -> bool:
        """Whether it is right that nothing is found at all."""
        return not self.values(measured)

    def _key(self, series: Series) -> tuple[str, ...]:
        return tuple(
            _bound(value) if name == "le" else value
            for name, value in zip(self.names, series.named(*self.names), strict=True)
        )


def _bound(text: str) -> str:
    """A bucket's bound, however it is written."""
    return str(float(text))


def _within(value: float, span: Span) -> bool:
    slack = NEAR * max(abs(span.low), abs(span.high))
    return span.low - slack <= value <= span.high + slack


def exactly(value: float) -> Span:
    """No doubt about it."""
    return Span(value, value)


def named(by: str) -> tuple[str, ...]:
    """Label names as PromQL lists them."""
    return tuple(by.split(", ")) if by else ()


def per_second(name: str, by: str = "", keep: Keep = every, **labels: str) -> Expectation:
    """Of a counter."""

    def values(measured: Measured) -> Values:
        counted = measured.ledger.by(named(by), name, keep, **labels)
        return {key: exactly(amount / measured.seconds) for key, amount in counted.items()}

    return Expectation(named(by), values)


def count(name: str, by: str = "", keep: Keep = every, **labels: str) -> Expectation:
    """How much a counter grew."""

    def values(measured: Measured) -> Values:
        return {key: exactly(amount) for key, amount in measured.ledger.by(named(by), name, keep, **labels).items()}

    return Expectation(named(by), values)


def share(name: str, part: Keep, by: str = "", whole_by: str | None = None) -> Expectation:
    """Of what a counter counted, that which is `part`; `whole_by` where the whole is summed by other labels."""

    def values(measured: Measured) -> Values:
        parts = measured.ledger.by(named(by), name, part)
        wholes = measured.ledger.by(named(by if whole_by is None else whole_by), name)
        return {key: exactly(amount / wholes[key if whole_by is None else ()]) for key, amount in parts.items()}

    return Expectation(named(by), values)


def gauge(by: str, values: Callable[[Measured], Mapping[tuple[str, ...], float]]) -> Expectation:
    """A state at rest, exactly."""
    return Expectation(named(by), lambda measured: {key: exactly(value) for key, value in values(measured).items()})


def bounded(by: str, values: Callable[[Measured], Values]) -> Expectation:
    """What can only be known within bounds."""
    return Expectation(named(by), values)


def constant(low: float, high: float | None = None) -> Expectation:
    """One figure without labels."""
    return Expectation((), lambda _: {(): Span(low, low if high is None else high)})


def quantile(part: float, name: str, by: str = "") -> Expectation:
    """Within the bucket, or the buckets, that the clients' own measurements fall into."""
    bounds = BOUNDS[f"trioproxy_{name}"]

    def values(measured: Measured) -> Values:
        seen = measured.ledger.seen(named(by), name)
        return {key: _quantile(part, spans, bounds) for key, spans in seen.items()}

    return Expectation(named(by), values)


def _quantile(part: float, spans: Sequence[Span], bounds: Sequence[float]) -> Span:
    """Each value lies within its span, so the n-th smallest lies between the n-th smallest of either end."""
    lows, highs = sorted(span.low for span in spans), sorted(span.high for span in spans)
    rank = part * len(spans)
    # Prometheus looks for the first bucket with as many below its bound; rounding may take it to the next.
    first = max(math.ceil(rank - NEAR), 1)
    last = min(math.floor(rank + NEAR) + 1 if abs(rank - round(rank)) < NEAR else first, len(spans))
    at_least, at_most = lows[first - 1], highs[last - 1]
    place = bisect_left(bounds, at_least)
    ceiling = bisect_left(bounds, at_most)
    return Span(bounds[min(place, len(bounds)) - 1] if place else 0.0, bounds[min(ceiling, len(bounds) - 1)])


def mean(name: str, by: str = "") -> Expectation:
    """Of what a histogram observed."""

    def values(measured: Measured) -> Values:
        return {
            key: Span(sum(span.low for span in spans) / len(spans), sum(span.high for span in spans) / len(spans))
            for key, spans in measured.ledger.seen(named(by), name).items()
        }

    return Expectation(named(by), values)


def heat(name: str) -> Expectation:
    """A second, how many were not above each bound."""
    bounds = (*BOUNDS[f"trioproxy_{name}"], math.inf)

    def values(measured: Measured) -> Values:
        spans = [span for spans in measured.ledger.seen((), name).values() for span in spans]
        return {
            (_bound(str(bound)),): Span(
                sum(span.high <= bound for span in spans) / measured.seconds,
                sum(span.low <= bound for span in spans) / measured.seconds,
            )
            for bound in bounds
        }

    return Expectation(("le",), values)
