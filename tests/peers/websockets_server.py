"""An echo server written with `websockets`; messages that begin with "!" are orders (see `obey`)."""

from __future__ import annotations

import asyncio
import http

from telling import LIMIT, PROTOCOLS, REFUSALS, server_arguments, server_tls, tell
from websockets.asyncio.server import Response, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed


async def obey(ws: ServerConnection, order: str, name: str) -> None:
    match order.split(" ", 2):
        case ["!who"]:
            await ws.send(name)
        case ["!close", code, reason]:
            await ws.close(int(code), reason)
        case ["!ping", payload]:
            await (await ws.ping(payload))
            await ws.send(f"pong {payload}")
        case ["!fragments"]:
            await ws.send(["frag", "men", "ted"])


async def main() -> None:
    arguments = server_arguments()

    async def serve_one(ws: ServerConnection) -> None:
        extensions = [extension.name for extension in ws.protocol.extensions]
        tell("open", path=ws.request.path, subprotocol=ws.subprotocol, extensions=extensions)
        try:
            async for message in ws:
                if isinstance(message, str) and message.startswith("!"):
                    await obey(ws, message, arguments.name)
                else:
                    await ws.send(message)
        except ConnectionClosed:
            pass
        await ws.wait_closed()
        tell("close", path=ws.request.path, code=ws.close_code, reason=ws.close_reason)

    def refuse(_: ServerConnection, request: object) -> Response | None:
        if not request.path.startswith("/refuse/"):
            return None
        status, body, fields = REFUSALS[request.path.removeprefix("/refuse/")]
        fields = [*fields, ("Content-Length", str(len(body))), ("Connection", "close")]
        return Response(status, http.HTTPStatus(status).phrase, Headers(fields), body.encode())

    def choose(_: ServerConnection, offered: list[str]) -> str | None:
        return next((name for name in PROTOCOLS if name in offered), None)  # the library's own refuses who offers none

    options = {"select_subprotocol": choose, "max_size": LIMIT, "process_request": refuse, "ping_interval": None}
    options["ssl"] = server_tls(arguments)
    async with serve(serve_one, "127.0.0.1", arguments.port, **options) as server:
        tell("listening", port=server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
