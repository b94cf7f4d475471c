"""The decisions, without any engine. Their consequences on the wire are in the contract suite."""

from __future__ import annotations

import math

import pytest
import trio
from support.frames import BINARY, CLOSE, MASK, TEXT, close_payload, frame

from trioproxy.config import WebSocketConfig
from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.relay.tunnel import Tunnel


@pytest.fixture
async def tunnel():
    return Tunnel(None, None, settings=WebSocketConfig(), extensions=False, idle_timeout=60, close_timeout=5)


def digest(tunnel, way, data):
    data = way.held + data
    end, injection = tunnel.digest(way, data, 0, len(data))
    tunnel.settle()
    return data[:end] + injection


async def test_bytes_pass_but_an_incomplete_header_is_held(tunnel):
    sent = frame(TEXT, b"hi", mask=MASK)
    assert digest(tunnel, tunnel.to_upstream, sent + sent[:5]) == sent
    assert tunnel.to_upstream.held == sent[:5]
    assert digest(tunnel, tunnel.to_upstream, sent[5:]) == sent
    assert not tunnel.over


async def test_a_close_waits_for_the_first_boundary_inside_a_read(tunnel):
    way, sent = tunnel.to_client, frame(BINARY, bytes(100))
    assert digest(tunnel, way, sent[:50]) == sent[:50]
    tunnel.close(1012, Reason.DRAINING)
    assert not way.due
    assert digest(tunnel, way, sent[50:90]) == sent[50:90]
    assert digest(tunnel, way, sent[90:] + sent + sent[:7]) == sent[90:] + frame(CLOSE, close_payload(1012))
    assert digest(tunnel, way, sent[7:]) == b""
    assert (way.traffic.frames[BINARY], way.traffic.injected[CLOSE], way.messages) == (3, 1, 3)
    assert tunnel.sent_code == 1012


async def test_a_breach_while_a_close_is_due_adds_none(tunnel):
    tunnel.close(1012, Reason.DRAINING)
    assert digest(tunnel, tunnel.to_client, b"\xff\xff") == frame(CLOSE, close_payload(1012))
    assert tunnel.to_upstream.owed
    assert tunnel.ending.reason is Reason.DRAINING


async def test_the_deadline_runs_from_the_last_step(tunnel, autojump_clock):
    close = frame(CLOSE, close_payload(1000))
    digest(tunnel, tunnel.to_client, close)
    await trio.sleep(4)
    digest(tunnel, tunnel.to_upstream, frame(CLOSE, close_payload(1000), mask=MASK))
    await trio.sleep(4)
    assert not tunnel.tick(trio.current_time())
    await trio.sleep(1)
    assert tunnel.tick(trio.current_time())
    assert tunnel.to_client.fin and tunnel.to_upstream.fin
    await trio.sleep(1)
    assert tunnel.tick(trio.current_time())
    assert tunnel.over
    assert tunnel.ending == Ending(Source.UPSTREAM, Phase.CLOSE, Reason.DONE, "close 1000")


async def test_nothing_happens_to_a_tunnel_in_use(tunnel, mock_clock):
    tunnel.to_client.active = 100.0
    assert not tunnel.tick(159.0)
    assert tunnel.tick(160.0)
    assert tunnel.to_client.owed and tunnel.to_upstream.owed
    assert tunnel.ending.reason is Reason.IDLE


async def test_a_lost_sink_without_an_end_is_a_reset_by_its_side(tunnel, autojump_clock):
    tunnel.sink_lost(tunnel.to_client)
    tunnel.settle()
    assert tunnel.to_client.stalled == math.inf
    await trio.sleep(5)
    assert tunnel.tick(trio.current_time())
    assert (tunnel.ending.by, tunnel.ending.reason) == (Source.CLIENT, Reason.RESET)


async def test_a_cut_after_the_handshake_leaves_it_done(tunnel):
    digest(tunnel, tunnel.to_client, frame(CLOSE, close_payload(1000)))
    digest(tunnel, tunnel.to_upstream, frame(CLOSE, close_payload(1000), mask=MASK))
    tunnel.cut()
    assert tunnel.over
    assert tunnel.ending.reason is Reason.DONE
    assert tunnel.to_client.reset and tunnel.to_upstream.reset
