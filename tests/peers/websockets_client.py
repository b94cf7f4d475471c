"""A client written with `websockets`: goes through every kind of message and ending, and reports what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

from telling import LIMIT, MEGABYTES_16, PROTOCOLS, REFUSALS, client_arguments, report
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

SHOWN = {"www-authenticate", "x-reason", "location", "sec-websocket-version"}


def open_tunnel(url: str, **options: object) -> connect:
    return connect(f"{url}/ws", max_size=LIMIT, ping_interval=None, proxy=None, **options)


async def talk(url: str, compression: str | None) -> dict[str, object]:
    seen: dict[str, object] = {}
    async with open_tunnel(url, compression=compression, subprotocols=PROTOCOLS[1:]) as ws:
        seen["subprotocol"] = ws.subprotocol
        seen["extensions"] = ws.response.headers.get_all("Sec-WebSocket-Extensions")
        for name, message in {
            "text": "Grüße, 世界 🌍",
            "binary": bytes(range(256)),
            "empty": "",
            "empty binary": b"",
            "one octet": b"x",
            "fragments": ["in ", "three ", "parts"],
        }.items():
            await ws.send(message)
            reply = await ws.recv()
            seen[name] = reply if isinstance(reply, str) else reply.hex()
        big = bytes(range(256)) * (MEGABYTES_16 // 256)
        await ws.send(big)
        seen["16 MiB"] = hashlib.sha256(await ws.recv()).hexdigest()
        await asyncio.wait_for(await ws.ping(b"here"), 10)
        await ws.send("!ping there")
        seen["server's ping"] = await ws.recv()
        await ws.send("!fragments")
        seen["server's fragments"] = await ws.recv()
        await ws.close(1000, "enough")
        seen["own close"] = [ws.close_code, ws.close_reason]
    return seen


async def ending(url: str, order: str) -> list[object]:
    """How the tunnel ends if this order is the last message."""
    async with open_tunnel(url) as ws:
        await ws.send(order)
        with contextlib.suppress(ConnectionClosed):
            await ws.recv()
        return [ws.close_code, ws.close_reason]


async def leaving(url: str, code: int, reason: str) -> list[object]:
    async with open_tunnel(url) as ws:
        await ws.close(code, reason)
        return [ws.close_code, ws.close_reason]


async def refusal(url: str, status: str) -> list[object]:
    try:
        async with connect(f"{url}/refuse/{status}", proxy=None, process_exception=lambda error: error):
            return ["accepted"]
    except InvalidStatus as error:
        response = error.response
        fields = sorted((k.lower(), v) for k, v in response.headers.raw_items() if k.lower() in SHOWN)
        return [response.status_code, response.body.decode(), fields]
    except Exception as error:  # noqa: BLE001 - a followed redirect ends in one of several
        return [type(error).__name__]


async def until_cut(url: str) -> None:
    async with open_tunnel(url) as ws:
        report("open")
        with contextlib.suppress(ConnectionClosed):
            await ws.recv()
        await ws.wait_closed()
        report(ws.close_code)


async def everything(url: str) -> dict[str, object]:
    return {
        "plain": await talk(url, None),
        "deflate": await talk(url, "deflate"),
        "leave 1000": await leaving(url, 1000, "thanks"),
        "leave 4000": await leaving(url, 4000, "application's own"),
        "sent away 1000": await ending(url, "!close 1000 bye"),
        "sent away 4000": await ending(url, "!close 4000 application's own"),
        "refusals": [await refusal(url, status) for status in REFUSALS if status != "302"],
    }


async def main() -> None:
    url, scenario = client_arguments()
    if scenario == "until-cut":
        await until_cut(url)
    else:
        report(await everything(url))


asyncio.run(main())
