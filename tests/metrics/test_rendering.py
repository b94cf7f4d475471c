"""The lines of a scrape, beside what prometheus-client writes of the same samples."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

from trioproxy.metrics import (
    ALL_METRICS,
    BUILD_INFO,
    BYTES,
    DRAINING,
    MESSAGE_SIZE,
    UPSTREAM_WEIGHT,
    WORKER_CPU,
    Kind,
    Metric,
    Metrics,
)
from trioproxy.metrics.rendering import Format, head_of, text_of

ODD = ['a "b"\\c\nd', "100 %s %", "ünï", "", "le"]
LABELLED = Metric.counter("trioproxy_odd_total", 'Odd: \\ and "quotes"\nand lines.', ("listener",))
BARE = Metric.histogram("trioproxy_bare_seconds", "Without labels.", (), MESSAGE_SIZE.buckets)


def counted(seed=1):
    """Every metric with some series of random cells, and some that are computed."""
    metrics, chance = Metrics(), random.Random(seed)
    for metric in ALL_METRICS:
        for number in range(3 if metric.labels else 1):
            labels = tuple(chance.choice(ODD) + f" {label} {number}" for label in metric.labels)
            column = metrics.declare(metric, labels)
            for cell in range(metric.width):
                metrics.board.rows[0].cells[column + cell] = chance.choice((0, 1, 7, 10**6, 10**12, 10**15))
    metrics.add_source(
        lambda: [(DRAINING, (), True), (UPSTREAM_WEIGHT, ("p", "u"), 0.125), (BUILD_INFO, ("%",) * 3, 1)]
    )
    return metrics.read()


def rendered(reading, kind):
    end = "# EOF\n" if kind is Format.OPENMETRICS else ""
    families = (head_of(m, kind) + "".join(text_of(e, reading) for e in entries) for m, entries in reading.entries)
    return "".join(families) + end


class Families:
    """The same, as prometheus-client's encoders want it."""

    def __init__(self, reading):
        self.samples = reading.samples()

    def collect(self):
        for metric in ALL_METRICS:
            samples = [sample for sample in self.samples if sample.metric is metric]
            yield histogram(metric, samples) if metric.kind is Kind.HISTOGRAM else number(metric, samples)


def number(metric, samples):
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for sample in samples:
        family.add_metric(sample.labels, sample.cells[0] / metric.scale if sample.value is None else sample.value)
    return family


def histogram(metric, samples):
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    bounds = [*map(floatToGoString, metric.buckets.bounds), "+Inf"]
    for sample in samples:
        buckets = [*zip(bounds, accumulate(sample.cells[:-1]), strict=True)]
        family.add_metric(sample.labels, buckets, sample.cells[-1] / metric.scale)
    return family


@pytest.mark.parametrize(
    ("kind", "parse", "encode"),
    [(Format.TEXT, parse_text, generate_latest), (Format.OPENMETRICS, parse_openmetrics, openmetrics.generate_latest)],
)
@pytest.mark.parametrize("seed", range(5))
def test_it_says_what_prometheus_clients_encoders_say(kind, parse, encode, seed):
    reading = counted(seed)
    ours = list(parse(rendered(reading, kind)))
    theirs = list(parse(encode(Families(reading)).decode()))
    assert [family.name for family in ours] == [family.name for family in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert (our.type, our.documentation) == (their.type, their.documentation)
        assert our.samples == their.samples


def test_whole_numbers_are_exact_however_large():
    metrics = Metrics()
    metrics.inc(BYTES, ("p", "u", "to_client"), 2**62 + 1)
    line = f'trioproxy_bytes_total{{pool="p",upstream="u",direction="to_client"}} {2**62 + 1}\n'
    assert line in rendered(metrics.read(), Format.TEXT)


def test_amounts_kept_to_a_fraction_are_written_in_their_unit():
    metrics = Metrics()
    metrics.inc(WORKER_CPU, ("0",), 1_250_000)
    assert 'trioproxy_worker_cpu_seconds_total{worker="0"} 1.25\n' in rendered(metrics.read(), Format.TEXT)


def test_bounds_are_canonical_so_that_no_scraper_sees_them_as_others():
    metrics = Metrics()
    metrics.declare(MESSAGE_SIZE, ("p", "to_client"))
    text = rendered(metrics.read(), Format.TEXT)
    assert 'le="125.0"' in text and 'le="6.7108864e+07"' in text


def test_a_unit_is_told_where_the_name_ends_in_it():
    assert "# UNIT trioproxy_worker_cpu_seconds seconds\n" in head_of(WORKER_CPU, Format.OPENMETRICS)
    assert "# UNIT trioproxy_bytes bytes\n" in head_of(BYTES, Format.OPENMETRICS)
    assert "UNIT" not in head_of(DRAINING, Format.OPENMETRICS)
    assert "UNIT" not in head_of(WORKER_CPU, Format.TEXT)


def test_help_is_escaped_as_each_format_wants_it():
    assert r'# HELP trioproxy_odd_total Odd: \\ and "quotes"\nand lines.' in head_of(LABELLED, Format.TEXT)
    assert r"# HELP trioproxy_odd Odd: \\ and \"quotes\"\nand lines." in head_of(LABELLED, Format.OPENMETRICS)


def test_a_histogram_without_labels_has_none_but_its_bounds():
    from trioproxy.metrics.reading import Entry, Reading

    class Blocks:
        def cells(self, start, width):
            return (1,) * width

    entry = Entry(BARE, (), [(0, 0)])
    lines = text_of(entry, Reading([Blocks()], {}, [])).splitlines()
    assert lines[0] == 'trioproxy_bare_seconds_bucket{le="125.0"} 1'
    assert lines[-2:] == ["trioproxy_bare_seconds_count 11", "trioproxy_bare_seconds_sum 1e-09"]
