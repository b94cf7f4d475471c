"""Scrapes, read back with prometheus-client's own parsers."""

from __future__ import annotations

import threading

import prometheus_client
import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from trioproxy.metrics import (
    ALL_METRICS,
    BUILD_INFO,
    CONNECT_DURATION,
    CONNECTIONS,
    UPSTREAM_WEIGHT,
    Kind,
    Metrics,
)
from trioproxy.metrics.exposition import OPENMETRICS, TEXT, accepts_openmetrics

ASK_OPENMETRICS = "application/openmetrics-text; version=1.0.0; q=0.8, text/plain; version=0.0.4; q=0.5, */*; q=0.1"
PARSERS = {"": parse_text, ASK_OPENMETRICS: parse_openmetrics}


@pytest.fixture
def metrics():
    return Metrics()


async def scrape(metrics, accept=""):
    body, _ = await metrics.exposition(accept)
    return {family.name: family for family in PARSERS[accept](body.decode())}


def samples(family):
    return {(s.name, *sorted(s.labels.items())): s.value for s in family.samples}


@pytest.mark.parametrize("accept", PARSERS)
async def test_what_was_counted_is_what_is_scraped(metrics, accept):
    metrics.inc(CONNECTIONS, ("public",), 3)
    metrics.set(UPSTREAM_WEIGHT, ("p", "u"), 0.5)
    families = await scrape(metrics, accept)
    assert samples(families["trioproxy_connections"]) == {
        ("trioproxy_connections_total", ("listener", "public")): 3,
    }
    assert list(samples(families["trioproxy_upstream_weight"]).values()) == [0.5]


@pytest.mark.parametrize("accept", PARSERS)
async def test_a_histogram_is_cumulative_with_count_and_sum(metrics, accept):
    for seconds in (0.0001, 0.002, 0.002, 50.0):
        metrics.observe(CONNECT_DURATION, ("p",), seconds)
    family = (await scrape(metrics, accept))["trioproxy_connect_duration_seconds"]
    buckets = [s.value for s in family.samples if s.name.endswith("_bucket")]
    assert buckets == [1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 4]
    values = {s.name: s.value for s in family.samples}
    assert values["trioproxy_connect_duration_seconds_count"] == 4
    assert values["trioproxy_connect_duration_seconds_sum"] == pytest.approx(50.0041)


@pytest.mark.parametrize("accept", PARSERS)
async def test_every_metric_of_the_table_is_there_with_type_and_help(metrics, accept):
    for metric in ALL_METRICS:
        metrics.declare(metric, tuple(f"a value of {label}" for label in metric.labels))
    families = await scrape(metrics, accept)
    for metric in ALL_METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert family.type == metric.kind
        assert family.documentation == metric.help
        assert family.samples, metric.name
        assert {tuple(sorted(set(s.labels) - {"le"})) for s in family.samples} == {tuple(sorted(metric.labels))}


@pytest.mark.parametrize("accept", PARSERS)
async def test_the_process_and_the_interpreter_are_there_too(metrics, accept):
    families = await scrape(metrics, accept)
    assert samples(families["process_open_fds"])
    assert samples(families["python_info"])


async def test_label_values_with_odd_characters_survive(metrics):
    name = 'unix:/run/a "b"\\c\nd'
    metrics.inc(CONNECTIONS, (name,))
    families = await scrape(metrics)
    assert [s.labels["listener"] for s in families["trioproxy_connections"].samples] == [name]


async def test_a_computed_truth_is_a_number(metrics):
    metrics.add_source(lambda: [(BUILD_INFO, ("1", "3", "0"), True)])
    assert list(samples((await scrape(metrics))["trioproxy_build_info"]).values()) == [1.0]


async def test_nothing_is_registered_globally(metrics):
    metrics.inc(CONNECTIONS, ("public",))
    await scrape(metrics)
    assert b"trioproxy" not in prometheus_client.generate_latest()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("text/plain;version=1.0.0;escaping=nonsense", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text;version=0.0.1", True),
        ("application/openmetrics-text;version=garbage", True),
        (ASK_OPENMETRICS, True),
    ],
)
async def test_openmetrics_is_for_those_who_ask(metrics, accept, wanted):
    assert accepts_openmetrics(accept) is wanted
    body, content_type = await metrics.exposition(accept)
    assert content_type == (OPENMETRICS if wanted else TEXT)
    assert body.endswith(b"# EOF\n") is wanted


async def test_an_answer_serves_for_half_a_second(metrics, mock_clock):
    first = await metrics.exposition("")
    metrics.inc(CONNECTIONS, ("public",))
    mock_clock.jump(0.4)
    assert await metrics.exposition("") == first
    mock_clock.jump(0.1)
    assert await metrics.exposition("") != first


async def test_news_outdate_an_answer_at_once(metrics, mock_clock):
    first = await metrics.exposition("")
    metrics.inc(CONNECTIONS, ("public",))
    metrics.news += 1
    second = await metrics.exposition("")
    assert second != first
    assert await metrics.exposition("") == second


async def test_scrapes_at_once_share_one_reading(metrics, mock_clock):
    readings = []
    metrics.add_refresher(lambda: readings.append(1))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(metrics.exposition, "")
    assert readings == [1]


class Spy:
    """A collector as prometheus-client's own are, asked while the answer is written."""

    thread = None

    def collect(self):
        self.thread = threading.current_thread()
        return ()


async def test_reading_happens_on_the_loop_and_writing_beside_it(metrics):
    read = []
    spy = Spy()
    metrics.add_refresher(lambda: read.append(threading.current_thread()))
    metrics._exposition._process = (spy,)
    await metrics.exposition("")
    assert read == [threading.current_thread()]
    assert spy.thread not in (None, threading.current_thread())


def test_kinds_are_prometheus_names():
    assert {kind.value for kind in Kind} == {"counter", "gauge", "histogram"}
