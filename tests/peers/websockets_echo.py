"""A plain echo server written with `websockets` as it comes, compression and all; for peers that judge each frame."""

from __future__ import annotations

import asyncio

from telling import server_arguments, tell
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def echo(ws: ServerConnection) -> None:
    try:
        async for message in ws:
            await ws.send(message)
    except ConnectionClosed:
        pass


async def main() -> None:
    arguments = server_arguments()
    options = {"max_size": None, "ping_interval": None, "server_header": f"websockets {arguments.name}"}
    async with serve(echo, "127.0.0.1", arguments.port, **options) as server:
        tell("listening", port=server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
