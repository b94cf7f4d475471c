"""The embedded upstream, as the process it is."""

import signal

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from trioproxy.chaos.servers import Server


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
