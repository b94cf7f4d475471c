"""What clients saw, over time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.chaos.measures import MEASURES, opened, round_trips
from trioproxy.chaos.records import End, Outcome, Tunnel
from trioproxy.chaos.series import CUT, MOST_PARTS, NO_CODE, edges, part_width, series


@pytest.mark.parametrize(
    ("seconds", "width"),
    [(0.001, 0.01), (1, 0.01), (10, 0.1), (20, 0.2), (20.004, 0.2), (25, 0.2), (25.1, 0.5), (60, 0.5), (3600, 50)],
)
def test_parts_are_round_and_some_hundred_at_most(seconds, width):
    assert part_width(seconds) == width


@given(st.floats(0.001, 1e6))
def test_no_run_has_too_many_parts(seconds):
    found = series(Outcome(duration=seconds, tunnels=()))
    assert 1 <= len(found.opened) <= MOST_PARTS
    assert found.times[-1] == pytest.approx(len(found.opened) * found.width)
    assert found.times[-1] >= seconds * (1 - 1e-5)


def test_open_tunnels_of_each_upstream_and_clients_without_one():
    tunnels = [
        Tunnel("0-0", 0, 0.0, opened=0.0, upstream=1, ended=0.5, end=End.CUT),
        Tunnel("0-1", 0, 0.5, opened=0.7, upstream=0, ended=1.0, end=End.CLIENT),
        Tunnel("1-0", 1, 0.0, opened=0.2, ended=None),
    ]
    found = series(Outcome(duration=1.0, tunnels=tunnels, upstreams=3))
    assert list(found.open) == [0, 1, 2, None]
    at = {0.0: 0, 0.3: 30, 0.6: 60, 0.8: 80, 1.0: 100}
    assert [found.times[place] for place in at.values()] == pytest.approx(list(at))
    assert [found.open[1][place] for place in at.values()] == [1, 1, 0, 0, 0]
    assert [found.open[0][place] for place in at.values()] == [0, 0, 0, 1, 0]
    assert [found.open[None][place] for place in at.values()] == [0, 1, 1, 1, 1]
    assert [found.without[place] for place in at.values()] == [0, 0, 1, 0, 0]
    assert set(found.open[2]) == {0}


def test_an_upstream_that_nobody_counted_is_shown():
    assert list(series(Outcome(duration=1.0, tunnels=[Tunnel("0-0", 0, 0.0, opened=0.1, upstream=4)])).open) == [4]


def test_each_thing_is_told_of_the_part_when_it_happened():
    tunnel = Tunnel("0-0", 0, 1.0, opened=1.5, ended=9.95, end=End.CLOSED, code=1011, unanswered=[7.0])
    tunnel.round_trips += [(2.0, 0.5), (2.05, 0.7)]
    failed = Tunnel("1-0", 1, 3.0, failure="timeout", ended=8.0)
    found = series(Outcome(duration=10.0, tunnels=[tunnel, failed, Tunnel("2-0", 2, 4.0, failure="other")]))
    assert found.width == 0.1
    told = {
        "opened": found.opened,
        "failed": found.failed,
        "messages": found.messages,
        "lost": found.lost,
        "1011": found.ended["1011"],
        "timeout": found.failures["timeout"],
        "other": found.failures["other"],
    }
    assert {name: [at for at, count in enumerate(counts) if count] for name, counts in told.items()} == {
        "opened": [15],
        "failed": [40, 80],
        "messages": [25, 27],
        "lost": [70],
        "1011": [99],
        "timeout": [80],
        "other": [40],
    }
    assert found.handshake_ms[0.99][15] == pytest.approx(500)
    assert [found.round_trip_ms[share][20] for share in (0.5, 0.99)] == pytest.approx([500, 700])
    assert math.isnan(found.round_trip_ms[0.5][21])


def test_ends_have_names_and_the_most_frequent_comes_first():
    ends = [(End.CLOSED, 1000), (End.CLOSED, None), (End.CUT, None), (End.CUT, None), (End.CLIENT, None), (None, None)]
    tunnels = [
        Tunnel(f"{number}-0", number, 0.0, opened=0.1, ended=0.2, end=end, code=code)
        for number, (end, code) in enumerate(ends)
    ]
    assert {name: sum(counts) for name, counts in series(Outcome(duration=1.0, tunnels=tunnels)).ended.items()} == {
        CUT: 2,
        "1000": 1,
        NO_CODE: 1,
    }
    assert next(iter(series(Outcome(duration=1.0, tunnels=tunnels)).ended)) == CUT


TIMES = st.floats(0, 12)


@st.composite
def made_tunnels(draw):
    number, asked = draw(st.integers(0, 4)), draw(TIMES)
    tunnel = Tunnel(f"{number}-{asked}", number, asked, ended=draw(st.none() | st.just(asked + draw(TIMES))))
    if draw(st.booleans()):
        tunnel.failure = draw(st.sampled_from(["timeout", "status 503"]))
        return tunnel
    tunnel.opened = asked + draw(st.floats(0, 3))
    if tunnel.ended is not None:
        tunnel.ended = max(tunnel.ended, tunnel.opened)
        tunnel.end = draw(st.sampled_from(End))
        tunnel.code = draw(st.sampled_from([None, 1000, 1011])) if tunnel.end is End.CLOSED else None
    tunnel.upstream = draw(st.none() | st.integers(0, 3))
    tunnel.unanswered = draw(st.lists(TIMES, max_size=4))
    tunnel.round_trips = draw(st.lists(st.tuples(TIMES, st.floats(0, 5)), max_size=4))
    tunnel.echoed = len(tunnel.round_trips)
    tunnel.sent = tunnel.echoed + len(tunnel.unanswered)
    return tunnel


@given(st.lists(made_tunnels(), max_size=20), st.integers(0, 5))
def test_parts_together_are_the_whole_run(tunnels, upstreams):
    outcome = Outcome(duration=10.0, tunnels=tunnels, upstreams=upstreams)
    found = series(outcome)
    whole = {name: MEASURES[name].of(outcome) for name in ("tunnels", "handshakes_failed", "messages", "lost_messages")}
    assert whole == {
        "tunnels": sum(found.opened),
        "handshakes_failed": sum(found.failed),
        "messages": sum(found.messages),
        "lost_messages": sum(found.lost),
    }
    assert sum(map(sum, found.ended.values())) == sum(each.end in {End.CLOSED, End.CUT} for each in opened(outcome))
    assert found.ended.get(CUT, [0]) and sum(found.ended.get(CUT, [0])) == MEASURES["cut_without_close"].of(outcome)
    assert sum(map(sum, found.failures.values())) == whole["handshakes_failed"]
    for place, time in enumerate(found.times):
        now = [each for each in opened(outcome) if each.opened <= time and (each.ended is None or time < each.ended)]
        assert sum(levels[place] for levels in found.open.values()) == len(now)
        assert 0 <= found.without[place] <= 5
    trips = round_trips(opened(outcome))
    slowest = [each for each in found.round_trip_ms[0.99] if not math.isnan(each)]
    assert max(slowest, default=None) == max(trips, default=None)
    lengths = {len(each) for each in (found.opened, found.messages, found.lost, *found.handshake_ms.values())}
    assert lengths == {len(found.times) - 1}


def test_edges_are_where_parts_begin_and_end():
    assert edges(0.5, 2) == [0, 0.5, 1.0]
