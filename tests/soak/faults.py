"""Every kind of fault, one function each, and what the client has to see of it; `FAULTS` is the list.

A fault is given a `Scene` of its own, opens connections through the proxy and harms those alone. To add one, write a function and
name it in `FAULTS`; what upstreams do wrong is in `upstreams`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import attrs
import trio
from soak.upstreams import FLOOD_FRAMES, GONE, flood_frame, receive
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    TEXT,
    WebSocket,
    close_payload,
    frame,
    upgrade_request,
)
from support.http_client import HttpConnection, dial, reset

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping

    from support.http_client import Answer

PAUSE_SECONDS = 0.3  # at most, before a fault: how long the tunnels to be harmed stand open
TOO_LARGE = 70_000  # octets, above the limit of the route /large
TOO_MANY = 60  # messages at once, above the limit of the route /many

BREACHES = (
    frame(BINARY, b"unmasked"),
    frame(3, b"", mask=MASK),
    frame(11, b"", mask=MASK),
    frame(TEXT, b"x", mask=MASK, rsv=4),
    frame(CONTINUATION, b"of nothing", mask=MASK),
    frame(TEXT, b"a", fin=False, mask=MASK) + frame(TEXT, b"b", mask=MASK),
    frame(PING, b"", fin=False, mask=MASK),
    bytes([0x89, 0x80 | 126, 0, 126]) + MASK + bytes(126),
    bytes([0x82, 0x80 | 126, 0, 125]) + MASK + bytes(125),
    bytes([0x82, 0xFF]) + b"\xff" * 8 + MASK,
)


@attrs.define(eq=False)
class Scene:
    """Where faults happen: the proxy's address, and dice that say how."""

    address: str
    dice: random.Random
    connections: Counter[str] = attrs.Factory(Counter)
    _streams: list[trio.SocketStream] = attrs.Factory(list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._streams:
            stream.socket.close()

    async def connect(self) -> HttpConnection:
        """A connection to the proxy, closed with the scene at the latest."""
        stream = await dial(self.address)
        self.connections["opened"] += 1
        self._streams.append(stream)
        return HttpConnection(stream)

    async def ask(self, path: str) -> Answer:
        """An upgrade that is to be answered by something else than 101."""
        http = await self.connect()
        async with http.stream:
            await http.send(upgrade_request(path))
            return await http.answer()

    async def upgrade(self, path: str) -> WebSocket:
        """A tunnel, just open."""
        http = await self.connect()
        await http.send(upgrade_request(path))
        end = WebSocket(http, await http.head())
        assert b" 101 " in end.head.start, (path, end.head)
        return end

    async def open(self, path: str) -> WebSocket:
        """A tunnel that carried a message and stood open for a moment."""
        end = await self.upgrade(path)
        payload = self.dice.randbytes(self.dice.choice((0, 10, 1000, 70_000)) if path == "/echo" else 10)
        await end.send(BINARY, payload)
        assert (await receive(end)).payload == payload
        await trio.sleep(self.dice.random() * PAUSE_SECONDS)
        return end

    async def order(self, what: str) -> WebSocket:
        """A tunnel whose upstream now does `what`."""
        end = await self.open(f"/odd/{what}")
        await end.send(TEXT, b"go")
        return end


async def last_words(end: WebSocket) -> int | str:
    """How the other side ends the tunnel: the code of its Close, which is answered, or else "reset" or "fin"."""
    return await _end(end, answer=True)


async def close(end: WebSocket, code: int) -> int | str:
    """Close it, and how the other side answers: the code of its Close, or else "reset" or "fin"."""
    await end.send(CLOSE, close_payload(code))
    return await _end(end, answer=False)


async def _end(end: WebSocket, *, answer: bool) -> int | str:
    try:
        while (got := await receive(end)).opcode != CLOSE:
            pass
        if answer:
            with suppress(*GONE):  # said FIN before, or the other side did not wait
                await end.send(CLOSE, got.payload)
        return got.close_code if await end.http.at_end() else "more behind the Close"
    except ConnectionResetError:
        return "reset"
    except ConnectionError:
        return "fin"


# The client's faults.


async def client_reset(scene: Scene) -> None:
    end = await scene.open("/echo")
    await end.send(BINARY, bytes(scene.dice.choice((0, 5000, 200_000))))
    reset(end.http.stream)


async def client_fin(scene: Scene) -> None:
    end = await scene.open("/echo")
    await end.http.stream.send_eof()
    assert await last_words(end) == 1001  # the proxy told the upstream, which answered


async def client_cut_inside_a_frame(scene: Scene) -> None:
    end = await scene.open("/echo")
    raw = frame(BINARY, bytes(1000), mask=MASK)
    await end.http.send(raw[: scene.dice.randrange(1, len(raw))])
    await end.http.stream.send_eof()
    assert await last_words(end) in {"reset", 1001}  # 1001: of a header cut in two nothing was passed on


async def client_half_close(scene: Scene) -> None:
    end = await scene.open("/echo")
    count = scene.dice.randrange(20)
    raw = b"".join(frame(BINARY, b"%d" % number, mask=MASK) for number in range(count))
    await end.http.send(raw + frame(CLOSE, close_payload(1000), mask=MASK))
    await end.http.stream.send_eof()
    for number in range(count):
        assert (await receive(end)).payload == b"%d" % number
    assert await last_words(end) == 1000


async def client_breach(scene: Scene) -> None:
    end = await scene.open("/echo")
    await end.http.send(scene.dice.choice(BREACHES))
    assert await last_words(end) == 1002


async def churn(scene: Scene) -> None:
    for _ in range(scene.dice.randrange(1, 4)):
        end, code = await scene.open("/echo"), scene.dice.choice((1000, 1001, 3000, 4999))
        assert await close(end, code) == code


async def slow_reader(scene: Scene) -> None:
    end = await scene.order("flood")
    for number in range(FLOOD_FRAMES):
        if scene.dice.random() < 0.3:
            await trio.sleep(scene.dice.random() * PAUSE_SECONDS)
        assert (await receive(end)).payload == flood_frame(number)
    assert await close(end, 1000) == 1000


async def close_under_back_pressure(scene: Scene) -> None:
    end = await scene.order("flood")
    await trio.sleep(scene.dice.random() * PAUSE_SECONDS)
    if scene.dice.random() < 0.5:
        await end.send(CLOSE, close_payload(4001))
        await end.http.stream.aclose()  # with the flood unread: a reset
    else:
        assert await close(end, 4001) == 4001


async def message_too_large(scene: Scene) -> None:
    end = await scene.open("/large")
    await end.http.send(frame(BINARY, bytes(TOO_LARGE), mask=MASK)[: scene.dice.choice((14, TOO_LARGE))])
    assert await last_words(end) == 1009


async def too_many_messages(scene: Scene) -> None:
    end = await scene.open("/many")
    await end.http.send(frame(TEXT, b"x", mask=MASK) * TOO_MANY)
    assert await last_words(end) == 1008


async def aged(scene: Scene) -> None:
    assert await last_words(await scene.open("/aged")) == 1012


async def client_answers_no_ping(scene: Scene) -> None:
    end = await scene.open("/pinged/silent")
    try:
        assert (await end.receive()).opcode == PING
        await end.receive()
    except ConnectionResetError:
        return
    raise AssertionError("not cut")


async def leaves_in_the_handshake(scene: Scene) -> None:
    http = await scene.connect()
    raw = upgrade_request(scene.dice.choice(("/echo", "/asleep")))
    await http.send(raw[: scene.dice.choice((20, len(raw)))])
    reset(http.stream)


async def request_is_garbage(scene: Scene) -> None:
    http = await scene.connect()
    async with http.stream:
        await http.send(scene.dice.choice((b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nNo colon\r\n\r\n")))
        assert (await http.answer()).status == 400


# The upstream's.


async def upstream_reset(scene: Scene) -> None:
    assert await last_words(await scene.order("reset")) == 1011


async def upstream_fin(scene: Scene) -> None:
    assert await last_words(await scene.order("fin")) == 1011


async def upstream_cut_inside_a_frame(scene: Scene) -> None:
    assert await last_words(await scene.order("cut")) == "reset"


async def upstream_breach(scene: Scene) -> None:
    end = await scene.order("breach")
    assert await last_words(end) == 1002


async def upstream_answers_no_ping(scene: Scene) -> None:
    end = await scene.open("/pinged/silent")
    await end.send(TEXT, b"go")
    assert await last_words(end) == 1011


async def simultaneous_close(scene: Scene) -> None:
    end = await scene.order("simultaneous")
    assert await close(end, 1000) == 1001


async def handshake_refused(scene: Scene) -> None:
    answer = await scene.ask("/odd/refused")
    assert (answer.status, answer.body, answer.get(b"x-reason")) == (403, b"not you", b"on the list")


async def garbage_101(scene: Scene) -> None:
    assert (await scene.ask(f"/odd/{scene.dice.choice(('accept', 'bare', 'noise'))}")).status == 502


async def handshake_unanswered(scene: Scene) -> None:
    assert (await scene.ask("/odd/mute")).status == 502


async def handshake_timeout(scene: Scene) -> None:
    assert (await scene.ask("/asleep")).status == 504


async def upstream_not_there(scene: Scene) -> None:
    assert (await scene.ask("/nowhere")).status == 503


FAULTS: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        client_reset,
        client_fin,
        client_cut_inside_a_frame,
        client_half_close,
        client_breach,
        churn,
        slow_reader,
        close_under_back_pressure,
        message_too_large,
        too_many_messages,
        aged,
        client_answers_no_ping,
        leaves_in_the_handshake,
        request_is_garbage,
        upstream_reset,
        upstream_fin,
        upstream_cut_inside_a_frame,
        upstream_breach,
        upstream_answers_no_ping,
        simultaneous_close,
        handshake_refused,
        garbage_101,
        handshake_unanswered,
        handshake_timeout,
        upstream_not_there,
    )
}


def deck(dice: random.Random):
    """Kinds without end, at random and yet each as often as any other."""
    for _ in itertools.count():
        yield from dice.sample(sorted(FAULTS), len(FAULTS))
