"""Which endings are an upstream's failures, when they are too many, and for how long it is out then."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples

from trioproxy.config import PassiveConfig
from trioproxy.ejection import LONGEST_SECONDS, Conduct, Failure, failure_of, most_ejected
from trioproxy.errors import Ending, Phase, Reason, Source

THREE_IN_TEN = PassiveConfig(max_failures=3, window=10.0, eject=10.0)

COUNTED = {
    Failure.CONNECT: {
        (Phase.CONNECT, reason)
        for reason in (Reason.REFUSED, Reason.UNREACHABLE, Reason.TIMEOUT, Reason.RESET, Reason.CLOSED, Reason.TLS)
    },
    Failure.HANDSHAKE: {
        (Phase.HANDSHAKE, reason)
        for reason in (Reason.CLOSED, Reason.RESET, Reason.TIMEOUT, Reason.STALLED, Reason.INVALID, Reason.TLS)
    },
    Failure.RESPONSE: {
        (Phase.RESPONSE, reason)
        for reason in (Reason.CLOSED, Reason.RESET, Reason.TIMEOUT, Reason.STALLED, Reason.INVALID, Reason.TLS)
    },
    Failure.TUNNEL: {
        (Phase.TUNNEL, reason)
        for reason in (Reason.CLOSED, Reason.RESET, Reason.TIMEOUT, Reason.STALLED, Reason.PROTOCOL, Reason.TLS)
    },
    Failure.CHAOS: set(),
}


def test_of_all_endings_there_may_be_these_are_failures_of_the_upstream():
    found = {failure: set() for failure in Failure}
    for phase, reason in itertools.product(Phase, Reason):
        if (failure := failure_of(Ending(Source.UPSTREAM, phase, reason))) is not None:
            found[failure].add((phase, reason))
    assert found == COUNTED


def test_the_same_endings_are_failures_where_they_were_injected_and_told_apart():
    for by, phase, reason in itertools.product(Source, Phase, Reason):
        real = failure_of(Ending(by, phase, reason))
        assert failure_of(Ending(by, phase, reason, injected=True)) is (None if real is None else Failure.CHAOS)


def test_what_the_client_or_the_proxy_ended_is_nobody_elses_failure():
    for by, phase, reason in itertools.product((Source.CLIENT, Source.PROXY), Phase, Reason):
        assert failure_of(Ending(by, phase, reason)) is None


@pytest.mark.parametrize(("upstreams", "most"), [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (9, 4)])
def test_half_of_a_pool_stays_in_rounded_up(upstreams, most):
    assert most_ejected(upstreams) == most


# When they are too many


@pytest.mark.parametrize(
    ("times", "too_many"),
    [
        ([0, 0], False),
        ([0, 0, 0], True),
        ([0, 5, 10], True),
        ([0, 5, 10.1], False),
        ([0, 5, 10.1, 14.9], True),
        ([0, 4, 8, 12], True),
        ([0, 6, 12, 18, 24, 30], False),
    ],
)
def test_so_many_within_the_window_are_too_many(times, too_many):
    conduct = Conduct()
    assert any(conduct.fail(time, 1, THREE_IN_TEN) for time in times) is too_many


def test_failures_that_are_told_of_at_once_count_each():
    assert not Conduct().fail(0, 2, THREE_IN_TEN)
    assert Conduct().fail(0, 1_000_000, THREE_IN_TEN)


def test_without_a_limit_there_are_never_too_many():
    conduct = Conduct()
    off = PassiveConfig()
    assert not any(conduct.fail(time, 100, off) for time in range(100))


def test_other_settings_count_from_the_next_failure_on():
    conduct = Conduct()
    conduct.fail(0, 2, THREE_IN_TEN)
    assert conduct.fail(1, 0, PassiveConfig(max_failures=2, window=10.0))
    conduct = Conduct()
    conduct.fail(0, 2, THREE_IN_TEN)
    assert not conduct.fail(5, 1, PassiveConfig(max_failures=3, window=4.0))


def test_an_ejection_pays_for_what_led_to_it():
    conduct = Conduct()
    assert conduct.fail(0, 3, THREE_IN_TEN)
    conduct.eject(0, THREE_IN_TEN)
    conduct.readmit(1)
    assert not conduct.fail(1, 2, THREE_IN_TEN)
    assert conduct.fail(1, 1, THREE_IN_TEN)


# For how long


def ejections(conduct, pauses, settings=THREE_IN_TEN):
    """How long each takes, each coming so long after the return from the one before."""
    now, found = 0.0, []
    for pause in pauses:
        now += pause
        found.append(conduct.eject(now, settings))
        now += found[-1]
        conduct.readmit(now)
    return found


def test_the_time_doubles_up_to_five_minutes():
    assert ejections(Conduct(), [0] * 7) == [10, 20, 40, 80, 160, LONGEST_SECONDS, LONGEST_SECONDS]


@pytest.mark.parametrize(
    ("pauses", "seconds"),
    [
        ([0, 9.9], [10, 20]),
        ([0, 10], [10, 10]),
        ([0, 5, 19.9], [10, 20, 40]),
        ([0, 5, 20], [10, 20, 10]),
    ],
)
def test_it_starts_anew_behind_a_time_as_long_without_one(pauses, seconds):
    assert ejections(Conduct(), pauses) == seconds


def test_the_calm_time_is_the_window_at_least():
    settings = PassiveConfig(max_failures=1, window=60.0, eject=1.0)
    assert ejections(Conduct(), [0, 59.9, 60], settings) == [1, 2, 1]


def test_a_time_above_five_minutes_does_not_double():
    assert ejections(Conduct(), [0] * 3, PassiveConfig(max_failures=1, eject=600.0)) == [600] * 3


def test_who_is_taken_back_early_is_watched_from_then_on():
    conduct = Conduct()
    conduct.eject(0, THREE_IN_TEN)
    conduct.readmit(2)
    assert conduct.eject(11.9, THREE_IN_TEN) == 20
    assert conduct.ejections == 2


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5)), max_size=60),
    st.integers(1, 6),
    st.floats(0.1, 20),
    st.floats(0.1, 400),
)
@examples(200)
def test_whatever_comes_it_agrees_with_the_rules_in_words(steps, most, window, eject):
    settings = PassiveConfig(max_failures=most, window=window, eject=eject)
    conduct, now, since = Conduct(), 0.0, []
    back, last = float("-inf"), 0.0
    for pause, count in steps:
        now += pause
        since += [now] * count
        too_many = conduct.fail(now, count, settings)
        assert too_many is (sum(now - when <= window for when in since) >= most)
        if too_many:
            calm = now - back >= max(last, window)
            seconds = conduct.eject(now, settings)
            assert seconds == (eject if calm else max(eject, min(2 * last, LONGEST_SECONDS)))
            last, since = seconds, []
            now += seconds
            back = now
            conduct.readmit(now)
