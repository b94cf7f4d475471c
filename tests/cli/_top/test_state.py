"""What comes from the proxy and what keys mean, without a terminal."""

from __future__ import annotations

import pytest

from trioproxy.cli._top.state import EVENTS, SAMPLES, Command, State, Told

TUNNEL = {"id": "a-1", "age": 1.0, "idle": 0.0, "messages": {"to_client": 1}, "bytes": {"to_client": 1}}


def sample(*upstreams, number=0):
    """Of pools by their first letters: `p1`, `p2` and `q1` are three upstreams of two pools."""
    pools = {}
    for name in upstreams:
        pools.setdefault(name[0], []).append({"address": name})
    return {"number": number, "pools": [{"name": pool, "upstreams": each} for pool, each in pools.items()]}


def following(*upstreams):
    state = State("127.0.0.1:9464")
    state.take("history", {"samples": [sample(*upstreams)], "events": []})
    return state


def press(state, keys):
    return [state.press(key) for key in keys][-1]


def test_at_first_there_is_nothing():
    state = State("127.0.0.1:9464")
    assert state.newest is None and state.upstreams == [] and state.trouble
    assert press(state, ["down", "d"]) is None
    assert state.selected is None and "which upstream" in state.said


def test_a_history_replaces_what_was_there_and_ends_the_trouble():
    state = following("p1")
    state.take("tunnels", (1, [TUNNEL], True))
    state.take("event", {"event": "drain"})
    state.take("lost", "refused")
    assert state.trouble == "refused" and len(state.tunnels) == 1
    state.take("history", {"samples": [{"number": 7}], "events": [{"event": "listening"}]})
    assert (state.trouble, state.newest) == ("", {"number": 7})
    assert list(state.events) == [{"event": "listening"}]
    assert len(state.tunnels) == 0


def test_what_a_newer_proxy_tells_besides_changes_nothing():
    state = following("p1")
    state.take("something", {"new": True})
    assert (state.trouble, state.said, len(state.samples)) == ("", "", 1)


def test_samples_and_events_follow_and_do_not_pile_up():
    state = following("p1")
    for number in range(SAMPLES + 10):
        state.take("sample", sample("p1", number=number))
        state.take("event", {"number": number})
    assert (len(state.samples), len(state.events)) == (SAMPLES, EVENTS)
    assert state.newest["number"] == state.events[-1]["number"] == SAMPLES + 9
    assert [pool for pool, _ in state.upstreams] == ["p"]


@pytest.mark.parametrize(("key", "told"), [("q", Told.QUIT), ("ctrl-c", Told.QUIT), ("ctrl-z", Told.SUSPEND)])
def test_some_keys_are_for_others(key, told):
    state = following("p1")
    assert press(state, ["down", "d", key]) is told
    assert state.question is None  # which nobody saw the answer to


def test_s_goes_through_the_orders_of_tunnels():
    state = following()
    seen = []
    for _ in range(5):
        seen.append(state.sort)
        press(state, "s")
    assert seen == ["bytes", "messages", "age", "idle", "bytes"]


def test_arrows_go_through_all_upstreams_and_round():
    state = following("p1", "p2", "q1")
    seen = []
    for key in ("down", "j", "down", "down", "up", "k"):
        press(state, [key])
        seen.append(state.selected[1])
    assert seen == ["p1", "p2", "q1", "p1", "q1", "p2"]
    assert press(following("p1", "p2"), ["up"]) is None


def test_upwards_it_begins_at_the_end():
    state = following("p1", "p2")
    press(state, ["up"])
    assert state.selected == ("p", "p2")


def test_a_selected_upstream_stays_selected_whatever_comes_before_it_and_is_let_go_when_it_is_gone():
    state = following("p1", "p2")
    press(state, ["down", "down"])
    state.take("sample", sample("p0", "p1", "p2"))
    assert state.selected == ("p", "p2")
    state.take("sample", sample("p1"))
    press(state, ["d"])
    assert state.question is None and "which upstream to drain" in state.said
    press(state, ["down"])
    assert state.selected == ("p", "p1")


@pytest.mark.parametrize(("key", "verb"), [("d", "drain"), ("r", "resume")])
def test_a_command_is_given_after_a_yes_alone(key, verb):
    state = following("p1", "q1")
    command = Command(verb, "q", "q1")
    assert press(state, ["up", key]) is None
    assert state.question == command
    assert press(state, ["y"]) == command
    assert state.question is None
    for other in ("n", "Y", "down", key):
        assert press(state, [key, other]) is None
        assert (state.question, state.said, state.selected) == (None, f"no {verb}", ("q", "q1"))
    assert press(state, ["y"]) is None


def test_what_became_of_a_command_stands_until_the_next_key():
    state = following("p1")
    state.take("said", "p1: draining")
    state.take("sample", sample("p1"))
    assert state.said == "p1: draining"
    press(state, ["x"])
    assert state.said == ""
