"""What stands where, in terminals of any size."""

from __future__ import annotations

import time

import pytest
from support.live import sample, upstream

from trioproxy.cli._top.state import State
from trioproxy.cli._top.view import report, screen

DOWN = upstream("10.0.0.2:80", state="down", health="down", active=0, tunnels=0, last_probe=None)
EVENT = {"time": 1790000000.0, "event": "upstream_down", "level": "warning", "pool": "backend", "reason": "refused"}
TUNNEL = {
    "id": "5f3a9c-1",
    "client": "203.0.113.7",
    "route": "chat",
    "upstream": "10.0.0.1:80",
    "age": 100.0,
    "idle": 1.5,
    "messages": {"to_upstream": 100, "to_client": 900},
    "bytes": {"to_upstream": 1000, "to_client": 201_000},
}
CLOCK = time.strftime("%H:%M:%S", time.localtime(1790000000))


def state_of(*upstreams, samples=3, tunnels=(TUNNEL,), events=(EVENT,), **changed):
    state = State("127.0.0.1:9464")
    pools = [
        {"name": "backend", "balance": "round-robin", "upstreams": list(upstreams or (upstream("10.0.0.1:80"), DOWN))}
    ]
    state.take("history", {"samples": [sample(pools=pools, **changed)] * samples, "events": list(events)})
    state.take("tunnels", (len(tunnels), tunnels, True))
    return state


def written(state, width=80, height=24):
    return [line.plain for line in screen(state, width, height)]


def styles(line, text):
    """Those of the first character of `text`."""
    at = line.plain.index(text)
    return {str(span.style) for span in line.spans if span.start <= at < span.end}


def test_where_faults_may_be_injected_the_first_line_says_so_and_how_many_are_on():
    start = f"trioproxy 127.0.0.1:9464  running  {CLOCK}"
    assert written(state_of(chaos=None))[0] == start
    assert written(state_of(chaos=0))[0] == f"{start}  chaos: 0 faults on"
    (line, *_) = screen(state_of(chaos=2), 80, 24)
    assert line.plain == f"{start}  chaos: 2 faults on" and styles(line, "chaos") == {"bold magenta"}


def test_a_usual_terminal_has_everything():
    lines = written(state_of())
    assert lines[0] == f"trioproxy 127.0.0.1:9464  running  {CLOCK}"
    assert lines[2].startswith("tunnels          1,240  1300 connections ")
    assert lines[10:13] == [
        "upstream     pool     state  tunnels  msg/s  bytes/s  active  weight  last probe",
        "10.0.0.1:80  backend  up          11    481  359 KiB      12       1  ok 0.4 ms",
        "10.0.0.2:80  backend  down         0    481  359 KiB       0       1",
    ]
    assert lines[14:16] == [
        "client       upstream     route  messages     *bytes         age   idle",
        "203.0.113.7  10.0.0.1:80  chat       10/s  2.0 KiB/s  1 min 40 s  1.5 s",
    ]
    assert lines[17:19] == ["events", f"{CLOCK} upstream_down pool=backend reason=refused"]
    assert lines[-1].startswith("q quit")


def test_states_and_levels_have_their_colours():
    lines = screen(state_of(), 120, 30)
    up, down = (next(line for line in lines if line.plain.startswith(f"10.0.0.{n}")) for n in (1, 2))
    assert styles(up, "up ") == {"green"} and styles(down, "down") == {"bold red"}
    assert styles(next(line for line in lines if "upstream_down" in line.plain), "upstream_down") == {"yellow"}


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (upstream("a:1", state="draining"), "draining"),
        (upstream("a:1", state="draining", active=0), "drained"),
        (upstream("a:1", state="draining", active=0, health="down"), "drained (down)"),
        (upstream("a:1", state="ejected", ejection={"returns_in_seconds": 8.24}), "ejected, back in 8.2 s"),
        (upstream("a:1", state="something new"), "something new"),
    ],
)
def test_what_is_not_up_says_how_far_it_is(one, said):
    assert f"  backend  {said}  " in written(state_of(one))[11]


def test_backups_are_called_so():
    assert written(state_of(upstream("a:1", backup=True)))[11].startswith("a:1 (backup)  ")


@pytest.mark.parametrize("width", [0, 1, 5, 20, 40, 80, 300])
@pytest.mark.parametrize("height", [0, 1, 2, 3, 5, 10, 20, 24, 60])
@pytest.mark.parametrize("upstreams", [0, 1, 200])
def test_whatever_the_size_there_is_no_more_than_fits(width, height, upstreams):
    state = state_of(*(upstream(f"10.0.0.{n}:80") for n in range(upstreams)), tunnels=[TUNNEL], events=[EVENT] * 50)
    for key in ("", "down", "d", "up"):
        state.press(key)
        lines = screen(state, width, height)
        assert len(lines) <= height
        assert all(line.cell_len <= width for line in lines)
    assert len(screen(State("127.0.0.1:9464"), width, height)) <= height


def test_of_many_upstreams_those_come_first_that_are_not_up():
    many = [upstream(f"10.0.1.{n}:80") for n in range(50)]
    lines = written(state_of(*many, DOWN))
    assert lines[11].startswith("10.0.0.2:80") and lines[12].startswith("10.0.1.0:80")
    shown = sum(line.startswith("10.0.") for line in lines)
    assert f"... {51 - shown} more, 0 of them not up" in lines


@pytest.mark.parametrize("steps", [1, 2, 25, 49, 50])
@pytest.mark.parametrize("height", [8, 24])
def test_the_selected_one_is_always_to_be_seen(steps, height):
    state = state_of(*(upstream(f"10.0.1.{n}:80") for n in range(50)))
    for _ in range(steps):
        state.press("down")
    lines = screen(state, 80, height)
    (selected,) = (line for line in lines if any(span.style == "reverse" for span in line.spans))
    assert selected.plain.startswith(f"10.0.1.{steps - 1}:80 ") and selected.cell_len == 80


def test_in_the_middle_of_many_those_around_it_are_seen():
    state = state_of(*(upstream(f"10.0.1.{n}:80") for n in range(50)), DOWN, events=(), tunnels=())
    for _ in range(25):
        state.press("down")
    text = "\n".join(written(state))
    assert "10.0.1.23:80" in text and "10.0.1.25:80" in text
    assert "more, 1 of them not up" in text


def test_a_question_stands_in_the_last_line_and_then_what_became_of_it():
    state = state_of()
    state.press("down")
    state.press("d")
    assert written(state)[-1] == "drain 10.0.0.1:80 of pool backend?  y: yes, else no"
    state.press("y")
    state.take("said", "10.0.0.1:80: draining")
    assert written(state)[-1] == "10.0.0.1:80: draining"


def test_a_lost_connection_is_told_and_what_was_known_is_dim():
    state = state_of()
    state.take("lost", "refused")
    lines = screen(state, 80, 24)
    assert lines[0].plain == "trioproxy 127.0.0.1:9464  connection lost, retrying: refused"
    assert all("dim" in styles(line, line.plain[0]) for line in lines[1:-1] if line.plain)


def test_of_a_proxy_without_a_sample_there_is_its_address():
    state = State("127.0.0.1:9464")
    state.take("history", {"samples": [], "events": []})
    assert [line for line in written(state) if line][:-1] == ["trioproxy 127.0.0.1:9464"]


def test_what_others_chose_is_no_command_to_the_terminal():
    event = {**EVENT, "event": "x\x1b[2J", "reason": "a\x1b]0;b\x07\r\nc"}
    tunnel = {**TUNNEL, "client": "\x1b[31m"}
    text = "\n".join(written(state_of(events=[event], tunnels=[tunnel])))
    assert "\x1b" not in text and "\x07" not in text and "\r" not in text


def test_printed_once_it_has_all_upstreams_and_lines_in_whole():
    state = state_of(*(upstream(f"10.0.1.{n}:80") for n in range(50)), events=[{**EVENT, "reason": "x" * 500}])
    lines = [line.plain for line in report(state, 10_000)]
    assert sum(line.startswith("10.0.1.") for line in lines) == 50
    assert any(line.endswith("x" * 500) for line in lines)
    assert not any("█" in line or "q quit" in line for line in lines)
