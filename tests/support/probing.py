"""A probe against a scripted peer over a memory stream, and the peers that pass or fail it."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from trio.testing import memory_stream_pair

from trioproxy.wire.websocket import accept_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioproxy.config import HealthConfig
    from trioproxy.probes import Probe

PATIENCE = 1.0  # what a probe may take, on the mock clock


async def probe_against(
    probe: Probe, health: HealthConfig, script: Callable[[trio.abc.Stream], Awaitable[None]]
) -> bool:
    """Whether the probe came to an end in time; what it raises comes out as it is. The peer ends with it."""
    ours, theirs = memory_stream_pair()

    async def serve() -> None:
        with suppress(trio.BrokenResourceError):  # the probe has seen enough
            await script(theirs)

    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with trio.move_on_after(PATIENCE) as scope:
            try:
                await probe(ours, health, "chat.internal:3000")
            except Exception as error:  # noqa: BLE001 - not through the nursery, which would wrap it
                failure = error
        await ours.aclose()
        nursery.cancel_scope.cancel()
    if failure:
        raise failure
    return not scope.cancelled_caught


async def read_head(stream: trio.abc.Stream) -> bytes:
    """The peer's side: the request head, all of it."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = await stream.receive_some()
        if not data:
            break
        head += data
    return head


def switching_protocols(head: bytes, extra: bytes = b"") -> bytes:
    """The right 101 for a request head, with more fields."""
    key = re.search(rb"(?i)sec-websocket-key: *(\S+)", head)
    accept = accept_key(key[1] if key else b"")
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept
        + b"\r\n"
        + extra
        + b"\r\n"
    )


def answers(data: bytes, *, then_close: bool = False) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A peer that reads a head, sends `data`, and then is silent or closes."""

    async def script(stream: trio.abc.Stream) -> None:
        await read_head(stream)
        await stream.send_all(data)
        if then_close:
            await stream.aclose()
        else:
            await trio.sleep_forever()

    return script


def upgrades(
    data: bytes, *, extra: bytes = b"", then_close: bool = False
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A peer that accepts the upgrade, sends `data` as its first bytes, and then is silent or closes."""

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(switching_protocols(await read_head(stream), extra) + data)
        if then_close:
            await stream.aclose()
        else:
            await trio.sleep_forever()

    return script


async def echo_pongs(stream: trio.abc.Stream) -> None:
    """A good WebSocket peer: upgrades, answers a ping and a Close."""
    await stream.send_all(switching_protocols(await read_head(stream)))
    await pongs(stream)


async def pongs(stream: trio.abc.Stream) -> None:
    """The frames of a good peer: each client frame below 126 bytes is answered, a ping by its pong, a Close by a Close."""
    buffer = b""
    while data := await stream.receive_some():
        buffer += data
        while len(buffer) >= 6 and len(buffer) >= 6 + (buffer[1] & 0x7F):
            length = buffer[1] & 0x7F
            opcode, mask, payload = buffer[0] & 0x0F, buffer[2:6], buffer[6 : 6 + length]
            buffer = buffer[6 + length :]
            plain = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
            await stream.send_all(bytes((0x8A if opcode == 9 else 0x88, length)) + plain)
            if opcode == 8:
                await stream.aclose()
                return
