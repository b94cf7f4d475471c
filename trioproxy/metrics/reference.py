"""Writes docs/reference/metrics.md from the table of metrics.

What a metric means stands in `table`; a test holds that the page is current.
"""

from __future__ import annotations

from typing import Final

from trioproxy.metrics.table import ALL_METRICS, Kind, Metric

_START: Final = """# Metrics

<!-- Written by `python -m trioproxy.metrics > docs/reference/metrics.md`; the text is in trioproxy/metrics/. -->

Served at `/metrics` of the admin address as Prometheus text, or as OpenMetrics where the scraper asks for it. Besides
these there are `process_*` and `python_info` of prometheus-client.

- Label values come from the configuration or from closed sets, never from what peers send. Where there is no route,
  pool or upstream, the value is `none`. The sets `by`, `phase` and `reason` are explained in [logs.md](logs.md).
- Figures of tunnels (bytes, frames, messages) are live while the tunnel is open, and exact when it has ended.
- Series that are known beforehand exist at 0 from the start, so that `rate()` and `increase()` see their first event.
- An answer is kept for half a second: who scrapes more often sees the same figures again.
- With several workers an answer is the sum of all; `process_*` are the supervisor's. What a worker counted stays when
  it dies, but for its last second; what it held goes.
- There is room for about 130,000 numbers. Should they ever not suffice, `trioproxy_series_dropped_total` says how many
  series are missing.
- A histogram's name ends in its unit. A value that equals a bound is within that bucket.
- There are no `_created` samples: Prometheus would make each a series of its own.
"""

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
        "requests and tunnels for a pool: `max_connections` of each upstream that is up",
        "503 with Retry-After",
        "`trioproxy_endings_total`, reason `full`; by route and pool `trioproxy_requests_total`, code `503`",
    ),
    (
        "messages of one client: `websocket.max_message_rate`, `max_message_bytes`",
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
    return _START + _refusals() + "".join(map(_section, ALL_METRICS))


def _refusals() -> str:
    rows = (("too much of", "what happens", "counted in"), ("---",) * 3, *_REFUSALS)
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"""
## Where work is refused because of load

{table}
`trioproxy_event_loop_lag_seconds` shows what comes before all of that: how long whatever is due has to wait.
"""


def _section(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
    text = f"\n## `{metric.name}`\n\n{metric.kind.value.capitalize()}. Labels: {labels}.\n\n{metric.help}\n"
    if metric.kind is Kind.HISTOGRAM:
        bounds = ", ".join(f"{bound:.10g}" for bound in metric.buckets.bounds)
        text += f"\nBuckets ({metric.unit}): {bounds}. {metric.buckets.why}\n"
    return text
