"""Clients, and an upstream, that want others to get nothing: each attack as a function, and bystanders beside it.

An attack ends when the proxy has ended it, on all of its connections; what it then counts is `test_denial`'s to know.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import CONTINUATION, PING, TEXT, frame, open_websocket, upgrade_answer
from support.http_client import HttpConnection, connection, get_request
from support.upstream import reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from support.frames import WebSocket

    Attack = Callable[["Strength"], Awaitable[None]]

GONE = (ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError)
PAUSE = 0.1  # seconds between the octets of those who are slow


@attrs.define(eq=False)
class Strength:
    """How many connections attack whom, and how many have begun to."""

    address: str
    count: int
    begun: int = 0
    full: trio.Event = attrs.field(factory=trio.Event)

    def one_more(self) -> None:
        self.begun += 1
        if self.begun == self.count:
            self.full.set()

    async def each(self, act: Callable[[HttpConnection], Awaitable[None]], start: bytes = b"") -> None:
        """All connections, each with `start` sent at once and then acting until the proxy ends it."""
        # One behind the other: where all connect first, the first have waited for long when they begin.
        connecting = trio.Lock()

        async def one() -> None:
            await connecting.acquire()
            async with connection(self.address) as http:
                if start:
                    await http.send(start)
                connecting.release()
                self.one_more()
                await act(http)

        async with trio.open_nursery() as nursery:
            for _ in range(self.count):
                nursery.start_soon(one)


async def go_on(http: HttpConnection, pieces: Iterable[bytes], pause: float = 0) -> None:
    """Send, as long as the other side is there, and read what it says."""
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with suppress(*GONE):
                for piece in pieces:
                    await http.send(piece)
                    await trio.sleep(pause)

        nursery.start_soon(send)
        with suppress(*GONE):
            await http.rest()
        nursery.cancel_scope.cancel()


def dribbling(start: bytes, piece: bytes, pause: float = PAUSE) -> Attack:
    """Who sends `start` and then one piece after the other, for ever."""

    async def act(http: HttpConnection) -> None:
        await go_on(http, repeat(piece), pause)

    return partial(Strength.each, act=act, start=start)


async def never_read(http: HttpConnection) -> None:
    """Take no octet of an answer that no buffer holds, until the proxy has reset the connection."""
    while True:
        await trio.sleep(PAUSE)
        try:
            await http.send(b"\r\n")  # a reset shows where something is sent
        except GONE:
            return


async def say_nothing(http: HttpConnection) -> None:
    await go_on(http, ())


async def churn(strength: Strength) -> None:
    """Connect and go, as fast as it goes."""
    for _ in range(strength.count):
        async with connection(strength.address):
            strength.one_more()


POST = partial(get_request, "/", method="POST")
SLOW_HEADS = dribbling(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-", b"a")
SLOW_BODIES = dribbling(POST("Content-Length: 100000"), b"x")
SLOW_CHUNKS = dribbling(POST("Transfer-Encoding: chunked"), b"1\r\nx\r\n")
HUGE_HEADS = dribbling(b"GET / HTTP/1.1\r\nHost: a.test\r\n", b"X-A: " + b"x" * 8000 + b"\r\n", 0)
MANY_FIELDS = dribbling(b"GET / HTTP/1.1\r\nHost: a.test\r\n", b"A: b\r\n" * 100, 0)
ENDLESS_FIELD = dribbling(b"GET / HTTP/1.1\r\nHost: a.test\r\nX-A: ", b"x" * 8000, 0)
CHUNK_EXTENSIONS = dribbling(POST("Transfer-Encoding: chunked"), (b"1;" + b"e" * 200 + b"\r\nx\r\n") * 20, 0)
ENDLESS_EXTENSION = dribbling(POST("Transfer-Encoding: chunked") + b"1;", b"e" * 200, 0)
ENDLESS_TRAILERS = dribbling(POST("Transfer-Encoding: chunked") + b"0\r\n", b"A: b\r\n" * 100, 0)
ENDLESS_BODY = dribbling(POST("Transfer-Encoding: chunked"), b"4000\r\n" + bytes(0x4000) + b"\r\n", 0)
ENDLESS_INTERIM = dribbling(get_request("/interim", "Connection: close"), b"", 1)
SLOW_READS: Attack = partial(Strength.each, act=never_read, start=get_request("/endless"))
SILENCE: Attack = partial(Strength.each, act=say_nothing)


def flooding(path: str, start: bytes, piece: bytes) -> Attack:
    """Tunnels of which each sends `start` and then pieces as fast as they are taken."""

    async def one(strength: Strength) -> None:
        end = await open_websocket(strength.address, path)
        async with end.http.stream:
            await end.http.send(start)
            strength.one_more()
            await go_on(end.http, repeat(piece))

    async def act(strength: Strength) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(strength.count):
                nursery.start_soon(one, strength)

    return act


MASK = b"\x01\x02\x03\x04"
FLOODS = {
    "pings": (b"", frame(PING, b"x" * 100, mask=MASK) * 100),
    "tiny fragments": (frame(TEXT, b"", fin=False, mask=MASK), frame(CONTINUATION, b"x", fin=False, mask=MASK) * 100),
    "messages of no length": (b"", frame(TEXT, b"", mask=MASK) * 100),
}


async def serve_anything(http: HttpConnection) -> None:
    """An upstream for all of it: echoes, reads bodies, and on two paths never comes to an end."""
    while True:
        head = await http.head()
        path = head.start.split(b" ")[1]
        if head.get(b"upgrade"):
            await http.send(upgrade_answer(head))
            await (echo if path == b"/" else swallow)(http)
            return
        if path == b"/endless":
            await http.send(b"HTTP/1.1 200 OK\r\n\r\n")
            await forever(http, bytes(1 << 16))
        elif path == b"/interim":
            await forever(http, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await http.body(head)
        await http.send(reply(b"fine"))


async def forever(http: HttpConnection, piece: bytes) -> None:
    while True:
        await http.send(piece)
        await trio.lowlevel.checkpoint()


async def echo(http: HttpConnection) -> None:
    """Frames of up to 125 bytes go back unmasked, in order."""
    while True:
        first, length = await http.take(2)
        mask = await http.take(4)
        payload = await http.take(length & 0x7F)
        await http.send(frame(first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))))


async def swallow(http: HttpConnection) -> None:
    """Read on and on; a server that answered each ping would be slower than what is tested."""
    while await http.stream.receive_some(1 << 18):
        pass


@attrs.define(eq=False)
class Bystander:
    """A client with a tunnel and a kept connection, who wants its answers whatever others do."""

    tunnel: WebSocket
    plain: HttpConnection

    async def rounds(self, count: int) -> None:
        """So many round trips by each way."""
        for number in range(count):
            message = b"%d" % number
            assert await self.tunnel.echo(message) == message
            await self.plain.send(get_request("/"))
            answer = await self.plain.answer()
            assert (answer.status, answer.body) == (200, b"fine")


@asynccontextmanager
async def bystander(address: str) -> AsyncIterator[Bystander]:
    end = await open_websocket(address)
    async with end.http.stream, connection(address) as plain:
        other = Bystander(end, plain)
        await other.rounds(1)  # who has asked for something has timeouts.keep_alive, others have timeouts.head
        yield other
