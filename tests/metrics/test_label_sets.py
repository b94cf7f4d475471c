"""Closed sets are those of the code that counts, and the bounds on series are the ones a real proxy keeps."""

from __future__ import annotations

import re
from collections import Counter
from typing import get_args

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.serving import make_config

import trioproxy
from trioproxy import metrics as m
from trioproxy.accepting import SHORTAGES
from trioproxy.config import HealthConfig, Retry
from trioproxy.counts import close_code_label, status_label
from trioproxy.errors import Reason
from trioproxy.housekeeping import TICK
from trioproxy.logs import Log
from trioproxy.metrics import ALL_METRICS, Kind
from trioproxy.metrics.declared import first_series
from trioproxy.metrics.label_sets import NONE, Shape, closed_sets, combinations, formula, lines, most_series
from trioproxy.metrics.reference import example
from trioproxy.probes.result import ProbeResult
from trioproxy.reloader import Reloader, Result
from trioproxy.slots import RestartReason

PLANT = Shape(["l0", "l1"], [("r0", "p0"), ("r1", "p0"), ("r2", "p1")], {"p0": ["a", "b"], "p1": ["c"], "p2": []})


@pytest.fixture(params=ALL_METRICS, ids=lambda metric: metric.name)
def metric(request):
    return request.param


def test_every_label_is_a_name_or_has_its_values(metric):
    for values in closed_sets(metric).values():
        assert values and len(set(values)) == len(values) and all(type(value) is not int for value in values)


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        (m.PROBES, "result", set(ProbeResult)),
        (m.WORKER_RESTARTS, "reason", set(RestartReason)),
        (m.CONFIG_RELOADS, "result", set(Result)),
        (m.RETRIES, "reason", set(re.findall(r"\w+", get_args(Retry)[1].expected)) - {"or"} | {Reason.CHAOS}),
        (m.ACCEPT_FAILURES, "reason", {*SHORTAGES.values(), "other"}),
        (m.CLOSES, "code", {close_code_label(code) for code in (None, *range(6000))}),
        (m.REQUESTS, "code", {status_label(status) for status in range(1000)}),
    ],
)
def test_closed_sets_are_those_of_the_code(metric, label, values):
    assert set(closed_sets(metric)[label]) == values


@pytest.mark.parametrize(
    ("metric", "most", "words"),
    [
        (m.DRAINING, 1, "1"),
        (m.CONNECTIONS, 2, "listeners"),
        (m.CONNECTIONS_REJECTED, 6, "listeners x 3"),
        (m.TUNNELS, 5, "routes x upstreams"),
        (m.BYTES, 6, "upstreams x 2"),
        (m.REQUEST_DURATION, 48, "routes x 16"),
        (m.REQUESTS, 4008, "(routes + 1) x 1,002"),
        (m.HANDSHAKES, 48, "routes x (upstreams + 1) x 6"),
        (m.PING_RTT, 108, "pools x 36"),
        (m.WORKER_CPU, 1, "processes"),
    ],
)
def test_how_many_series_there_can_be(metric, most, words):
    assert (most_series(metric, PLANT), formula(metric)) == (most, words)


def also_none(metric, shape):
    """The combinations of a metric that concern no route, or no upstream."""
    if metric is m.REQUESTS:
        return {(NONE, NONE, *labels[2:]) for labels in combinations(metric, shape)}
    if metric is m.HANDSHAKES:
        return {(*labels[:2], NONE, *labels[3:]) for labels in combinations(metric, shape)}
    return set()


async def series(metrics):
    """How many there are of each metric, as a scraper sees them."""
    body, _ = await metrics.exposition("")
    found = Counter()
    for family in parse_text(body.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = len(family.samples)
    return {metric: found[metric.name] for metric in ALL_METRICS}


async def test_a_proxy_with_100_upstreams_has_as_many_series_as_the_reference_says(tmp_path, autojump_clock):
    upstreams = [f"unix:{tmp_path}/{number}" for number in range(100)]
    config = make_config(*upstreams, listeners=(f"unix:{tmp_path}/public",), health=HealthConfig(probe="tcp"))
    page = example()
    shape = Shape.of(config)
    async with trioproxy.serve(config) as proxy:
        Reloader("config.toml", Log.null(), proxy)
        await trio.sleep(1.5 * TICK)
        metrics = proxy.context.metrics
        found = await series(metrics)
        assert found == {metric: first_series(page)[metric] for metric in ALL_METRICS}
        assert sum(found.values()) > 6000
        # Then all happens that can.
        for metric in ALL_METRICS:
            if metric not in (m.BUILD_INFO, m.CONNECTIONS_LIMIT, m.DRAINING):
                for labels in {*combinations(metric, shape), *also_none(metric, shape)}:
                    metrics.declare(metric, labels)
        await trio.sleep(1)
        assert await series(metrics) == {metric: most_series(metric, page) for metric in ALL_METRICS}
        assert metrics.value(m.SERIES_DROPPED) == 0


def test_a_series_of_ours_is_as_many_of_prometheus_as_it_has_lines(metric):
    buckets = len(metric.buckets.bounds) + 1
    assert lines(metric) == (buckets + 2 if metric.kind is Kind.HISTOGRAM else 1)
