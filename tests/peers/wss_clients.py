"""Says something over wss:// with `websockets` and with `aiohttp`, and in JSON what came back and how it ended."""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp
from telling import report
from websockets.asyncio.client import connect

MESSAGES = ["Grüße", "", "x" * 300_000]


async def by_websockets(url: str, context: ssl.SSLContext) -> list[object]:
    async with connect(url, ssl=context, proxy=None, max_size=None) as ws:
        echoed = []
        for message in MESSAGES:
            await ws.send(message)
            echoed.append(await ws.recv() == message)
        await ws.close(1000)
        return [echoed, ws.close_code]


async def by_aiohttp(url: str, context: ssl.SSLContext) -> list[object]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url, ssl=context, max_msg_size=0) as ws:
        echoed = []
        for message in MESSAGES:
            await ws.send_str(message)
            echoed.append(await ws.receive_str() == message)
        await ws.close()
        return [echoed, ws.close_code]


async def main() -> None:
    url, authority = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    report([await talk(url, context) for talk in (by_websockets, by_aiohttp)])


asyncio.run(main())
