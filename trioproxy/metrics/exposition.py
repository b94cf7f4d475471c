"""Answers a scrape: the samples of a moment, written as Prometheus text or as OpenMetrics.

The one place that knows prometheus-client: its families and encoders, and its collectors for `process_*` and
`python_info`. What a scrape costs is mostly the writing, so that happens in a thread and serves all who ask within
half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio
from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from trioproxy.metrics.table import ALL_METRICS, Kind, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trioproxy.metrics.registry import Metrics, Reading, Sample

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
KEPT_SECONDS: Final = 0.5  # an answer's age; well below any scrape interval, so no scrape sees the same answer twice


@attrs.frozen
class _Answer:
    body: bytes
    taken: float
    news: int


@attrs.define(eq=False)
class Exposition:
    """The answers to scrapes of `metrics`; for one Trio run."""

    metrics: Metrics
    _kept: dict[str, _Answer] = attrs.field(factory=dict, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _process: tuple[Collector, ...] = attrs.field(
        factory=lambda: (ProcessCollector(registry=None), PlatformCollector(registry=None)), init=False
    )

    async def answer(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for a scrape with this Accept header: at most half a second old, older than no news."""
        content_type = OPENMETRICS if accepts_openmetrics(accept) else TEXT
        async with self._lock:  # scrapes that come at once share one answer
            kept = self._kept.get(content_type)
            now, news = trio.current_time(), self.metrics.news
            if kept is None or now - kept.taken >= KEPT_SECONDS or kept.news != news:
                body = await trio.to_thread.run_sync(self._encode, self.metrics.read(), content_type)
                kept = self._kept[content_type] = _Answer(body, now, news)
        return kept.body, content_type

    def _encode(self, reading: Reading, content_type: str) -> bytes:
        collector = _Collector(reading.samples(), self._process)
        encode = openmetrics.generate_latest if content_type == OPENMETRICS else generate_latest
        return encode(collector)


def accepts_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics at all; scrapers that can read it ask for it first."""
    return any(part.partition(";")[0].strip().lower() == "application/openmetrics-text" for part in accept.split(","))


@attrs.frozen(eq=False)
class _Collector(Collector):
    """What prometheus-client's encoders read: the families of one moment."""

    samples: Sequence[Sample]
    others: Sequence[Collector]

    def collect(self) -> Iterable[Family]:
        by_metric: dict[Metric, list[Sample]] = {metric: [] for metric in ALL_METRICS}
        for sample in self.samples:
            by_metric[sample.metric].append(sample)
        for metric, samples in by_metric.items():
            yield _family(metric, samples)
        for other in self.others:
            yield from other.collect()


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    if metric.kind is Kind.HISTOGRAM:
        return _histogram(metric, samples)
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for sample in samples:
        value = sample.cells[0] / metric.scale if sample.value is None else sample.value
        family.add_metric(sample.labels, value)
    return family


def _histogram(metric: Metric, samples: Iterable[Sample]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*(str(float(bound)) for bound in metric.buckets.bounds), "+Inf"]
    for sample in samples:
        *counts, total = sample.cells
        running, buckets = 0, []
        for bound, count in zip(bounds, counts, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric(sample.labels, buckets, total / metric.scale)
    return family
