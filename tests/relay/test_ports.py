from __future__ import annotations

import gc
import weakref

import pytest
import trio
import trio.testing
from support.tunnels import tcp_pair

from trioproxy.config import WebSocketConfig
from trioproxy.relay import Tunnel
from trioproxy.relay.ports import Link


def tunnel_over(client, upstream):
    return Tunnel(client, upstream, settings=WebSocketConfig(), extensions=False, idle_timeout=60, close_timeout=5)


async def test_only_open_sockets_can_be_borrowed():
    near, far = await tcp_pair()
    memory, _ = trio.testing.memory_stream_pair()
    with near, far:
        stream = trio.SocketStream(near)
        with pytest.raises(TypeError, match="sockets only"):
            Link.borrow(tunnel_over(stream, memory))
        closed = trio.SocketStream(far)
        await closed.aclose()
        with pytest.raises(trio.ClosedResourceError):
            Link.borrow(tunnel_over(stream, closed))
        await stream.send_all(b"")  # still open


async def test_what_was_borrowed_is_given_back_open_and_freed_at_once():
    near, far = await tcp_pair()
    with near, far:
        link = Link.borrow(tunnel_over(trio.SocketStream(near), trio.SocketStream(far)))
        assert link.client.fd == near.fileno()
        assert link.client.peer is link.upstream
        gone = weakref.ref(link.tunnel.to_client)
        gc.disable()
        try:
            link.give_back()
            del link
            assert gone() is None
        finally:
            gc.enable()
        await near.send(b"x")
        assert await far.recv(1) == b"x"
