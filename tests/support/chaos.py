"""The two ends of a hop in one Trio run: an echo server that can speak WebSocket frames, and connections to it."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
import trio
from support.waiting import wait_until

from trioproxy.chaos.hop import Hop
from trioproxy.chaos.parts import Kind, Part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REQUEST = b"GET /chaos HTTP/1.1\r\nHost: x\r\nX-Chaos-Connection: %s\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: right\r\n\r\n"
MARKED = ANSWER[:-2] + b"X-Chaos-Upstream: 0\r\n\r\n"


@attrs.define
class RecordingWay:
    """One direction as a fault sees it, which notes what is done to it."""

    to_client: bool = True
    random: Random = attrs.field(factory=lambda: Random(1))
    parts: list[Part] = attrs.field(factory=list)
    done: list[str] = attrs.field(factory=list)

    def put_in(self, part: Part) -> None:
        self.parts.append(part)

    def mute(self) -> None:
        self.done.append("mute")

    def finish(self) -> None:
        self.done.append("finish")


@attrs.define
class RecordingLink:
    """A connection as a fault sees it."""

    ways: Any = attrs.field(factory=lambda: (RecordingWay(to_client=False), RecordingWay()))
    resets: int = 0

    def reset(self) -> None:
        self.resets += 1


def frame_part(data: bytes, **more: Any) -> Part:
    return Part(Kind.FRAME, data, data[0] & 15, starts=True, ends=True, **more)


@attrs.define
class EchoServer:
    """Answers a head with a 101, then echoes; remembers how each connection ended."""

    ends: list[str] = attrs.field(factory=list)
    open: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.open += 1
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                head += (data := await stream.receive_some())
                if not data:
                    self.ends.append("FIN")
                    return
            await stream.send_all(ANSWER + head.partition(b"\r\n\r\n")[2])
            async for data in stream:
                await stream.send_all(data)
            self.ends.append("FIN")
        except trio.BrokenResourceError:
            self.ends.append("RST")
        finally:
            self.open -= 1
            self.changed.set()
            self.changed = trio.Event()

    async def ended(self, *ends: str) -> None:
        while self.ends != list(ends):
            await self.changed.wait()


@attrs.define
class Connection:
    """A client of a hop."""

    stream: trio.SocketStream
    received: bytearray = attrs.field(factory=bytearray)

    async def take(self, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        while len(self.received) < size and (data := await self.stream.receive_some()):
            self.received += data
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    async def end(self) -> str:
        """How it ends, and what came before."""
        try:
            async for data in self.stream:
                self.received += data
        except trio.BrokenResourceError:
            return "RST"
        return "FIN"

    async def is_silent(self, seconds: float = 0.05) -> bool:
        """Nothing comes for so long, though everything else that was to happen has."""
        with trio.move_on_after(seconds):
            self.received += await self.stream.receive_some()
            return False
        return True


@attrs.define
class Rig:
    """A hop in front of an echo server."""

    hop: Hop
    server: EchoServer
    port: int
    nursery: trio.Nursery
    _streams: list[trio.SocketStream] = attrs.field(factory=list)

    async def connect(self, name: str = "0-0", *, upgrade: bool = True) -> Connection:
        connection = Connection(await trio.open_tcp_stream("127.0.0.1", self.hop.port))
        self._streams.append(connection.stream)
        await connection.stream.send_all(REQUEST % name.encode())
        if upgrade:
            assert await connection.take(len(MARKED)) == MARKED
        return connection

    async def refuses(self) -> None:
        """Returns when nothing listens at the hop."""
        await wait_until(self._is_closed, "a hop that refuses")

    async def accepts(self) -> None:
        """Returns when the hop can be connected to."""

        async def is_open() -> bool:
            return not await self._is_closed()

        await wait_until(is_open, "a hop that accepts")

    async def _is_closed(self) -> bool:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", self.hop.port)).aclose()
        except OSError:
            return True
        return False


@asynccontextmanager
async def hop_before_echo(seed: int = 1) -> AsyncIterator[Rig]:
    server = EchoServer()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await nursery.start(trio.serve_listeners, server.serve, listeners)
        hop = Hop(0, ("127.0.0.1", port), seed)
        await nursery.start(hop.run)
        rig = Rig(hop, server, port, nursery)
        yield rig
        nursery.cancel_scope.cancel()
    for stream in rig._streams:
        with contextlib.suppress(trio.BrokenResourceError):
            await trio.aclose_forcefully(stream)
