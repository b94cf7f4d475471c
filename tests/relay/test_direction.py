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
    assert (way.frames[BINARY], way.messages, way.message_octets, way.message_sizes[:3]) == (1, 1, 300, (0, 1, 0))
    assert way.close_code is None
    assert way.injected == [0] * 16
    assert way.take_round_trips() == ()


def test_what_is_owed_is_due_on_a_boundary_only(way):
    way.owed = close_frame(1001, mask=MASK)
    assert way.due
    way.scanner.left = 1
    assert not way.due


def test_a_close_mutes_and_a_ping_does_not(way, mock_clock):
    way.owed = close_frame(1001, mask=MASK)
    assert way.inject() == close_frame(1001, mask=MASK)
    assert (way.injected[CLOSE], way.muted, way.owed) == (1, True, b"")


async def test_a_ping_does_not_mute_and_counts_with_its_pong(way, mock_clock):
    way.heartbeat = Heartbeat(1.0)
    mock_clock.jump(1.0)
    way.owed = ping_frame(way.heartbeat.prepare(1.0), mask=MASK)
    way.inject()
    assert (way.injected[PING], way.injected[PONG], way.muted) == (1, 0, False)
    way.heartbeat.answered(way.heartbeat.awaited[0])
    assert (way.injected[PING], way.injected[PONG]) == (1, 1)
    assert way.take_round_trips() == (0.0,)
