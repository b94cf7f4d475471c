"""A reader that stops: its sender stands still, the proxy's memory does not grow, everybody else goes on.

The sender and the reader are in the test's own Trio run, so that "blocked" is seen and not guessed.
"""

from __future__ import annotations

import hashlib

import attrs
import pytest
import trio
from support.frames import BINARY, WebSocket, frame, open_websocket, websocket
from support.http_client import ask, connection, get_request
from support.peers import run_server
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import scripted_upstream, serve_websocket
from support.waiting import wait_until, wait_until_still

MEGABYTE = 1024 * 1024
TOTAL = 64 * MEGABYTE
PAYLOAD = bytes(range(256)) * 256
FRAMES = TOTAL // len(PAYLOAD)
ALLOWED_GROWTH = 2 * MEGABYTE
WARM_UP = 4 * MEGABYTE // len(PAYLOAD)


def payload_of(number):
    return number.to_bytes(8, "big") + PAYLOAD[8:]


def digest_of(count):
    digest = hashlib.sha256()
    for number in range(count):
        digest.update(payload_of(number))
    return digest.hexdigest()


@attrs.define(eq=False)
class Sender:
    """Writes numbered frames and counts the payload octets that were taken from it."""

    end: WebSocket
    octets: int = 0

    async def send(self, count):
        for number in range(count):
            await self.end.http.send(frame(BINARY, payload_of(number), mask=self.end.mask))
            self.octets += len(PAYLOAD)


async def read_all(end, count):
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update((await end.receive()).payload)
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["to_client", "to_upstream"])
@pytest.mark.rule("back-pressure")
async def test_a_reader_that_stops_blocks_its_sender_alone(programs, direction):
    ends = {}
    over = trio.Event()

    async def hold(end):
        ends["upstream"] = end
        await over.wait()

    echo = await run_server(programs, "fast_echo.py")
    async with (
        scripted_upstream(lambda http: serve_websocket(http, hold)) as upstream,
        trio.open_nursery() as nursery,
    ):
        proxy = await run_proxy(programs, two_pools(upstream.address, echo.address))
        ends["client"] = await open_websocket(proxy.address, "/slow")
        await wait_until(lambda: "upstream" in ends, "the tunnel is open")
        writer, reader = ("upstream", "client") if direction == "to_client" else ("client", "upstream")
        sender, reader = Sender(ends[writer]), ends[reader]
        async with websocket(proxy.address, "/echo") as other:
            nursery.start_soon(sender.send, WARM_UP)  # buffers and arenas that any traffic needs are no growth
            assert await read_all(reader, WARM_UP) == digest_of(WARM_UP)
            assert await other.echo(PAYLOAD) == PAYLOAD
            before, sender.octets = proxy.program.rss, 0

            nursery.start_soon(sender.send, FRAMES)
            taken = await wait_until_still(lambda: sender.octets, "the sender")
            assert 0 < taken < TOTAL
            for number in range(100):
                message = b"%d" % number
                assert await other.echo(message) == message
            growth = proxy.program.rss - before
            print(f"{direction}: {taken >> 20} MiB taken, then blocked; memory +{growth >> 10} KiB")  # noqa: T201
            assert sender.octets == taken
            assert growth < ALLOWED_GROWTH

            assert await read_all(reader, FRAMES) == digest_of(FRAMES)
            assert proxy.program.rss - before < ALLOWED_GROWTH
        await ends["client"].http.stream.aclose()
        over.set()


def two_pools(slow, echo):
    tables = settings([slow], route={"path": "/slow"})
    tables["routes"].append({"name": "echo", "path": "/echo", "pool": "echo"})
    tables["pools"]["echo"] = {"upstreams": [echo], "health": {"probe": "none"}}
    return tables


@pytest.mark.slow
async def test_a_slow_download_over_plain_http_holds_no_memory_either(programs):
    body = PAYLOAD * (TOTAL // len(PAYLOAD))
    sent = 0

    async def serve(http):
        nonlocal sent
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), len(PAYLOAD)):
            await http.send(body[start : start + len(PAYLOAD)])
            sent += len(PAYLOAD)

    async with scripted_upstream(serve) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address]))
        assert len((await ask(proxy.address, get_request())).body) == TOTAL
        before, sent = proxy.program.rss, 0
        async with connection(proxy.address) as http:
            await http.send(get_request())
            taken = await wait_until_still(lambda: sent, "the sender")
            assert 0 < taken < TOTAL
            growth = proxy.program.rss - before
            print(f"{taken >> 20} MiB taken, then blocked; memory +{growth >> 10} KiB")  # noqa: T201
            assert growth < ALLOWED_GROWTH
            answer = await http.answer()
            assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
