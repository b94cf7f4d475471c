from __future__ import annotations

import pytest
from support.frames import BINARY, CLOSE, MASK, PING, PONG, frame

from trioproxy.errors import Source
from trioproxy.relay.direction import Direction
from trioproxy.relay.heartbeat import Heartbeat
from trioproxy.wire.websocket import FrameScanner, close_frame, ping_frame


@pytest.fixture
def way():
    return Direction(Source.CLIENT, FrameScanner(masked=True, strict=True, extensions=False))


def test_it_shows_what_its_scanner_counted(way):
    sent = frame(BINARY, bytes(300), mask=MASK)
    way.scanner.scan(sent, 0, len(sent))
    assert way.sink is Source.UPSTREAM
    assert (way.traffic.frames[BINARY], way.messages, way.traffic.octets, way.traffic.sizes[:3]) == (
        1,
        1,
        300,
        (0, 1, 0),
    )
    assert way.close_code is None
    assert way.traffic.injected == [0] * 16
    assert (way.frames, way.traffic.take_round_trips()) == (1, [])


def test_what_is_owed_is_due_on_a_boundary_only(way):
    way.owed = close_frame(1001, mask=MASK)
    assert way.due
    way.scanner.left = 1
    assert not way.due


def test_a_close_mutes_and_a_ping_does_not(way, mock_clock):
    way.owed = close_frame(1001, mask=MASK)
    assert way.inject() == close_frame(1001, mask=MASK)
    assert (way.traffic.injected[CLOSE], way.muted, way.owed) == (1, True, b"")


async def test_a_ping_does_not_mute(way, mock_clock):
    way.heartbeat = Heartbeat(1.0)
    mock_clock.jump(1.0)
    way.owed = ping_frame(way.heartbeat.prepare(1.0), mask=MASK)
    way.inject()
    assert (way.traffic.injected[PING], way.traffic.injected[PONG], way.muted) == (1, 0, False)


def test_octets_reach_the_tally_when_they_are_published(way):
    way.bytes = 5
    assert way.traffic.bytes == 0
    way.publish()
    way.publish()
    assert way.traffic.bytes == 5
    way.bytes = 3
    way.publish()
    assert way.traffic.bytes == 3
