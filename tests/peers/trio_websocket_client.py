"""A client written with trio-websocket: goes through every kind of message and ending, and reports what it saw."""

from __future__ import annotations

import hashlib

import trio
from telling import LIMIT, MEGABYTES_16, PROTOCOLS, REFUSALS, client_arguments, report
from trio_websocket import ConnectionClosed, ConnectionRejected, open_websocket_url

SHOWN = {b"www-authenticate", b"x-reason", b"location", b"sec-websocket-version"}


async def talk(url: str) -> dict[str, object]:
    seen: dict[str, object] = {}
    async with open_websocket_url(f"{url}/ws", subprotocols=PROTOCOLS, max_message_size=LIMIT) as ws:
        seen["subprotocol"] = ws.subprotocol
        for name, message in {
            "text": "Grüße, 世界 🌍",
            "binary": bytes(range(256)),
            "empty": "",
            "empty binary": b"",
            "one octet": b"x",
        }.items():
            await ws.send_message(message)
            reply = await ws.get_message()
            seen[name] = reply if isinstance(reply, str) else reply.hex()
        big = bytes(range(256)) * (MEGABYTES_16 // 256)
        await ws.send_message(big)
        seen["16 MiB"] = hashlib.sha256(await ws.get_message()).hexdigest()
        await ws.ping(b"here")
        await ws.send_message("!ping there")
        seen["server's ping"] = await ws.get_message()
        await ws.send_message("!fragments")
        seen["server's fragments"] = await ws.get_message()
        await ws.aclose(1000, "enough")
        seen["own close"] = [ws.closed.code, ws.closed.reason]
    return seen


async def ending(url: str, order: str) -> list[object]:
    """How the tunnel ends if this order is the last message."""
    async with open_websocket_url(f"{url}/ws") as ws:
        await ws.send_message(order)
        try:
            await ws.get_message()
        except ConnectionClosed as error:
            return [error.reason.code, error.reason.reason]
        return ["not closed"]


async def leaving(url: str, code: int, reason: str) -> list[object]:
    async with open_websocket_url(f"{url}/ws") as ws:
        await ws.aclose(code, reason)
        return [ws.closed.code, ws.closed.reason]


async def refusal(url: str, status: str) -> list[object]:
    try:
        async with open_websocket_url(f"{url}/refuse/{status}"):
            return ["accepted"]
    except ConnectionRejected as error:
        shown = sorted((k.decode().lower(), v.decode()) for k, v in error.headers if k.lower() in SHOWN)
        return [error.status_code, shown]  # trio-websocket drops what it has not read of the body


async def until_cut(url: str) -> None:
    async with open_websocket_url(f"{url}/ws") as ws:
        report("open")
        try:
            await ws.get_message()
        except ConnectionClosed as error:
            report(error.reason.code if error.reason else 1006)


async def everything(url: str) -> dict[str, object]:
    return {
        "plain": await talk(url),
        "leave 1000": await leaving(url, 1000, "thanks"),
        "leave 4000": await leaving(url, 4000, "application's own"),
        "sent away 1000": await ending(url, "!close 1000 bye"),
        "sent away 4000": await ending(url, "!close 4000 application's own"),
        "refusals": [await refusal(url, status) for status in REFUSALS],
    }


async def main() -> None:
    url, scenario = client_arguments()
    if scenario == "until-cut":
        await until_cut(url)
    else:
        report(await everything(url))


trio.run(main)
