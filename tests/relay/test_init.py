from __future__ import annotations

import sys

import trio
import trio.testing
from support.frames import MASK, TEXT, frame
from support.tls_peers import tls_between
from support.tunnels import as_socket

from trioproxy.config import WebSocketConfig
from trioproxy.errors import Reason
from trioproxy.relay import Tunnel, open_relay
from trioproxy.relay.streams import StreamsRelay
from trioproxy.tls.stream import TlsStream


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


class Sealed:
    """The far end of a `TlsStream`, for what this test does with it."""

    def __init__(self, socket, end):
        self.socket, self.end = socket, end

    async def send_all(self, data):
        await self.socket.send_all(self.end.encrypt(data))

    async def receive_some(self):
        data = b""
        while not data:
            data = self.end.decrypt(await self.socket.receive_some())
        return data

    async def aclose(self):
        await self.socket.aclose()


def tls_streams(*, to_client):
    far, near = socket_streams()
    layer, end = tls_between(to_client=to_client)
    return Sealed(far, end), TlsStream(near, layer)


async def test_the_pump_serves_sockets_and_the_portable_engine_all_else(nursery):
    relay = open_relay(nursery)
    assert relay.name == "pump"
    for pairs, by_pump in (
        ((socket_streams(), socket_streams()), True),
        ((tls_streams(to_client=True), socket_streams()), True),
        ((socket_streams(), tls_streams(to_client=False)), True),
        ((tls_streams(to_client=True), tls_streams(to_client=False)), True),
        ((tls_streams(to_client=True), trio.testing.memory_stream_pair()), False),
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
