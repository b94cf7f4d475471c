"""Chaos verbs with several workers: what each is told, and how their answers become one."""

from __future__ import annotations

import trio
from test_supervisor_control import Place

from trioproxy.control_messages import Answer
from trioproxy.slots import ANSWER_SECONDS
from trioproxy.supervisor_injecting import WorkersHands
from trioproxy.verbs import Order, Verb

REFUSAL = {"pool": "p", "address": "u:1", "share": 0.5, "status": 503, "seed": 7}


def hands_of(*answers):
    places = [
        Place(number, {f"chaos.{what}": Answer(7, each[what]) for what in each}) for number, each in enumerate(answers)
    ]
    return WorkersHands(places), places


async def test_tunnels_are_listed_worker_by_worker():
    hands, places = hands_of({"tunnels": ["b-1", "b-2"]}, {"tunnels": []}, {}, {"tunnels": ["a-1"]})
    assert await hands.tunnels("p", "u:1") == ["b-1", "b-2", "a-1"]
    assert places[1].asked == [("chaos.tunnels", {"pool": "p", "address": "u:1"})]


async def test_every_worker_is_told_of_all_that_were_chosen_and_says_how_many_it_had():
    hands, places = hands_of({"close": 2, "blackhole": 1}, {"close": 3, "blackhole": 0})
    assert await hands.close(("a-1", "b-1"), 1012, 5.0) == 5
    assert await hands.blackhole(("a-1",), 9.0) == 1
    for place in places:
        assert place.asked == [
            ("chaos.close", {"ids": ["a-1", "b-1"], "code": 1012, "seconds": 5.0}),
            ("chaos.blackhole", {"ids": ["a-1"], "seconds": 9.0}),
        ]


async def test_a_worker_that_stands_still_or_does_not_understand_is_not_counted(autojump_clock):
    hands, places = hands_of({}, {"close": 3}, {})
    places[0].silent = ("chaos.close",)
    places[1].answers["chaos.close"] = Answer(7, refusal=("no",))
    assert await hands.close(("a-1",), 1012, 0.0) == 0
    assert trio.current_time() == ANSWER_SECONDS


async def test_a_worker_that_begins_later_refuses_what_is_left_of_the_time():
    hands, places = hands_of({"refuse": None, "stop": None})
    await hands.refuse(**REFUSAL, seconds=10.0)
    assert places[0].asked == [("chaos.refuse", {**REFUSAL, "seconds": 10.0})]
    late = Place(1, {})
    order = Order(verb=Verb.REFUSE, pool="p", upstream="u:1", share=0.5, seconds=10.0, seed=7, status=503)
    hands.began(late, [(order, 6.0)])
    assert late.asked == [("chaos.refuse", {**REFUSAL, "seconds": 6.0})]
    await hands.stop()
    assert places[0].asked[-1] == ("chaos.stop", {})
