"""The embedded upstream, a process of its own so that it can be killed: it sends back what it gets.

`python -m trioproxy.chaos.echo PORT`, on loopback. SIGTERM closes its tunnels with 1001 and ends it.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from functools import partial
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

HOST: Final = "127.0.0.1"
GOING_AWAY: Final = 1001
_MOST: Final = 64 * 1024**2  # bytes of a message
_GOODBYE_SECONDS: Final = 2.0


async def serve(port: int) -> None:
    """Until SIGTERM or SIGINT: who comes then is refused, and who is there is told."""
    open_tunnels: set[WebSocketConnection] = set()

    async def echo(request: WebSocketRequest) -> None:
        websocket = await request.accept()
        open_tunnels.add(websocket)
        try:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await websocket.send_message(await websocket.get_message())
        finally:
            open_tunnels.discard(websocket)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as tunnels:
            listening = partial(
                serve_websocket, echo, HOST, port, None, max_message_size=_MOST, handler_nursery=tunnels
            )
            async with trio.open_nursery() as listener:
                await listener.start(listening)
                async for _ in signals:
                    break
                listener.cancel_scope.cancel()
            with trio.move_on_after(_GOODBYE_SECONDS):
                async with trio.open_nursery() as goodbye:
                    for websocket in open_tunnels:
                        goodbye.start_soon(_close, websocket)
            tunnels.cancel_scope.cancel()


async def _close(websocket: WebSocketConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await websocket.aclose(GOING_AWAY)


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]))
