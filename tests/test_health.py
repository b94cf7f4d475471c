"""Observations become states."""

from __future__ import annotations

import pytest

from trioproxy.health import HealthState, UpstreamState, slow_start_share

UP, DOWN, UNKNOWN = UpstreamState.UP, UpstreamState.DOWN, UpstreamState.UNKNOWN


def changes(health: HealthState, observations: str) -> list[UpstreamState | None]:
    """What each observation gives: `+` a success, `-` a failure."""
    return [health.observe(observation == "+") for observation in observations]


def test_an_upstream_begins_unknown():
    assert HealthState(rise=2, fall=3).state is UNKNOWN


@pytest.mark.parametrize(("observation", "state"), [("+", UP), ("-", DOWN)])
def test_the_first_observation_decides(observation, state):
    health = HealthState(rise=2, fall=3)
    assert changes(health, observation) == [state]
    assert health.state is state


def test_fall_failures_in_a_row_take_an_up_upstream_down():
    assert changes(HealthState(rise=2, fall=3, state=UP), "---") == [None, None, DOWN]


def test_rise_successes_in_a_row_bring_a_down_upstream_up():
    assert changes(HealthState(rise=2, fall=3, state=DOWN), "++") == [None, UP]


def test_a_success_in_between_starts_the_count_of_failures_anew():
    assert changes(HealthState(rise=2, fall=3, state=UP), "--+--") == [None] * 5


def test_a_failure_in_between_starts_the_count_of_successes_anew():
    assert changes(HealthState(rise=2, fall=3, state=DOWN), "+-+") == [None] * 3


def test_a_change_is_told_once():
    assert changes(HealthState(rise=1, fall=1), "++--++") == [UP, None, DOWN, None, UP, None]


def test_state_names_are_the_label_values():
    assert sorted(UpstreamState) == ["down", "draining", "ejected", "unknown", "up"]


@pytest.mark.parametrize(
    ("elapsed", "share"), [(0, 0.1), (0.5, 0.1), (1, 0.1), (2.5, 0.25), (9.9, 0.99), (10, 1), (1000, 1)]
)
def test_a_slow_start_begins_with_a_tenth_and_goes_on_in_proportion(elapsed, share):
    assert slow_start_share(elapsed, 10) == pytest.approx(share)


def test_without_a_slow_start_all_is_there_at_once():
    assert slow_start_share(0, 0) == 1
