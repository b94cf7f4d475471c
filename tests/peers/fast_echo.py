"""A bare echo server for load: a handshake, then every data frame back unmasked, written for speed.

Its 101 names it in `X-Server`. It shows nothing about compatibility; the servers written with libraries do.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

from telling import server_arguments, tell

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BACKLOG = 4096
CLOSE, PING, PONG = 8, 9, 10


def answer(head: bytes, name: str) -> bytes:
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
    key = next((value for field, value in fields.items() if field.lower() == b"sec-websocket-key"), None)
    if key is None:
        body = name.encode()
        return b"HTTP/1.1 200 OK\r\nX-Server: %b\r\nContent-Length: %d\r\n\r\n%b" % (body, len(body), body)
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    return b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, b"X-Server: " + name.encode(), b"", b""])


def unmasked(data: bytearray, start: int, size: int) -> bytes:
    mask, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
    if mask == b"\0\0\0\0":
        return bytes(payload)
    pattern = (bytes(mask) * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")).to_bytes(size, "little")


class Echo(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self.name = name
        self.buffer = bytearray()
        self.upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while not self.upgraded and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            reply = answer(bytes(self.buffer[:end]), self.name)
            del self.buffer[: end + 4]
            self.upgraded = b" 101 " in reply[:20]
            self.transport.write(reply)
        if self.upgraded and (replies := self.replies()):
            self.transport.write(b"".join(replies))

    def replies(self) -> list[bytes]:
        """Answers to all complete frames in the buffer."""
        out: list[bytes] = []
        at, buffer = 0, self.buffer
        while len(buffer) - at >= 2:
            size, head = buffer[at + 1] & 0x7F, 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(buffer[at + 2 : at + head], "big")
            if len(buffer) - at < head + 4 + size:
                break
            first, opcode = buffer[at], buffer[at] & 0x0F
            payload = unmasked(buffer, at + head, size)
            shown = first & 0xF0 | (PONG if opcode == PING else opcode)
            if opcode != PONG:
                out += [bytes([shown, buffer[at + 1] & 0x7F]) + bytes(buffer[at + 2 : at + head]), payload]
            at += head + 4 + size
            if opcode == CLOSE:
                asyncio.get_running_loop().call_soon(self.transport.close)
        del buffer[:at]
        return out


async def main() -> None:
    arguments = server_arguments()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Echo(arguments.name), "127.0.0.1", arguments.port, backlog=BACKLOG)
    tell("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
