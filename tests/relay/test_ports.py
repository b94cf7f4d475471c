from __future__ import annotations

import gc
import weakref

import pytest
import trio
import trio.testing
from support.tls_peers import tls_between
from support.tunnels import as_socket, tcp_pair

from trioproxy.config import WebSocketConfig
from trioproxy.relay import Tunnel
from trioproxy.relay.ports import Link
from trioproxy.tls.stream import TlsStream


class Lender:
    def let_go(self, link):
        link.give_back()


LENDER = Lender()


def tunnel_over(client, upstream):
    return Tunnel(client, upstream, settings=WebSocketConfig(), extensions=False, idle_timeout=60, close_timeout=5)


async def test_only_open_sockets_can_be_borrowed():
    near, far = await tcp_pair()
    memory, _ = trio.testing.memory_stream_pair()
    async with as_socket(near) as stream, as_socket(far) as closed:
        with pytest.raises(TypeError, match="sockets only"):
            Link.borrow(tunnel_over(stream, memory), LENDER)
        await closed.aclose()
        with pytest.raises(trio.ClosedResourceError):
            Link.borrow(tunnel_over(stream, closed), LENDER)
        assert stream.fileno() >= 0


async def test_what_was_borrowed_is_given_back_open_once_and_freed_at_once():
    near, far = await tcp_pair()
    async with as_socket(near) as near, as_socket(far) as far:
        link = Link.borrow(tunnel_over(near, far), LENDER)
        assert link.client.fd == near.fileno()
        assert link.client.peer is link.upstream
        gone = weakref.ref(link.tunnel.to_client)
        gc.disable()
        try:
            link.give_back()
            link.give_back()
            del link
            assert gone() is None
        finally:
            gc.enable()
        await near.send_all(b"x")
        assert await far.receive_some(1) == b"x"


async def test_of_a_stream_with_tls_the_socket_and_the_layer_are_borrowed():
    near, far = await tcp_pair()
    layer, _ = tls_between(to_client=True)
    layer.decrypt_into(memoryview(b""), memoryview(bytearray(100)))
    async with TlsStream(as_socket(near), layer) as near, as_socket(far) as far:
        link = Link.borrow(tunnel_over(near, far), LENDER)
        assert (link.client.fd, link.client.tls, link.upstream.tls) == (near.fileno(), layer, None)
        assert link.client.sealed and link.upstream.sealed
        assert not link.client.left_over
        layer.feed(b"\x17")
        assert link.client.left_over
        link.give_back()
        assert not layer.closed
