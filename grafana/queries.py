"""PromQL for the metrics of the table: each selects by the variables of the dashboard that its labels allow.

What is asked and how it is shown stands in the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from trioproxy.metrics import Metric

RATE: Final = "$__rate_interval"  # long enough for four scrapes, whatever the zoom
RANGE: Final = "$__range"


@attrs.frozen
class Query:
    """One line of a panel: an expression, and what its series are called."""

    expr: str
    legend: str


def select(metric: Metric, *matchers: str, suffix: str = "") -> str:
    """The series of a metric that the variables leave, and `matchers` such as `code="none"`."""
    variables = ["instance", *(label for label in ("pool", "upstream") if label in metric.labels)]
    every = ", ".join([*(f'{name}=~"${name}"' for name in variables), *matchers])
    return f"{metric.name}{suffix}{{{every}}}"


def of_process(name: str) -> str:
    """A metric of prometheus-client, which other programs have too: of the proxies alone."""
    return f'{name}{{instance=~"$instance"}} and on (job, instance) trioproxy_build_info'


def rate(metric: Metric, *matchers: str, by: str = "", suffix: str = "") -> str:
    """Per second, over all instances and workers; `by` are the labels that are kept."""
    return _sum(f"rate({select(metric, *matchers, suffix=suffix)}[{RATE}])", by)


def increase(metric: Metric, *matchers: str, by: str = "") -> str:
    """How many in the time shown."""
    return _sum(f"increase({select(metric, *matchers)}[{RANGE}])", by)


def total(metric: Metric, *matchers: str, by: str = "") -> str:
    """What a gauge amounts to now, over all instances."""
    return _sum(select(metric, *matchers), by)


def each(how: str, metric: Metric, *matchers: str, by: str = "") -> str:
    """A gauge aggregated as `how` says (`max`, `avg`, ...)."""
    return _aggregated(how, select(metric, *matchers), by)


def quantile(share: float, metric: Metric, *matchers: str, by: str = "") -> str:
    """Of a histogram, in its unit. Where nothing was observed there is no value: `>= 0` takes the NaN away."""
    inner = rate(metric, *matchers, by=f"le, {by}" if by else "le", suffix="_bucket")
    return f"histogram_quantile({share}, {inner}) >= 0"


def ratio(part: str, whole: str) -> str:
    """`part` of `whole`; no value where the whole is 0, which were NaN."""
    return f"{part} / ({whole} > 0)"


def mean(metric: Metric, by: str = "") -> str:
    """Of what a histogram observed, in its unit."""
    return ratio(rate(metric, by=by, suffix="_sum"), rate(metric, by=by, suffix="_count"))


def quantiles(
    metric: Metric, legend: str = "", *, by: str = "", shares: tuple[float, ...] = (0.5, 0.99)
) -> list[Query]:
    """A line for each share, called p99, p50, ... behind what `legend` makes of the labels."""
    ordered = sorted(shares, reverse=True)
    return [Query(quantile(share, metric, by=by), f"{legend} p{share * 100:g}".strip()) for share in ordered]


def _sum(expr: str, by: str) -> str:
    return _aggregated("sum", expr, by)


def _aggregated(how: str, expr: str, by: str) -> str:
    return f"{how} by ({by}) ({expr})" if by else f"{how}({expr})"
