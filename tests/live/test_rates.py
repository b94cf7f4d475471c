"""Rates and quantiles, with Prometheus' rules as the measure."""

from __future__ import annotations

import pytest

from trioproxy.live.rates import per_second, quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("before", "now", "seconds", "rate"),
    [(10, 30, 1.0, 20.0), (10, 30, 0.5, 40.0), (0, 100, 1.0002, 100.0), (0, 1, 3, 0.3), (5, 5, 1, 0.0)],
)
def test_a_rate_is_the_difference_over_the_time(before, now, seconds, rate):
    assert per_second(before, now, seconds) == rate


def test_there_is_no_rate_where_no_time_has_passed_or_a_count_fell():
    assert per_second(1, 2, 0) == 0
    assert per_second(2, 1, 1) == 0


@pytest.mark.parametrize(
    ("counts", "share", "value"),
    [
        ((10, 0, 0, 0), 0.5, 0.5),
        ((0, 10, 0, 0), 0.5, 1.5),
        ((0, 0, 10, 0), 0.99, 3.98),
        ((5, 5, 0, 0), 0.5, 1.0),
        ((5, 0, 5, 0), 0.75, 3.0),
        ((1, 0, 0, 9), 0.99, 4.0),
        ((0, 0, 0, 1), 0.5, 4.0),
        ((0, 0, 2, 0), 0.0, 2.0),
    ],
)
def test_a_quantile_lies_evenly_within_its_bucket(counts, share, value):
    assert quantile(BOUNDS, counts, share) == pytest.approx(value)


def test_nothing_has_no_quantile():
    assert quantile(BOUNDS, (0, 0, 0, 0), 0.5) is None
