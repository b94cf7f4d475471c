"""The upstream of the hostile run, a program: llhttp reads what the proxy forwards, and every so often the answer is spoilt.

`python upstream.py SEED` says its port in its first line; at SIGTERM, in its last, what it has seen, as JSON.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import signal
import sys
from pathlib import Path

import httptools

sys.path.insert(0, str(Path(__file__).parent.parent))

from hostile.mutations import Mutator

SHARE_SPOILT = 0.1
CLOSE_SECONDS = 0.02  # behind a spoilt answer: it may have been none, and nobody is to wait for the rest
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Seen:
    """What came over all connections."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.mutator = Mutator(dice)
        self.requests = self.upgrades = self.spoilt = 0
        self.unclean: list[str] = []


class Connection(asyncio.Protocol):
    """One of the proxy's connections; also what llhttp calls."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._parser = httptools.HttpRequestParser(self)
        self._key = b""
        self._upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._upgraded:
            self._transport.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgraded = True
            self._accept()
        except httptools.HttpParserError as error:
            self._seen.unclean.append(f"{error}: {data[:500]!r}")
            self._transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"sec-websocket-key":
            self._key = value

    def on_message_complete(self) -> None:
        seen = self._seen
        seen.requests += 1
        if self._parser.should_upgrade():
            return
        if seen.dice.random() >= SHARE_SPOILT:
            self._transport.write(FINE)
            return
        seen.spoilt += 1
        self._transport.write(seen.mutator.answer())
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._transport.close)

    def _accept(self) -> None:
        self._seen.upgrades += 1
        accept = base64.b64encode(hashlib.sha1(self._key + GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
        self._transport.write(head % accept + b"\x81\x02hi")


async def serve(seed: int) -> None:
    loop = asyncio.get_running_loop()
    seen = Seen(random.Random(seed))
    server = await loop.create_server(lambda: Connection(seen), "127.0.0.1", 0, backlog=4096)
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, done.set)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 -- the program's output
    await done.wait()
    server.close()
    told = {"requests": seen.requests, "upgrades": seen.upgrades, "spoilt": seen.spoilt, "unclean": seen.unclean[:20]}
    print(json.dumps(told), flush=True)  # noqa: T201 -- the program's output


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
