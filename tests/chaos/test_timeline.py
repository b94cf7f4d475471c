"""When which fault is on."""

import pytest

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.scenario import Scenario
from trioproxy.chaos.timeline import spans


def timeline(*faults, seed=1, upstreams=4, duration=20.0):
    scenario = Scenario(duration=duration, faults=tuple(FAULTS[name](**settings) for name, settings in faults))
    return spans(scenario, upstreams, seed)


def times(found):
    return [(span.name, span.begin, span.end) for span in found]


def test_a_fault_lasts_as_long_as_it_says_or_to_the_end():
    assert times(timeline(("reset", {"at": 3, "lasts": 2}), ("kill", {"at": 5}))) == [
        ("reset", 3, 5),
        ("kill", 5, 20),
    ]


def test_all_stand_in_the_order_of_their_beginnings():
    found = timeline(("reset", {"at": 3, "lasts": 1, "every": 4, "times": 3}), ("kill", {"at": 5, "lasts": 1}))
    assert [(span.name, span.begin) for span in found] == [("reset", 3), ("kill", 5), ("reset", 7), ("reset", 11)]


def test_nothing_begins_behind_the_end_or_lasts_beyond_it():
    found = timeline(("reset", {"at": 10, "lasts": 8, "every": 8, "times": 5}))
    assert times(found) == [("reset", 10, 18), ("reset", 18, 20)]


def test_what_comes_again_lasts_to_its_next_time_where_it_does_not_say_how_long():
    found = timeline(("reload", {"at": 2, "every": 5, "times": 3}))
    assert times(found) == [("reload", 2, 7), ("reload", 7, 12), ("reload", 12, 20)]


@pytest.mark.parametrize(
    ("settings", "concerned"),
    [({}, (0, 1, 2, 3)), ({"upstreams": (2,)}, (2,)), ({"upstreams": (1, 3), "pick": 5}, (1, 3))],
)
def test_a_fault_concerns_the_upstreams_it_names(settings, concerned):
    assert timeline(("reset", {**settings}))[0].upstreams == concerned


def test_what_is_picked_depends_on_the_seed_and_on_nothing_else():
    def picked(seed):
        found = timeline(("reset", {"pick": 2, "every": 1, "times": 9, "lasts": 1}), ("kill", {"pick": 1}), seed=seed)
        return [(span.name, span.upstreams) for span in found]

    assert picked(3) == picked(3)
    assert len({tuple(picked(seed)) for seed in range(20)}) == 20
    assert all(len(set(upstreams)) == (2 if name == "reset" else 1) for name, upstreams in picked(3))


def test_a_span_tells_of_itself():
    assert str(timeline(("reset", {"at": 3, "lasts": 2, "upstreams": (1, 2)}))[0]) == (
        "   3.00 s to    5.00 s  reset of 1, 2"
    )
