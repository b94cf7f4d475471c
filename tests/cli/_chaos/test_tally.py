"""How a run stands, from moment to moment."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from support.chaos_runs import one_killed, talkative

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.records import End, Outcome, Tunnel
from trioproxy.chaos.timeline import Span
from trioproxy.cli._chaos.tally import LATELY_SECONDS, Tally


def test_what_is_open_and_what_came_back_lately():
    tunnels = [talkative("0-0", 0, 0.0, 5.0, upstream=1), talkative("1-0", 1, 0.0, 5.0), Tunnel("2-0", 2, 4.9)]
    for tunnel in tunnels:
        tunnel.ended = tunnel.end = None
    tunnels[0].round_trips[-1] = (4.9, 0.05)
    found = Tally(tunnels, 10.0, (), 2).look(5.0)
    assert (found.open, found.elsewhere, found.without, found.opened, found.failed) == ([0, 1], 1, 0, 2, 0)
    assert (found.messages, found.lost) == (100, 0)
    assert found.rate == len([each for each in range(50) if each / 10 + 0.002 >= 2]) * 2 / LATELY_SECONDS
    assert (round(found.p50_ms, 6), round(found.p99_ms, 6)) == (2, 50)


def test_nothing_has_happened_yet():
    found = Tally([], 10.0, (), 2).look(0.0)
    assert (found.open, found.opened, found.rate) == ([0, 0], 0, 0)
    assert math.isnan(found.p99_ms)


def test_a_client_is_without_a_tunnel_until_it_has_another():
    load = [Tunnel("0-0", 0, 0.0, opened=0.1, upstream=0)]
    tally = Tally(load, 10.0, (), 1)
    assert (tally.look(1.0).open, tally.look(1.0).without) == ([1], 0)
    load[0].ended, load[0].end, load[0].sent, load[0].echoed = 2.0, End.CUT, 5, 3
    found = tally.look(2.1)
    assert (found.open, found.without, found.opened, found.messages, found.lost) == ([0], 1, 1, 3, 2)
    load.append(Tunnel("0-1", 0, 2.2, failure="status 503", ended=2.3))
    load.append(Tunnel("0-2", 0, 2.4))
    found = tally.look(2.5)
    assert (found.without, found.failed) == (1, 1)
    load[2].opened = 2.6
    assert (tally.look(2.7).without, tally.look(2.7).opened) == (0, 2)
    load[2].ended, load[2].end = 3.0, End.CLIENT
    found = tally.look(3.1)
    assert (found.without, found.opened, found.lost) == (0, 2, 2)


def test_faults_are_told_while_they_last():
    spans = [Span(1.0, 2.0, (0,), FAULTS["kill"]()), Span(1.5, 10.0, (0,), FAULTS["restart"]())]
    tally = Tally([], 10.0, spans, 1)
    assert [[span.name for span in tally.look(now).on] for now in (0.9, 1.0, 1.6, 2.0)] == [[], ["kill"], ["kill"], []]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 7), max_size=7))
def test_however_often_it_is_looked_at_the_end_is_the_same(looks):
    load, left = [], list(one_killed().tunnels)
    tally = Tally(load, 10.0, (), 2)
    for number in looks:
        load += left[:number]
        left = left[number:]
        tally.look(1.0)
    load += left
    found = tally.look(11.0)
    outcome = Outcome(duration=10.0, tunnels=load, upstreams=2)
    assert found.opened == MEASURES["tunnels"].of(outcome)
    assert found.failed == MEASURES["handshakes_failed"].of(outcome)
    assert found.messages == MEASURES["messages"].of(outcome)
    assert found.lost == MEASURES["lost_messages"].of(outcome)
    assert (sum(found.open), found.without) == (0, 0)
