"""Writes docs/reference/metrics.md from the table of metrics.

What a metric means stands in `table`; a test holds that the page is current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioproxy.metrics.declared import first_series
from trioproxy.metrics.label_sets import Shape, closed_sets, formula, most_series
from trioproxy.metrics.table import ALL_METRICS, Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

_START: Final = """# Metrics

<!-- Written by `python -m trioproxy.metrics > docs/reference/metrics.md`; the text is in trioproxy/metrics/. -->

Served at `/metrics` of the admin address as Prometheus text, or as OpenMetrics where the scraper asks for it. Besides
these there are `process_*` and `python_info` of prometheus-client.

- Label values come from the configuration or from closed sets, never from what peers send. Where there is no route,
  pool or upstream, the value is `none`. The sets `by`, `phase` and `reason` are explained in [logs.md](logs.md).
- Figures of tunnels (bytes, frames, messages) are live while the tunnel is open, and exact when it has ended (with
  several workers: up to a second later).
- Series that are known beforehand exist at 0 from the start, so that `rate()` and `increase()` see their first event.
- An answer is kept for half a second: who scrapes more often sees the same figures again.
- With several workers an answer is the sum of all; `process_*` are the supervisor's. What a worker counted stays when
  it dies, but for its last second; what it held goes.
- There is room for about 130,000 numbers. Should they ever not suffice, `trioproxy_series_dropped_total` says how many
  series are missing.
- A histogram's name ends in its unit. A value that equals a bound is within that bucket.
- There are no `_created` samples: Prometheus would make each a series of its own.
"""

_MOST_VALUES: Final = 20  # of a label that are listed; the longer sets are told of in the text
# What there is too much of, what happens then, and what counts it.
_REFUSALS: Final = (
    (
        "client connections: `limits.max_connections`, or the limit of open files",
        "503 and close",
        "`trioproxy_connections_rejected_total`; how many may be open says `trioproxy_connections_limit`",
    ),
    (
        "open files or the kernel's memory, at the very moment",
        "clients wait in the kernel's queue",
        "`trioproxy_accept_failures_total`",
    ),
    (
        "requests and tunnels for a pool: `max_connections` of each upstream that is up, and `queue`",
        "503 with Retry-After",
        "`trioproxy_endings_total`, reason `full`, or by `proxy` in phase `connect` `timeout`: waited in vain",
    ),
    (
        "messages of one client: `websocket.max_message_rate`, `max_frame_rate`, `max_message_bytes`",
        "Close 1008, 1009",
        "`trioproxy_endings_total`, reasons `too_many`, `too_large`",
    ),
    (
        "octets that a peer does not take",
        "the other side is not read from; in the end a cut",
        "`trioproxy_endings_total`, reasons `stalled` and `idle`",
    ),
    ("log lines their reader does not take", "they are dropped", "`trioproxy_log_lines_dropped_total`"),
    ("series", "they are not counted", "`trioproxy_series_dropped_total`"),
)


def reference_page() -> str:
    """The whole page, as Markdown."""
    return _START + _refusals() + _cardinality() + "".join(map(_section, ALL_METRICS))


def _refusals() -> str:
    rows = (("too much of", "what happens", "counted in"), ("---",) * 3, *_REFUSALS)
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"""
## Where work is refused because of load

{table}
`trioproxy_event_loop_lag_seconds` shows what comes before all of that: how long whatever is due has to wait.
"""


def _cardinality() -> str:
    shape, listeners = example(), len(example().listeners)
    first, most = first_series(shape), {metric: most_series(metric, shape) for metric in ALL_METRICS}
    head = ("metric", "series at most", "in the example: at the start", "at most")
    rows = [(f"`{metric.name}`", formula(metric), f"{first[metric]:,}", f"{most[metric]:,}") for metric in ALL_METRICS]
    rows += [("all", "", f"{sum(first.values()):,}", f"{sum(most.values()):,}")]
    table = "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---", "---", "---:", "---:"), *rows))
    upstreams = sum(map(len, shape.pools.values()))
    return f"""
## How many series there are

As Prometheus counts them: a histogram is one for each bucket, one for its count and one for its sum. The example is one
process: {listeners} listener, {len(shape.routes)} route, {len(shape.pools)} pool of {upstreams} upstreams, probed.

- Where a metric has the label `route`, `upstreams` are those of the route's pool.
- With several workers `processes` are these and the supervisor; of nothing else there is more.
- What can have hundreds of combinations (statuses, Close codes, endings) is made when it is first counted. Of those
  there are only those that alerts wait for or that happened: some ten for a route, five for an upstream, thirty in all.
- What a reload takes out of the configuration keeps its series until the restart.

{table}"""


def example() -> Shape:
    """What the figures on the page are for."""
    upstreams = [f"10.0.0.{number}:3000" for number in range(1, 101)]
    return Shape(["public"], [("chat", "backend")], {"backend": upstreams})


def _section(metric: Metric) -> str:
    sets = closed_sets(metric)
    labels = ", ".join(f"`{label}`{_values(sets.get(label, ()))}" for label in metric.labels) or "none"
    text = f"\n## `{metric.name}`\n\n{metric.kind.value.capitalize()}. Labels: {labels}.\n\n{metric.help}\n"
    if metric.kind is Kind.HISTOGRAM:
        bounds = ", ".join(f"{bound:.10g}" for bound in metric.buckets.bounds)
        text += f"\nBuckets ({metric.unit}): {bounds}. {metric.buckets.why}\n"
    return text


def _values(values: Sequence[str]) -> str:
    return f" ({', '.join(f'`{value}`' for value in values)})" if 0 < len(values) <= _MOST_VALUES else ""
