"""A client written with aiohttp: goes through every kind of message and ending, and reports what it saw."""

from __future__ import annotations

import asyncio
import hashlib

import aiohttp
from telling import LIMIT, MEGABYTES_16, PROTOCOLS, REFUSALS, client_arguments, report

SHOWN = {"www-authenticate", "x-reason", "location", "sec-websocket-version"}


async def talk(session: aiohttp.ClientSession, url: str, window: int) -> dict[str, object]:
    seen: dict[str, object] = {}
    async with session.ws_connect(f"{url}/ws", compress=window, protocols=PROTOCOLS, max_msg_size=LIMIT) as ws:
        seen["subprotocol"] = ws.protocol
        seen["deflate"] = ws.compress
        for name, text in {"text": "Grüße, 世界 🌍", "empty": ""}.items():
            await ws.send_str(text)
            seen[name] = await ws.receive_str()
        for name, data in {"binary": bytes(range(256)), "empty binary": b"", "one octet": b"x"}.items():
            await ws.send_bytes(data)
            seen[name] = (await ws.receive_bytes()).hex()
        big = bytes(range(256)) * (MEGABYTES_16 // 256)
        await ws.send_bytes(big)
        seen["16 MiB"] = hashlib.sha256(await ws.receive_bytes()).hexdigest()
        await ws.send_str("!ping there")
        seen["server's ping"] = await ws.receive_str()
        await ws.send_str("!fragments")
        seen["server's fragments"] = await ws.receive_str()
        await ws.close(code=1000, message=b"enough")
        seen["own close"] = ws.close_code
    return seen


async def own_ping(session: aiohttp.ClientSession, url: str) -> str:
    async with session.ws_connect(f"{url}/ws", autoping=False) as ws:
        await ws.ping(b"here")
        message = await ws.receive()
        return f"{message.type.name} {bytes(message.data)!r}"


async def ending(session: aiohttp.ClientSession, url: str, order: str) -> list[object]:
    """How the tunnel ends if this order is the last message."""
    async with session.ws_connect(f"{url}/ws") as ws:
        await ws.send_str(order)
        message = await ws.receive()
        return [message.type.name, ws.close_code, message.extra]


async def leaving(session: aiohttp.ClientSession, url: str, code: int, reason: str) -> object:
    async with session.ws_connect(f"{url}/ws") as ws:
        await ws.close(code=code, message=reason.encode())
        return ws.close_code


async def refusal(session: aiohttp.ClientSession, url: str, status: str) -> list[object]:
    """Asks for the upgrade by hand: `ws_connect` does not hand out the body of a refusal."""
    fields = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with session.get(f"{url}/refuse/{status}", headers=fields, allow_redirects=False) as answer:
        shown = sorted((k.lower(), v) for k, v in answer.headers.items() if k.lower() in SHOWN)
        return [answer.status, await answer.text(), shown]


async def until_cut(session: aiohttp.ClientSession, url: str) -> None:
    async with session.ws_connect(f"{url}/ws") as ws:
        report("open")
        await ws.receive()
        report(ws.close_code)


async def everything(session: aiohttp.ClientSession, url: str) -> dict[str, object]:
    return {
        "plain": await talk(session, url, 0),
        "deflate": await talk(session, url, 15),
        "own ping": await own_ping(session, url),
        "leave 1000": await leaving(session, url, 1000, "thanks"),
        "leave 4000": await leaving(session, url, 4000, "application's own"),
        "sent away 1000": await ending(session, url, "!close 1000 bye"),
        "sent away 4000": await ending(session, url, "!close 4000 application's own"),
        "refusals": [await refusal(session, url, status) for status in REFUSALS],
    }


async def main() -> None:
    url, scenario = client_arguments()
    url = url.replace("ws://", "http://")
    async with aiohttp.ClientSession() as session:
        if scenario == "until-cut":
            await until_cut(session, url)
        else:
            report(await everything(session, url))


asyncio.run(main())
