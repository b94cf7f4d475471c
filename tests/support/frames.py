"""Hand-made WebSocket frames and a bare client and server end, to see the very octets that pass.

Shares no code with the program under test; real libraries talk through the proxy in `tests/peers`.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
from support.http_client import Head, HttpConnection, dial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MASK = b"\x12\x34\x56\x78"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def masked(payload: bytes, mask: bytes) -> bytes:
    """XOR with the repeated mask; its own inverse."""
    size = len(payload)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes | None = None, rsv: int = 0) -> bytes:
    head = bytearray([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if mask else 0
    if len(payload) < 126:
        head.append(bit | len(payload))
    elif len(payload) < 65536:
        head.append(bit | 126)
        head += len(payload).to_bytes(2, "big")
    else:
        head.append(bit | 127)
        head += len(payload).to_bytes(8, "big")
    return bytes(head) + (mask + masked(payload, mask) if mask else payload)


def close_payload(code: int, reason: str = "") -> bytes:
    return code.to_bytes(2, "big") + reason.encode()


@attrs.frozen
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big")


@attrs.define(eq=False)
class WebSocket:
    """One end of a tunnel after its handshake: raw frames out, parsed frames in."""

    http: HttpConnection
    head: Head
    mask: bytes | None = MASK  # None on the server's side

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        await self.http.send(frame(opcode, payload, fin=fin, mask=self.mask))

    async def receive(self) -> Frame:
        first, second = await self.http.take(2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self.http.take(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.http.take(8), "big")
        mask = await self.http.take(4) if second & 0x80 else b""
        payload = await self.http.take(length)
        if mask:
            payload = masked(payload, mask)
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7, bool(mask))

    async def echo(self, payload: bytes) -> bytes:
        await self.send(BINARY, payload)
        return (await self.receive()).payload

    async def close(self, code: int = 1000) -> None:
        """The whole closing handshake from this side: Close out, Close in, then the peer's FIN."""
        await self.send(CLOSE, close_payload(code))
        reply = await self.receive()
        assert reply.close_code == code, reply
        assert await self.http.at_end()


def upgrade_request(path: str = "/", *lines: str, host: str = "a.test", key: bytes = KEY) -> bytes:
    fields = [f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key.decode()}"]
    return "\r\n".join([f"GET {path} HTTP/1.1", *fields, "Sec-WebSocket-Version: 13", *lines, "", ""]).encode("latin-1")


def upgrade_answer(request: Head, *lines: str) -> bytes:
    key = request.get(b"sec-websocket-key")
    assert key is not None
    fields = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept_key(key).decode()}"]
    return "\r\n".join(["HTTP/1.1 101 Switching Protocols", *fields, *lines, "", ""]).encode("latin-1")


async def open_websocket(address: str, path: str = "/", *lines: str) -> WebSocket:
    """A client's end; AssertionError with the answer if it is not a 101."""
    return await upgraded(HttpConnection(await dial(address)), path, *lines)


async def upgraded(http: HttpConnection, path: str = "/", *lines: str) -> WebSocket:
    """The same on a connection that is there already."""
    try:
        await http.send(upgrade_request(path, *lines))
        head = await http.head()
        if b" 101 " not in head.start + b" ":
            raise AssertionError(f"refused: {head}")
    except BaseException:
        await http.stream.aclose()
        raise
    return WebSocket(http, head)


@asynccontextmanager
async def websocket(address: str, path: str = "/", *lines: str) -> AsyncIterator[WebSocket]:
    end = await open_websocket(address, path, *lines)
    async with end.http.stream:
        yield end
