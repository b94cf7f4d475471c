"""The table of metrics keeps the rules of Prometheus and of the interface."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from trioproxy import metrics
from trioproxy.board import OVERFLOW_CELLS
from trioproxy.metrics import ALL_METRICS, Kind, Metric
from trioproxy.metrics.table import Buckets


@pytest.fixture(params=ALL_METRICS, ids=lambda metric: metric.name)
def metric(request):
    return request.param


def test_a_name_follows_the_conventions(metric):
    assert re.fullmatch(r"trioproxy(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    measured = metric.name.endswith(("_seconds", "_size_bytes")) and not metric.name.endswith("_timestamp_seconds")
    assert measured == (metric.kind is Kind.HISTOGRAM)


def test_a_help_text_is_a_sentence(metric):
    assert metric.help.endswith(".") and not metric.help.startswith(" ") and "\n" not in metric.help


def test_labels_are_plain_names_without_repetition(metric):
    assert len(set(metric.labels)) == len(metric.labels)
    assert all(re.fullmatch(r"[a-z]+", label) and label != "le" for label in metric.labels)


def test_buckets_ascend_and_say_why(metric):
    if metric.kind is not Kind.HISTOGRAM:
        assert metric.buckets == Buckets((), "") and metric.width == 1
        return
    assert all(a < b for a, b in pairwise(metric.buckets.bounds))
    assert metric.buckets.why.endswith(".")
    assert metric.width == len(metric.buckets.bounds) + 2 <= OVERFLOW_CELLS


def test_the_table_is_complete_and_each_name_stands_once():
    constants = {value for value in vars(metrics).values() if isinstance(value, Metric)}
    assert constants == set(ALL_METRICS)
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS)
