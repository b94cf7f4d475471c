"""A reader of /api/live: server-sent events as a browser takes them, block by block."""

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
