from __future__ import annotations

import sys

import trio
import trio.testing
from support.frames import MASK, TEXT, frame
from support.tunnels import as_socket

from trioproxy.config import WebSocketConfig
from trioproxy.errors import Reason
from trioproxy.relay import Tunnel, open_relay
from trioproxy.relay.streams import StreamsRelay


async def run(relay, tunnel):
    await relay.run(tunnel)


async def relay_a_frame(relay, client, upstream, near_client, near_upstream):
    tunnel = Tunnel(
        near_client, near_upstream, settings=WebSocketConfig(), extensions=False, idle_timeout=60, close_timeout=5
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, relay, tunnel)
        sent = frame(TEXT, b"hello", mask=MASK)
        await client.send_all(sent)
        assert await upstream.receive_some() == sent
        tunnel.cut()
    assert tunnel.ending.reason is Reason.CUT
    for stream in (client, upstream, near_client, near_upstream):
        await trio.aclose_forcefully(stream)


def socket_streams():
    return [as_socket(sock) for sock in trio.socket.socketpair()]


async def test_the_pump_serves_sockets_and_the_portable_engine_all_else(nursery):
    relay = open_relay(nursery)
    assert relay.name == "pump"
    for pairs, by_pump in (
        ((socket_streams(), socket_streams()), True),
        ((trio.testing.memory_stream_pair(), socket_streams()), False),
        ((trio.testing.memory_stream_pair(), trio.testing.memory_stream_pair()), False),
    ):
        before = relay.fast.turns
        (client, near_client), (upstream, near_upstream) = pairs
        await relay_a_frame(relay, client, upstream, near_client, near_upstream)
        assert (relay.fast.turns > before) is by_pump
    nursery.cancel_scope.cancel()


async def test_where_there_is_no_epoll_the_portable_engine_serves_all(nursery, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(open_relay(nursery), StreamsRelay)
