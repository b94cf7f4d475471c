"""Many tunnels at once, each numbering its messages: nothing may be lost, reordered or delivered to another tunnel."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import BINARY, CLOSE, close_payload, frame, open_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from support.frames import WebSocket

    Opener = Callable[[Iterable[int]], Awaitable[list["LoadTunnel"]]]

ZERO_MASK = b"\0\0\0\0"  # masked by the rules, and cheap for both ends
CONNECTING_AT_ONCE = 64
MESSAGE_BYTES = 24


@attrs.define(eq=False)
class LoadTunnel:
    """A tunnel with its own number series; `server` is the name in the 101's X-Server."""

    number: int
    end: WebSocket
    sent: int = 0
    received: int = 0

    @property
    def server(self) -> str:
        return (self.end.head.get(b"x-server") or b"").decode()

    def message(self, sequence: int) -> bytes:
        return b"%08d %06d" % (self.number, sequence)

    async def burst(self, count: int) -> None:
        """`count` messages out, the same `count` back, in order; the frames go in one write."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        await self.end.http.send(b"".join(frame(BINARY, self.message(n), mask=ZERO_MASK) for n in numbers))
        expected = b"".join(frame(BINARY, self.message(n)) for n in numbers)
        got = await self.end.http.take(len(expected))
        assert got == expected, (self.number, got[:200])
        self.received += count

    async def close(self) -> None:
        await self.end.http.send(frame(CLOSE, close_payload(1000), mask=ZERO_MASK))
        assert (await self.end.receive()).close_code == 1000
        assert await self.end.http.at_end()
        await self.end.http.stream.aclose()


@asynccontextmanager
async def load_on(address: str) -> AsyncIterator[Opener]:
    """Gives `await open(numbers)`; what is still open when the block ends is dropped without a Close."""
    opened: list[LoadTunnel] = []
    limit = trio.CapacityLimiter(CONNECTING_AT_ONCE)

    async def open_one(number: int) -> None:
        async with limit:
            opened.append(LoadTunnel(number, await open_websocket(address)))

    async def open_all(numbers: Iterable[int]) -> list[LoadTunnel]:
        before = len(opened)
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(open_one, number)
        return sorted(opened[before:], key=lambda tunnel: tunnel.number)

    try:
        yield open_all
    finally:
        for tunnel in opened:
            await trio.aclose_forcefully(tunnel.end.http.stream)


async def each(tunnels: Iterable[LoadTunnel], act: Callable[[LoadTunnel], object]) -> None:
    async with trio.open_nursery() as nursery:
        for tunnel in tunnels:
            nursery.start_soon(act, tunnel)


def shares(tunnels: Iterable[LoadTunnel]) -> Counter[str]:
    """Server name → tunnels it got."""
    return Counter(tunnel.server for tunnel in tunnels)
