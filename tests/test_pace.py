"""How far a client may fall behind."""

import math

import pytest

from trioproxy.pace import Pace


def test_a_client_has_its_grace_and_what_its_octets_bring():
    pace = Pace(100, 10)
    assert pace.patience() == 10
    assert pace.patience(500) == 15
    pace.waited(4, 100)
    assert pace.patience() == 7
    pace.waited(7.5, 50)
    assert pace.patience() == 0


@pytest.mark.parametrize("seconds", [0.5, 5])
def test_at_the_rate_it_has_for_ever(seconds):
    pace = Pace(100, 10)
    for _ in range(1000):
        assert pace.patience() >= seconds
        pace.waited(seconds, round(100 * seconds))
    assert pace.patience() == 10


def test_what_came_fast_is_no_credit():
    pace = Pace(100, 10)
    pace.waited(0.1, 10**9)
    assert pace.patience() == 10


def test_no_rate_is_none():
    pace = Pace(0, 10)
    pace.waited(10**9, 0)
    assert pace.patience() == pace.patience(5) == math.inf
