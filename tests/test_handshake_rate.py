"""The bucket of upgrades: its burst, its flow, what is said to who is refused, and its sum over processes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.board import Board, Layout, Marks
from trioproxy.handshake_rate import SECOND, HandshakeRate

START = 10**15


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += round(seconds * SECOND)


def buckets(count, clock):
    """One for each process."""
    board = Board(Layout(), count)
    column = board.layout.intern("rate", ())
    return [HandshakeRate(Marks.of(board, row, column), clock) for row in range(count)]


@pytest.mark.parametrize(("rate", "burst"), [(10.0, 10), (2.5, 2), (1.0, 1), (0.1, 1)])
def test_one_second_at_once_and_then_as_they_flow(rate, burst):
    clock = Clock()
    bucket = HandshakeRate(clock=clock)
    assert [bucket.take(rate) == 0 for _ in range(burst + 2)] == [True] * burst + [False] * 2
    clock.forward(1 / rate)
    assert [bucket.take(rate) == 0 for _ in range(2)] == [True, False]
    clock.forward(1000)
    assert sum(bucket.take(rate) == 0 for _ in range(burst + 2)) == burst  # no more than one second is saved


def test_who_is_refused_is_told_when_it_is_worth_another_try():
    clock = Clock()
    bucket = HandshakeRate(clock=clock)
    assert bucket.take(0.1) == 0
    assert bucket.take(0.1) == 10
    clock.forward(9.5)
    assert bucket.take(0.1) == 11  # behind who was refused before


def test_a_storm_is_told_to_come_back_spread_over_a_minute_at_most():
    clock = Clock()
    bucket = HandshakeRate(clock=clock)
    told = [bucket.take(10) for _ in range(1010)]
    assert told[:10] == [0] * 10
    assert told[10:40] == [1] * 10 + [2] * 10 + [3] * 10
    assert told[-1] == max(told) == 60
    clock.forward(3600)
    assert bucket.take(10) == 0


def test_a_storm_over_several_processes_comes_back_no_faster_than_over_one():
    shares = buckets(3, Clock())
    told = [shares[number % 3].take(10) for number in range(310)][10:]
    assert max(map(told.count, told)) <= 12 and max(told) == 30


def test_another_rate_holds_at_once():
    clock = Clock()
    bucket = HandshakeRate(clock=clock)
    assert sum(bucket.take(5) == 0 for _ in range(10)) == 5
    assert sum(bucket.take(1000) == 0 for _ in range(10)) == 0
    clock.forward(0.01)
    assert sum(bucket.take(1000) == 0 for _ in range(100)) == 10
    clock.forward(5)
    assert [bucket.take(1 / 600) == 0 for _ in range(2)] == [True, False]
    clock.forward(0.001)
    assert sum(bucket.take(10) == 0 for _ in range(20)) == 10  # what was taken of ten minutes is no debt now


def test_the_processes_share_one_bucket():
    clock = Clock()
    shares = buckets(3, clock)
    assert sum(bucket.take(10) == 0 for bucket in shares * 10) == 10
    clock.forward(0.5)
    assert sum(shares[1].take(10) == 0 for _ in range(10)) == 5
    assert shares[2].take(10) == 2  # behind the twenty of before


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.7)), max_size=80), st.sampled_from([1.0, 3.0, 8.0]))
def test_over_any_time_no_more_pass_than_the_bucket_holds_and_what_flows(steps, rate):
    clock = Clock()
    shares = buckets(3, clock)
    passed = []
    for who, pause in steps:
        clock.forward(pause)
        if shares[who].take(rate) == 0:
            passed.append((clock.now - START) / SECOND)
    for first, start in enumerate(passed):
        for last, end in enumerate(passed[first:], start=first):
            assert last - first + 1 <= rate + (end - start) * rate + 1e-3


@pytest.mark.parametrize("left", [2, 1])
def test_who_takes_at_the_same_moment_as_another_process_counts_behind_it(left):
    clock = Clock()
    board = Board(Layout(), 2)
    column = board.layout.intern("rate", ())
    inner, other = Marks.of(board, 0, column), Marks.of(board, 1, column)

    class Meanwhile:
        """Marks of a process whose neighbour takes just before this one's mark is seen."""

        own, others, set = property(lambda _: inner.own), inner.others, inner.set

        def set_and_look(self, value):
            other.set(value)  # it saw what we saw, and took the same
            return inner.set_and_look(value)

    cost = SECOND // 10
    inner.set(clock.now + SECOND - left * cost)
    before = inner.own
    bucket = HandshakeRate(Meanwhile(), clock)
    if left == 2:
        assert bucket.take(10) == 0
        assert inner.own == other.own + cost  # both are counted
        assert HandshakeRate(other, clock).take(10) == 1
    else:
        assert bucket.take(10) == 1  # the last one is the other's
        assert inner.own == before


def test_a_process_that_is_gone_the_moment_after_has_taken_nothing():
    clock = Clock()
    board = Board(Layout(), 2)
    column = board.layout.intern("rate", ())
    inner, other = Marks.of(board, 0, column), Marks.of(board, 1, column)
    other.set(clock.now + SECOND // 2)

    class Meanwhile:
        own, others, set = property(lambda _: inner.own), inner.others, inner.set

        def set_and_look(self, value):
            other.set(0)
            return inner.set_and_look(value)

    assert HandshakeRate(Meanwhile(), clock).take(10) == 0


def test_the_lowest_rate_that_can_be_written_is_one():
    bucket = HandshakeRate(clock=Clock())
    assert bucket.take(5e-324) == 0
    assert bucket.take(5e-324) == SECOND


def test_it_has_a_clock_of_its_own():
    bucket = HandshakeRate()
    assert bucket.take(1e-6) == 0
    assert bucket.take(1e-6) == 1_000_000
