"""Policies against what nginx does and what their docstrings promise."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.balancing import BALANCERS, LeastConnections, RoundRobin


@attrs.define(eq=False)
class Server:
    key: str
    weight: float = 1
    active: int = 0


def servers(*weights: float) -> list[Server]:
    return [Server("abcdefghij"[index], weight) for index, weight in enumerate(weights)]


def picks(balancer: RoundRobin | LeastConnections, candidates: list[Server], times: int) -> str:
    return "".join(balancer.pick(candidates).key for _ in range(times))


def test_round_robin_is_smooth_as_in_nginx():
    assert picks(RoundRobin(), servers(5, 1, 1), 14) == "aabacaa" * 2


def test_round_robin_takes_equal_upstreams_in_turn():
    assert picks(RoundRobin(), servers(1, 1, 1), 7) == "abcabca"


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_round_robin_shares_are_exactly_proportional_to_weights_after_each_full_turn(weights):
    candidates = servers(*weights)
    balancer = RoundRobin()
    for turn in (1, 2):
        counts = Counter(balancer.pick(candidates) for _ in range(sum(weights)))
        assert [counts[candidate] for candidate in candidates] == weights, turn


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 100))
def test_round_robin_is_never_a_whole_turn_away_from_the_fair_share(weights, times):
    candidates = servers(*weights)
    balancer = RoundRobin()
    counts = Counter(balancer.pick(candidates).key for _ in range(times))
    for candidate in candidates:
        fair = times * candidate.weight / sum(weights)
        assert abs(counts[candidate.key] - fair) < len(weights)


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), max_size=60))
def test_round_robin_picks_a_candidate_however_the_set_changes(sets):
    everyone = servers(5, 1, 2, 1)
    balancer = RoundRobin()
    for chosen in sets:
        candidates = [everyone[index] for index in sorted(chosen)]
        assert balancer.pick(candidates) in candidates


def test_round_robin_shares_evenly_among_those_left_and_again_when_one_returns():
    candidates = servers(1, 1, 1)
    balancer = RoundRobin()
    picks(balancer, candidates, 4)
    assert Counter(picks(balancer, candidates[1:], 6)) == {"b": 3, "c": 3}
    assert Counter(picks(balancer, candidates, 9)) == {"a": 3, "b": 3, "c": 3}


def test_least_connections_takes_the_emptiest():
    a, b, c = servers(1, 1, 1)
    a.active, b.active, c.active = 3, 1, 2
    assert LeastConnections().pick([a, b, c]) is b


def test_least_connections_counts_the_lease_that_is_about_to_come():
    a, b = servers(1, 3)
    assert LeastConnections().pick([a, b]) is b
    b.active = 2
    assert LeastConnections().pick([a, b]) in {a, b}  # 1/1 and 3/3
    b.active = 3
    assert LeastConnections().pick([a, b]) is a


@given(st.integers(1, 9), st.integers(0, 40))
def test_least_connections_keeps_equal_upstreams_within_one_lease(number, tunnels):
    candidates = servers(*[1] * number)
    balancer = LeastConnections()
    for _ in range(tunnels):
        balancer.pick(candidates).active += 1
        active = [candidate.active for candidate in candidates]
        assert max(active) - min(active) <= 1


def test_least_connections_lets_equals_take_turns():
    assert picks(LeastConnections(), servers(1, 1, 1), 9) == "abc" * 3


def test_least_connections_fills_in_proportion_to_weights():
    candidates = servers(3, 1)
    balancer = LeastConnections()
    for _ in range(40):
        balancer.pick(candidates).active += 1
    assert [candidate.active for candidate in candidates] == [30, 10]


def test_an_offset_moves_the_first_turn():
    assert [LeastConnections(offset).pick(servers(1, 1, 1)).key for offset in range(4)] == ["a", "b", "c", "a"]


def test_an_offset_leaves_shares_even():
    assert Counter(picks(LeastConnections(offset=5), servers(1, 1, 1), 9)) == {"a": 3, "b": 3, "c": 3}


@pytest.mark.parametrize("name", sorted(BALANCERS))
def test_every_policy_picks_the_only_candidate(name):
    (only,) = servers(1)
    assert BALANCERS[name]().pick([only]) is only
