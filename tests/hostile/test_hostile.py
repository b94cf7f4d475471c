"""A few thousand of the hostile run's requests; `python tests/hostile --requests 1000000` sends more."""

from __future__ import annotations

import random

from hostile.attack import attack
from hostile.mutations import Mutator

REQUESTS = 5000


def test_mutated_requests_and_answers_leave_nothing_behind(tmp_path):
    verdict = attack(requests=REQUESTS, seed=7, folder=tmp_path)
    assert verdict.problems == [], verdict.describe()
    assert verdict.requests == REQUESTS
    assert verdict.upstream["requests"] > REQUESTS // 20  # much of it is still good
    assert verdict.upstream["spoilt"] > 0
    assert {"200", "400", "501"} <= verdict.statuses.keys()


def test_so_do_those_that_come_by_tls_and_those_that_break_it(tmp_path):
    verdict = attack(requests=REQUESTS // 4, seed=7, folder=tmp_path, tls=True)
    assert verdict.problems == [], verdict.describe()
    assert verdict.upstream["requests"] > REQUESTS // 100
    assert {"200", "400", "501"} <= verdict.statuses.keys()
    assert "came to no request" in verdict.describe()


def test_the_same_seed_sends_the_same_bytes():
    first, second = (Mutator(random.Random(3)) for _ in range(2))
    sent = [first.request() for _ in range(200)]
    assert sent == [second.request() for _ in range(200)]
    assert len(set(sent)) > 100
