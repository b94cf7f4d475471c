"""A reader of /api/live: server-sent events as a browser takes them, block by block. And samples made up for tests."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import attrs
import trio


@attrs.define(eq=False)
class Stream:
    """What a browser's EventSource does: blocks behind the head, apart by empty lines."""

    stream: trio.SocketStream
    head: bytes = b""
    data: bytes = b""

    async def until(self, end):
        while end not in self.data:
            received = await self.stream.receive_some()
            if not received:
                raise EOFError(self.data)
            self.data += received
        found, _, self.data = self.data.partition(end)
        return found

    async def block(self):
        """The next one: its fields, the data read as JSON."""
        text = b""
        while not text.strip():  # a chunk's size stands on a line of its own
            size = int(await self.until(b"\r\n"), 16)
            while len(self.data) < size + 2:
                self.data += await self.stream.receive_some()
            text, self.data = self.data[:size], self.data[size + 2 :]
            if not size:
                raise EOFError
        fields = dict(line.split(": ", 1) for line in text.decode().strip().splitlines() if line != ":")
        return {**fields, "data": json.loads(fields["data"])} if fields else {}

    async def next(self, kind, where=lambda _data: True):
        """What the next block of this kind says, of those that the test looks for."""
        while True:
            block = await self.block()
            if block.get("event") == kind and where(block["data"]):
                return block["data"]


@asynccontextmanager
async def following(address, **headers):
    host, _, port = address.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        fields = {"host": address, **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await stream.send_all(f"GET /api/live HTTP/1.1\r\n{lines}\r\n".encode())
        followed = Stream(stream)
        followed.head = await followed.until(b"\r\n\r\n")
        yield followed


def sample(**changed):
    """What a busy proxy tells in some second."""
    return {
        "time": 1790000000.0,
        "state": "running",
        "tunnels": 1240,
        "connections": 1300,
        "messages_per_second": {"to_upstream": 60.0, "to_client": 902.1},
        "bytes_per_second": {"to_upstream": 4096.0, "to_client": 731002.0},
        "requests_per_second": 3.0,
        "handshakes_per_second": {"accepted": 2.0, "failed": 0.5},
        "handshake_seconds": {"p50": 0.0018, "p99": 0.0049},
        "endings_per_second": {"idle": 1.0, "done": 20.5},
        "pools": [],
        **changed,
    }


def upstream(address, **changed):
    """One of its upstreams."""
    return {
        "address": address,
        "state": "up",
        "health": "up",
        "drain": None,
        "ejection": None,
        "weight": 1,
        "backup": False,
        "active": 12,
        "tunnels": 11,
        "messages_per_second": {"to_upstream": 30.0, "to_client": 451.0},
        "bytes_per_second": {"to_upstream": 2048.0, "to_client": 365501.0},
        "last_probe": {"when": 1790000000.0, "result": "ok", "seconds": 0.0004, "detail": ""},
        **changed,
    }
