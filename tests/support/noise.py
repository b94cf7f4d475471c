"""Peers that misbehave at random, from a seed: octets changed, split, delayed or left out, connections dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from support.frames import TEXT, frame, upgrade_answer, upgrade_request
from support.http_client import HttpConnection, get_request
from support.upstream import reply

if TYPE_CHECKING:
    import random

    from support.http_client import Head
    from support.scripted import Harness

GONE = (ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError)

REQUESTS = (
    get_request(),
    get_request(method="HEAD"),
    get_request("*", method="OPTIONS"),
    get_request("/x", "Content-Length: 5", method="POST") + b"hello",
    get_request("/", "Transfer-Encoding: chunked", method="PUT") + b"3\r\nabc\r\n0\r\n\r\n",
    get_request("/", "Expect: 100-continue", "Content-Length: 3", method="POST") + b"abc",
    get_request("/", "Content-Length: 200000", method="POST") + b"y" * 200_000,
    upgrade_request() + frame(TEXT, b"early", mask=b"abcd"),
    b"GET / HTTP/1.0\r\n\r\n",
)
ANSWERS = (
    reply(b"fine"),
    reply(b"oops", "500 Oops"),
    reply(b"z" * 300_000),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nabc",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"",
)


def mutated(dice: random.Random, data: bytes) -> bytes:
    """Mostly as it was; else an octet changed, some left out or doubled, or the end cut off."""
    octets = bytearray(data)
    for _ in range(dice.choice([0, 0, 0, 1, 2]) if octets else 0):
        at = dice.randrange(len(octets) or 1)
        match dice.randrange(4):
            case 0:
                octets[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                del octets[at : at + dice.randrange(1, 20)]
            case 2:
                octets[at:at] = octets[max(0, at - 20) : at]
            case _:
                del octets[at:]
    return bytes(octets)


async def dribble(dice: random.Random, stream: trio.SocketStream, data: bytes) -> None:
    """Send in pieces, sometimes with pauses."""
    while data:
        size = dice.choice([1, 3, 50, len(data)]) if len(data) < 2000 else len(data)
        await stream.send_all(data[:size])
        data = data[size:]
        if dice.random() < 0.02:
            await trio.sleep(dice.choice([1, 30, 80]))


def noisy_upstream(dice: random.Random):
    """An upstream's script: any answer to anything."""

    def answer(head: Head | None) -> bytes:
        if head is not None and head.all(b"sec-websocket-key") and dice.random() < 0.6:
            return upgrade_answer(head) + dice.choice([b"", b"junk", frame(TEXT, b"first")])
        return dice.choice(ANSWERS)

    async def script(http: HttpConnection) -> None:
        while dice.random() < 0.85:
            head = await http.head() if dice.random() < 0.9 else None
            if head is not None and dice.random() < 0.6:
                await http.body(head)
            for _ in range(dice.choice([1, 1, 1, 2])):
                await dribble(dice, http.stream, mutated(dice, answer(head)))
        await trio.sleep(dice.choice([0, 0, 100]))

    return script


async def noisy_client(dice: random.Random, proxy: Harness) -> None:
    """A client that sends anything, perhaps reads, and goes in some way."""
    stream = proxy.connect().stream

    async def send() -> None:
        try:
            for _ in range(dice.randrange(1, 5)):
                await dribble(dice, stream, mutated(dice, dice.choice(REQUESTS)))
            if dice.random() < 0.3:
                await stream.send_eof()
        except GONE:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        with trio.move_on_after(dice.choice([1, 50, 500])):
            try:
                while dice.random() < 0.95 and await stream.receive_some(dice.choice([10, 100_000])):
                    pass
            except GONE:
                pass
        nursery.cancel_scope.cancel()
    await trio.aclose_forcefully(stream)
