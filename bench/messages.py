"""The message relay: trio-websocket on both sides, every message put together and sent anew.

What one writes first with a WebSocket library. Plain HTTP it does not speak; `python -m bench.messages PORT
UPSTREAM_PORT`.
"""

from __future__ import annotations

import sys

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    connect_websocket,
    serve_websocket,
)

MESSAGE_BYTES = 16 * 1024 * 1024


async def copy(source: WebSocketConnection, sink: WebSocketConnection) -> None:
    try:
        while True:
            await sink.send_message(await source.get_message())
    except ConnectionClosed as closed:
        reason = closed.reason
        await sink.aclose(*((reason.code, reason.reason) if reason and reason.code < 1004 else ()))


async def main(port: int, upstream_port: int) -> None:
    async def handle(request: WebSocketRequest) -> None:
        async with trio.open_nursery() as nursery:
            upstream = await connect_websocket(
                nursery, "127.0.0.1", upstream_port, request.path, use_ssl=False, max_message_size=MESSAGE_BYTES
            )
            client = await request.accept()
            async with trio.open_nursery() as copying:
                copying.start_soon(copy, client, upstream)
                copying.start_soon(copy, upstream, client)

    async def guarded(request: WebSocketRequest) -> None:
        try:
            await handle(request)
        except* (OSError, HandshakeError, ConnectionClosed) as errors:
            print(errors.exceptions, file=sys.stderr)

    await serve_websocket(guarded, "127.0.0.1", port, None, max_message_size=MESSAGE_BYTES)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
