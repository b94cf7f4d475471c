"""Scrapes, read back with prometheus-client's own parsers."""

from __future__ import annotations

import prometheus_client
import pytest
import trio
import trio.testing
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
from trioproxy.metrics.exposition import KEPT_SECONDS, SLICE, accepts_openmetrics
from trioproxy.metrics.rendering import Format

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
    assert content_type == (Format.OPENMETRICS if wanted else Format.TEXT)
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


async def test_an_answer_that_takes_long_serves_all_who_waited_for_it(metrics, autojump_clock):
    readings = []

    async def slowly():
        await trio.sleep(2 * KEPT_SECONDS)

    metrics.add_preparation(slowly)
    metrics.add_refresher(lambda: readings.append(trio.current_time()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(metrics.exposition, "")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(5):
            nursery.start_soon(metrics.exposition, "")
        await trio.sleep(KEPT_SECONDS)
        for _ in range(5):
            nursery.start_soon(metrics.exposition, "")
    # The second reading is for those who came while the first was under way
    assert len(readings) == 2


async def test_everybody_has_a_turn_while_an_answer_is_written(metrics, mock_clock):
    for number in range(4 * SLICE):
        metrics.declare(CONNECTIONS, (f"listener {number}",))
    turns = []

    async def others():
        while True:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        before = len(turns)
        await metrics.exposition("")
        assert len(turns) - before >= 4
        nursery.cancel_scope.cancel()


async def test_what_is_counted_while_an_answer_is_written_is_not_in_it(metrics, mock_clock):
    for number in range(2 * SLICE):
        metrics.declare(CONNECTIONS, (f"listener {number}",))

    async def count():
        await trio.lowlevel.checkpoint()
        metrics.inc(CONNECTIONS, (f"listener {2 * SLICE - 1}",), 5)
        metrics.inc(CONNECTIONS, ("new",), 5)
        metrics.samples()  # whoever else reads meanwhile

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        body, _ = await metrics.exposition("")
    assert body.count(b"\ntrioproxy_connections_total{") == 2 * SLICE
    assert f'listener="listener {2 * SLICE - 1}"}} 0\n'.encode() in body


def test_kinds_are_prometheus_names():
    assert {kind.value for kind in Kind} == {"counter", "gauge", "histogram"}
