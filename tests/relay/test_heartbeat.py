from __future__ import annotations

import math

from trioproxy.relay.heartbeat import OPEN, Heartbeat


def ping(beat, now):
    payload = beat.prepare(now)
    assert payload
    beat.sent()
    return payload


async def test_the_first_ping_is_due_somewhere_in_the_first_interval(mock_clock):
    beats = [Heartbeat(100.0) for _ in range(200)]
    assert not any(beat.prepare(-1.0) for beat in beats)
    first = sum(bool(beat.prepare(50.0)) for beat in beats)
    assert 50 < first < 150
    assert first + sum(bool(beat.prepare(100.0)) for beat in beats) == 200


async def test_payloads_are_long_enough_and_never_the_same(mock_clock):
    beat = Heartbeat(1.0)
    payloads = {ping(beat, float(now)) for now in range(1, 50)}
    assert len(payloads) == 49
    assert {8 <= len(payload) <= 16 for payload in payloads} == {True}


async def test_an_answer_is_timed_from_when_the_ping_was_sent(mock_clock):
    beat = Heartbeat(10.0)
    payload = beat.prepare(10.0)
    assert beat.awaited == (payload,)
    assert beat.prepare(30.0) == b"", "one waits already"
    mock_clock.jump(12.0)
    beat.sent()
    assert beat.silent_since(11.0, inside_frame=False) == beat.silent_since(11.0, inside_frame=True) == 12.0
    assert beat.silent_since(12.5, inside_frame=False) == math.inf
    assert beat.silent_since(12.5, inside_frame=True) == 22.5, "no Pong fits there"
    mock_clock.jump(0.25)
    assert beat.answered(payload) == 0.25
    assert (beat.awaited, beat.silent_since(0.0, inside_frame=True)) == ((), math.inf)


async def test_an_answer_closes_the_pings_before_it(mock_clock):
    beat = Heartbeat(1.0)
    payloads = [ping(beat, float(now)) for now in range(1, OPEN + 3)]
    assert beat.awaited == tuple(payloads[-OPEN:]), "no more are remembered"
    assert beat.answered(payloads[0]) is None
    assert beat.answered(payloads[-2]) == 0
    assert beat.awaited == (payloads[-1],)
