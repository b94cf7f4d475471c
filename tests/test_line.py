"""Who is next where some wait: here, and where several processes have a part of the line each."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples

from trioproxy.line import GRACE_SECONDS, Line


def line_of(*waiters: str, picky: str = "") -> Line[str]:
    """Each came at its place in the alphabet."""
    line = Line()
    for waiter in waiters:
        line.join(waiter, came(waiter), picky=waiter in picky)
    return line


def came(waiter: str) -> int:
    return ord(waiter) - ord("a") + 1


def turn(line, now=0.0, heads=(), room=lambda _: True):
    return line.turn(now, [came(head) for head in heads], room)


def test_first_come_first_served():
    line = line_of("a", "b", "c")
    served = []
    while (waiter := turn(line)) is not None:
        served.append(waiter)
        line.leave(waiter)
    assert served == ["a", "b", "c"]
    assert (len(line), line.first, line.head) == (0, None, 0)


def test_who_leaves_is_not_served():
    line = line_of("a", "b")
    assert (line.first, line.head, list(line)) == ("a", 1, ["a", "b"])
    line.leave("a")
    assert (turn(line), line.head, len(line)) == ("b", 2, 1)


def test_without_room_it_is_nobodys_turn_and_one_is_asked_for_all():
    asked = []
    assert turn(line_of("a", "b", "c"), room=asked.append) is None
    assert asked == ["a"]


def test_who_waits_for_something_else_does_not_hold_up_the_others():
    line = line_of("a", "b", "c", picky="a")
    assert turn(line, room=lambda waiter: waiter != "a") == "b"
    assert turn(line, room=lambda _: False) is None


def test_room_is_left_to_who_came_before_elsewhere_for_a_while():
    line = line_of("b")
    assert turn(line, 1, heads="a") is None
    assert turn(line, 1 + GRACE_SECONDS / 2, heads="a") is None
    assert turn(line, 1 + GRACE_SECONDS, heads="a") == "b"


def test_who_came_later_elsewhere_is_not_waited_for():
    assert turn(line_of("b"), heads="cd") == "b"


def test_who_came_only_a_little_sooner_elsewhere_is_not_waited_for():
    line = Line(slack=2)
    line.join("d", came("d"), picky=False)
    assert turn(line, heads="bc") == "d"
    assert turn(line, heads="a") is None


def test_room_that_was_taken_is_waited_for_anew():
    line = line_of("b")
    assert turn(line, 1, heads="a") is None
    assert turn(line, 1.01, heads="a", room=lambda _: False) is None
    assert turn(line, 1 + GRACE_SECONDS, heads="a") is None
    assert turn(line, 1 + 2 * GRACE_SECONDS, heads="a") == "b"


def test_who_did_not_take_what_was_left_is_waited_for_no_more_but_who_comes_next_is():
    line = line_of("d", "e")
    assert turn(line, 1, heads="a") is None
    assert turn(line, 2, heads="a") == "d"
    line.leave("d")
    assert turn(line, 2, heads="a") == "e"  # the process stands still
    assert turn(line, 2, heads="ab") is None  # another one
    assert turn(line, 2, heads="a") == "e"
    assert turn(line, 2, heads="") == "e"
    assert turn(line, 2, heads="a") is None  # it had been gone: this is a new process in its place


@attrs.define(eq=False)
class Worker:
    line: Line = attrs.field(factory=Line)
    stalled: bool = False


@attrs.define(eq=False)
class Plant:
    """Three workers, of which any may stand still; each looks when it is told to, as a clock would tell it."""

    leases: int
    workers: list = attrs.field(factory=lambda: [Worker() for _ in range(3)])
    held: int = 0
    waiting: list = attrs.field(factory=list)  # all, in the order of coming
    stood_still: bool = False
    now: float = 0.0
    number: int = 0

    def look(self, worker, _=0):
        others = [each for each in self.workers if each is not worker]
        while not worker.stalled:
            heads = [other.line.head for other in others]
            who = worker.line.turn(self.now, heads, lambda _: self.held < self.leases)
            if who is None:
                return
            assert self.held < self.leases
            if not self.stood_still:
                assert who == self.waiting[0]
            worker.line.leave(who)
            self.waiting.remove(who)
            self.held += 1

    def come(self, worker, _):
        if not worker.stalled:
            self.number += 1
            worker.line.join(self.number, self.number, picky=False)
            self.waiting.append(self.number)

    def leave(self, worker, _):
        if worker.line.first and not worker.stalled:
            self.waiting.remove(worker.line.first)
            worker.line.leave(worker.line.first)

    def free(self, _worker, _):
        self.held = max(0, self.held - 1)

    def wait(self, _worker, hundredths):
        for _ in range(3):  # nobody's patience is over before all have looked
            for each in self.workers:
                self.look(each)
        self.now += hundredths / 100

    def stall(self, worker, _):
        worker.stalled = self.stood_still = True

    def wake(self, worker, _):
        worker.stalled = False


STEPS = st.tuples(st.sampled_from(["come", "leave", "free", "look", "wait", "stall", "wake"]), st.integers(0, 20))


@given(st.integers(1, 3), st.lists(STEPS, max_size=120))
@examples(300)
def test_leases_are_never_more_than_there_are_and_go_round_in_the_order_of_coming(leases, steps):
    plant = Plant(leases)
    for what, which in steps:
        getattr(plant, what)(plant.workers[which % 3], which)
    for worker in plant.workers:
        worker.stalled = False
    for _ in range(3 * len(plant.waiting) + 3):
        plant.wait(None, 100 * GRACE_SECONDS)
    assert not plant.waiting or plant.held == leases


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_one_that_stands_still_does_not_cost_each_of_the_others_its_time(workers):
    stalled = line_of("a")
    lines = [Line() for _ in range(workers)]
    for number in range(40):
        lines[number % workers].join(number, number + 2, picky=False)
    now, served = 0.0, []
    while len(served) < 40:
        for line in lines:
            others = [stalled.head, *(each.head for each in lines if each is not line)]
            while (who := line.turn(now, others, lambda _: True)) is not None:
                line.leave(who)
                served.append(who)
        now += GRACE_SECONDS / 10
    assert now <= 5 * GRACE_SECONDS
