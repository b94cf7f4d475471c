"""Writes samples as Prometheus text or as OpenMetrics, from pieces that are put together once a series.

prometheus-client builds every line anew at every scrape, which is most of what that costs: 41 ms for 100 upstreams, of
this 4. So it is only the measure here (the tests read with its parsers and compare with its encoders). When to write
is `exposition`'s business.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.utils import floatToGoString

from trioproxy.metrics.table import Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.metrics.reading import Entry, Reading

_UNITS = ("seconds", "bytes")


class Format(StrEnum):
    """What scrapers read, by content type. Samples are written alike in both, what stands above them is not."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def head_of(metric: Metric, kind: Format) -> str:
    """The lines above the samples of a metric."""
    if kind is Format.TEXT:
        return f"# HELP {metric.name} {_escaped(metric.help, quotes=False)}\n# TYPE {metric.name} {metric.kind}\n"
    # A counter's family goes without the _total of its samples, and a unit is the end of its family's name.
    name = metric.name.removesuffix("_total")
    unit = name.rpartition("_")[2]
    lines = f"# HELP {name} {_escaped(metric.help)}\n# TYPE {name} {metric.kind}\n"
    return lines + f"# UNIT {name} {unit}\n" * (unit in _UNITS)


def text_of(entry: Entry, reading: Reading) -> str:
    """The lines of one series; none where it did not exist yet. Whole numbers are written as such, hence exact."""
    text, metric = entry.text or _prepare(entry), entry.metric
    value = reading.computed.get(entry)
    if value is not None:
        return text % +value  # a truth, too, becomes a number
    cells = reading.cells(entry)
    if not cells:
        return ""
    if metric.kind is not Kind.HISTOGRAM:
        return text % (cells[0] if metric.scale == 1 else cells[0] / metric.scale)
    running = (*accumulate(cells[:-1]),)
    return text % (*running, running[-1], cells[-1] / metric.scale)


def _prepare(entry: Entry) -> str:
    """What is written of a series, with %s for each number; kept with it."""
    metric, name = entry.metric, entry.metric.name
    labels = {label: _escaped(value) for label, value in zip(metric.labels, entry.labels, strict=True)}
    if metric.kind is Kind.HISTOGRAM:
        bounds = [*map(floatToGoString, metric.buckets.bounds), "+Inf"]
        names = [_named(f"{name}_bucket", {**labels, "le": bound}) for bound in bounds]
        names += [_named(f"{name}_count", labels), _named(f"{name}_sum", labels)]
    else:
        names = [_named(name, labels)]
    entry.text = "".join(f"{each.replace('%', '%%')} %s\n" for each in names)
    return entry.text


def _named(name: str, labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{pairs}}}" if pairs else name


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text
