"""What upstreams do wrong, by the last part of the path that asked for it; each begins with one echo, unless refused.

An upstream that is killed or paused is a process of its own, see `operator`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from support.frames import BINARY, CLOSE, PING, PONG, WebSocket, close_payload, frame, upgrade_answer
from support.http_client import reset
from support.upstream import reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from support.frames import Frame
    from support.http_client import HttpConnection

GONE = (trio.ClosedResourceError, trio.BrokenResourceError)
FLOOD_FRAMES = 32
FLOOD_PAYLOAD = 64 * 1024
ANSWERS = {
    "refused": reply(b"not you", "403 Forbidden", "X-Reason: on the list"),
    "accept": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    "bare": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "noise": b"\x00\xff\x80 no HTTP at all\r\n\r\n",
    "mute": b"",
}


def flood_frame(number: int) -> bytes:
    return number.to_bytes(4, "big") * (FLOOD_PAYLOAD // 4)


async def receive(end: WebSocket) -> Frame:
    """The next frame that the proxy did not send of its own."""
    while (got := await end.receive()).opcode == PING:
        with suppress(*GONE):  # said FIN, or the other side is gone
            await end.send(PONG, got.payload)
    return got


async def be_reset(end: WebSocket) -> None:
    reset(end.http.stream)


async def say_fin(end: WebSocket) -> None:
    await end.http.stream.aclose()


async def cut_inside_a_frame(end: WebSocket) -> None:
    await end.http.send(frame(BINARY, bytes(1000))[:500])
    await end.http.stream.aclose()


async def close_at_once(end: WebSocket) -> None:
    """Both sides close at the same moment: this Close is on its way when the client's comes."""
    await end.send(CLOSE, close_payload(1001))
    assert (await receive(end)).close_code == 1000
    await end.http.stream.aclose()


async def flood(end: WebSocket) -> None:
    """More than fits into the buffers on the way, then the closing handshake."""
    for number in range(FLOOD_FRAMES):
        await end.send(BINARY, flood_frame(number))
    got = await receive(end)
    await end.send(CLOSE, got.payload)
    await end.http.stream.aclose()


async def break_rules(end: WebSocket) -> None:
    """A masked frame, which a server must not send."""
    await end.http.send(frame(BINARY, b"x", mask=b"abcd"))
    assert (await receive(end)).close_code == 1002


async def ignore_pings(end: WebSocket) -> None:
    while True:
        await end.receive()


TALKS: Mapping[str, Callable[[WebSocket], Awaitable[None]]] = {
    "reset": be_reset,
    "fin": say_fin,
    "cut": cut_inside_a_frame,
    "simultaneous": close_at_once,
    "flood": flood,
    "breach": break_rules,
    "silent": ignore_pings,
}


async def misbehave(http: HttpConnection) -> None:
    """One connection of the upstream that does what it is told by the path."""
    head = await http.head()
    order = head.start.split(b" ")[1].rpartition(b"/")[2].decode()
    if order == "asleep":
        await http.rest()
    if order in ANSWERS:
        await http.send(ANSWERS[order])
        await http.stream.aclose()
        return
    await http.send(upgrade_answer(head))
    end = WebSocket(http, head, mask=None)
    first = await receive(end)
    await end.send(first.opcode, first.payload)
    if first.opcode != CLOSE:
        await receive(end)  # "go"
        await TALKS[order](end)
