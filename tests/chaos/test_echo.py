"""The embedded upstream, as the process it is."""

import signal

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from trioproxy.chaos.servers import Server, listens


async def test_nothing_new_is_taken_while_it_says_goodbye():
    server = Server(0)
    try:
        await server.start()
        async with await trio.open_tcp_stream(*server.target) as stream:
            key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + key)
            assert b" 101 " in await stream.receive_some()
            server.signal(signal.SIGTERM)
            assert await stream.receive_some() == b"\x88\x02\x03\xe9"  # which this client does not answer
            assert not await listens(server.target)
    finally:
        server.close()


async def test_it_says_goodbye_when_it_is_terminated():
    server = Server(0)
    try:
        await server.start()
        async with await trio.open_tcp_stream(*server.target) as stream, trio.open_nursery() as nursery:
            websocket = await wrap_client_stream(nursery, stream, "localhost", "/")
            await websocket.send_message(b"\x00\xff")
            assert await websocket.get_message() == b"\x00\xff"
            server.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as caught:
                await websocket.get_message()
            assert caught.value.reason.code == 1001
        await server.ended()
    finally:
        server.close()
