"""A small HTTP/1.1 client that shows exactly what came: raw request bytes out, the answer's fields in order in.

It is no part of the program under test and shares no code with it, so that a mistake cannot cancel itself out.
"""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

READ_BYTES = 256 * 1024
NO_BODY = {204, 304}


def split_address(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


async def dial(address: str) -> trio.SocketStream:
    """A stream to `host:port`, `[v6]:port` or `unix:/path`."""
    if address.startswith("unix:"):
        sock = trio.socket.socket(socket.AF_UNIX)
        try:
            await sock.connect(address.removeprefix("unix:"))
        except OSError:
            sock.close()
            raise
        return trio.SocketStream(sock)
    return await trio.open_tcp_stream(*split_address(address))


def reset(stream: trio.SocketStream) -> None:
    """Closes with RST: SO_LINGER of zero seconds."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@attrs.frozen
class Head:
    """A start line and its fields, as received."""

    start: bytes
    fields: tuple[tuple[bytes, bytes], ...]

    def all(self, name: bytes) -> list[bytes]:
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None

    @property
    def names(self) -> list[bytes]:
        return [name.lower() for name, _ in self.fields]


@attrs.frozen
class Answer(Head):
    """A whole answer; `interim` are the 1xx heads that came before it."""

    body: bytes = b""
    interim: tuple[Head, ...] = ()

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])


def parse_head(raw: bytes) -> Head:
    start, *lines = raw.split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    return Head(start, tuple((name, value.strip()) for name, _, value in pairs))


@attrs.define(eq=False)
class HttpConnection:
    """One connection, either side: bytes out, heads and bodies in. Reading past the end raises ConnectionError."""

    stream: trio.abc.HalfCloseableStream
    buffer: bytearray = attrs.Factory(bytearray)
    was_reset: bool = False

    async def send(self, data: bytes) -> None:
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError as error:
            # The kernel tells of a reset once, to whoever comes first; reading would then find an end like any other.
            self.was_reset = self.was_reset or isinstance(error.__cause__, ConnectionResetError)
            raise

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError as error:
            raise ConnectionResetError(f"reset after {bytes(self.buffer[:200])!r}") from error
        if not data and self.was_reset:
            raise ConnectionResetError(f"reset before {bytes(self.buffer[:200])!r} was read")
        if not data:
            raise ConnectionError(f"closed after {bytes(self.buffer[:200])!r}")
        self.buffer += data

    async def take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            await self._more()
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    async def take_until(self, mark: bytes) -> bytes:
        while (end := self.buffer.find(mark)) < 0:
            await self._more()
        return (await self.take(end + len(mark)))[: -len(mark)]

    async def head(self) -> Head:
        return parse_head(await self.take_until(b"\r\n\r\n"))

    async def chunked(self) -> bytes:
        body = bytearray()
        while size := int((await self.take_until(b"\r\n")).split(b";")[0], 16):
            body += await self.take(size)
            assert await self.take(2) == b"\r\n"
        while await self.take_until(b"\r\n"):
            pass
        return bytes(body)

    async def rest(self) -> bytes:
        """Everything until the peer's FIN."""
        try:
            while True:
                await self._more()
        except ConnectionResetError:
            raise
        except ConnectionError:
            return await self.take(len(self.buffer))

    async def body(self, head: Head) -> bytes:
        """A message's body where its fields frame one; a request without framing has none."""
        if b"chunked" in [value.lower() for value in head.all(b"transfer-encoding")]:
            return await self.chunked()
        length = head.get(b"content-length")
        return await self.take(int(length)) if length is not None else b""

    async def answer(self, method: bytes = b"GET") -> Answer:
        interim = []
        while (head := await self.head()).start.split(b" ")[1].startswith(b"1") and b" 101" not in head.start:
            interim.append(head)
        status = int(head.start.split(b" ")[1])
        framed = {b"content-length", b"transfer-encoding"} & set(head.names)
        if method == b"HEAD" or status in NO_BODY or status == 101:
            body = b""
        else:
            body = await (self.body(head) if framed else self.rest())
        return Answer(head.start, head.fields, body, tuple(interim))

    async def at_end(self) -> bool:
        """True when nothing but the peer's FIN follows."""
        return await self.rest() == b""


@asynccontextmanager
async def connection(address: str) -> AsyncIterator[HttpConnection]:
    async with await dial(address) as stream:
        yield HttpConnection(stream)


async def ask(address: str, raw: bytes, *, method: bytes | None = None) -> Answer:
    """Sends `raw` on a connection of its own and reads one answer."""
    async with connection(address) as http:
        await http.send(raw)
        return await http.answer(method or raw.split(b" ", 1)[0])


def get_request(path: str = "/", *lines: str, method: str = "GET", host: str = "a.test") -> bytes:
    """A request head without a body of its own; `lines` are further field lines."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode("latin-1")


async def get(address: str, path: str = "/", *lines: str) -> Answer:
    return await ask(address, get_request(path, *lines))
