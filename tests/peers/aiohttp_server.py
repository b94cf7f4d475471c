"""An echo and plain HTTP server written with aiohttp; messages that begin with "!" are orders (see `obey`)."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import WSMsgType, web
from telling import LIMIT, PROTOCOLS, REFUSALS, server_arguments, server_tls, tell

NAME = web.AppKey("name", str)
CHUNK = bytes(range(256)) * 256


async def obey(ws: web.WebSocketResponse, order: str, name: str) -> None:
    match order.split(" ", 2):
        case ["!who"]:
            await ws.send_str(name)
        case ["!close", code, reason]:
            await ws.close(code=int(code), message=reason.encode())
        case ["!ping", payload]:
            await ws.ping(payload.encode())
        case ["!fragments"]:
            await ws.send_str("fragmented")  # aiohttp sends whole messages only


async def serve_tunnel(request: web.Request) -> web.StreamResponse:
    ws = web.WebSocketResponse(protocols=PROTOCOLS, max_msg_size=LIMIT, autoping=False)
    await ws.prepare(request)
    extensions = ["permessage-deflate"] if ws.compress else []
    tell("open", path=request.path_qs, subprotocol=ws.ws_protocol, extensions=extensions)
    reason = ""
    while (message := await ws.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED):
        match message.type:
            case WSMsgType.PING:
                await ws.pong(message.data)
            case WSMsgType.PONG:
                await ws.send_str(f"pong {message.data.decode()}")
            case WSMsgType.BINARY:
                await ws.send_bytes(message.data)
            case WSMsgType.TEXT if message.data.startswith("!"):
                await obey(ws, message.data, request.app[NAME])
            case WSMsgType.TEXT:
                await ws.send_str(message.data)
            case _:
                break
    if message.type == WSMsgType.CLOSE:
        reason = message.extra or ""
    tell("close", path=request.path_qs, code=ws.close_code, reason=reason)
    return ws


async def refuse(request: web.Request) -> web.Response:
    status, body, fields = REFUSALS[request.match_info["status"]]
    return web.Response(status=status, text=body, headers=fields)


async def hash_body(request: web.Request) -> web.Response:
    digest, length = hashlib.sha256(), 0
    async for data in request.content.iter_any():
        digest.update(data)
        length += len(data)
    return web.json_response({"sha256": digest.hexdigest(), "length": length, "fields": list(request.headers.items())})


async def send_bytes(request: web.Request) -> web.StreamResponse:
    """`?n=` octets; with `&chunked=1` without a Content-Length."""
    count = int(request.query["n"])
    answer = web.StreamResponse()
    if "chunked" in request.query:
        answer.enable_chunked_encoding()
    else:
        answer.content_length = count
    await answer.prepare(request)
    if request.method != "HEAD":
        while count:
            await answer.write(CHUNK[:count])
            count -= min(count, len(CHUNK))
    await answer.write_eof()
    return answer


async def send_status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["status"]), headers={"ETag": '"e"'})


async def send_cookies(_: web.Request) -> web.Response:
    answer = web.Response(text="cookies")
    for value in ("a=1; Path=/", "b=2, with comma", "a=3"):
        answer.headers.add("Set-Cookie", value)
    return answer


async def show(request: web.Request) -> web.Response:
    fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers]
    value = {"method": request.method, "target": request.raw_path, "fields": fields, "name": request.app[NAME]}
    return web.json_response(value, headers={"X-Server": request.app[NAME]})


async def main() -> None:
    arguments = server_arguments()
    app = web.Application(client_max_size=0)
    app[NAME] = arguments.name
    app.router.add_get("/refuse/{status}", refuse)
    app.router.add_get("/ws", serve_tunnel)
    app.router.add_post("/hash", hash_body)
    app.router.add_put("/hash", hash_body)
    app.router.add_get("/bytes", send_bytes)
    app.router.add_get("/status/{status}", send_status)
    app.router.add_get("/cookies", send_cookies)
    app.router.add_route("*", "/{rest:.*}", show)
    runner = web.AppRunner(app, auto_decompress=False, keepalive_timeout=30)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port, ssl_context=server_tls(arguments))
    await site.start()
    tell("listening", port=runner.addresses[0][1])
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
