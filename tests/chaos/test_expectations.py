"""What is asked of a run, and whether it holds."""

import math

import pytest

from trioproxy.chaos.expectations import EXPECTATIONS, Verdict, judge
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.records import End, Outcome, Tunnel

OUTCOME = Outcome(duration=1.0, tunnels=[Tunnel("0-0", 0, 0.0, opened=0.25, end=End.CUT, sent=4, echoed=1)])


@pytest.mark.parametrize(
    ("name", "wanted", "held"),
    [
        ("max_lost_messages", 3, True),
        ("max_lost_messages", 2, False),
        ("min_lost_messages", 3, True),
        ("min_lost_messages", 4, False),
        ("lost_messages", 3, True),
        ("lost_messages", 4, False),
        ("handshake_success", 1, True),
        ("max_p99_ms", 1000, False),  # nothing was measured
        ("min_p99_ms", 0, False),
        ("p99_ms", math.nan, False),
    ],
)
def test_an_expectation_bounds_a_measure_or_says_what_it_is(name, wanted, held):
    (verdict,) = judge({name: wanted}, OUTCOME)
    assert verdict.held is held


def test_every_measure_can_be_expected_in_three_ways():
    assert len(EXPECTATIONS) == 3 * len(MEASURES)
    assert len(judge(dict.fromkeys(EXPECTATIONS, 0.0), OUTCOME)) == len(EXPECTATIONS)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict("max_failover_seconds", 3, 4.25), "NOT MET: failover_seconds <= 3, measured 4.25 s"),
        (Verdict("min_handshake_success", 1, 1), "met: handshake_success >= 1, measured 1 share"),
        (Verdict("cut_without_close", 0, 2), "NOT MET: cut_without_close = 0, measured 2"),
    ],
)
def test_a_verdict_names_what_was_expected_and_what_measured(verdict, words):
    assert str(verdict) == words
