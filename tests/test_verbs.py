"""Chaos verbs: whom an order strikes, and what is told of it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.verbs import RESET, Injection, Order, Refusal, Verb, chosen


@pytest.mark.parametrize(
    ("tunnels", "share", "count"),
    [
        (10, 0.2, 2),
        (10, 0.25, 3),
        (10, 0.24, 2),
        (10, 1.0, 10),
        (3, 0.1, 1),
        (1, 0.001, 1),
        (100, 0.29, 29),
        (0, 1.0, 0),
    ],
)
def test_a_share_is_so_many_to_the_nearest_whole_and_at_least_one(tunnels, share, count):
    assert len(chosen(range(tunnels), share, 1)) == count


@given(st.lists(st.text(), unique=True), st.floats(0, 1, exclude_min=True), st.integers(0, 2**31 - 1))
def test_the_same_seed_chooses_the_same_each_once_and_in_order(names, share, seed):
    found = chosen(names, share, seed)
    assert found == chosen(names, share, seed) == sorted(set(found), key=names.index)


def test_other_seeds_choose_others():
    assert len({tuple(chosen(range(20), 0.5, seed)) for seed in range(20)}) > 10


def test_upgrades_are_drawn_for_one_by_one():
    refusal = Refusal(0.3, 503, Random(1))
    assert 250 < sum(refusal.strikes() for _ in range(1000)) < 350
    assert all(Refusal(1.0, 503, Random(seed)).strikes() for seed in range(1000))


def order(verb, **settings):
    return Order(verb=verb, pool="p", upstream="u:1", share=0.5, seconds=10.0, seed=7, asked_by="::1", **settings)


COMMON = {"id": 2, "pool": "p", "upstream": "u:1", "share": 0.5, "seed": 7, "seconds": 10.0, "asked_by": "::1"}


@pytest.mark.parametrize(
    ("given", "more"),
    [
        (order(Verb.CLOSE, code=4000), {"verb": "close", "code": 4000, "tunnels": 3, "of": 6}),
        (order(Verb.BLACKHOLE), {"verb": "blackhole", "tunnels": 3, "of": 6}),
        (order(Verb.REFUSE, status=429), {"verb": "refuse", "status": 429, "handshakes": 4}),
        (order(Verb.REFUSE, status=RESET), {"verb": "refuse", "status": "reset", "handshakes": 4}),
    ],
)
def test_what_is_told_of_each_verb(given, more):
    injection = Injection(2, given, until=105.0, tunnels=3, among=6, before=1)
    assert injection.describe(100.5, refused=5) == {**COMMON, **more, "remaining_seconds": 4.5}
    assert injection.describe(200.0, refused=5)["remaining_seconds"] == 0
