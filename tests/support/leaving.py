"""Clients that talk until they are asked to go: when that was, with which code, and how it ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import BINARY, CLOSE, close_payload, frame
from support.load import ZERO_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.load import LoadTunnel

PACE_SECONDS = 0.25  # between two messages of one client: five hundred of them are load, and leave the clock readable


@attrs.frozen
class Goodbye:
    """What one client saw; moments in Trio's time."""

    server: str
    code: int
    moment: float  # of the Close frame
    ended: float  # of the end behind it
    answers: int  # to its messages, all in order


async def talk_until_asked(tunnel: LoadTunnel, told: list[Goodbye], *, polite: bool = True) -> None:
    """Send numbered messages and check the answers until a Close comes; answer it, if `polite`, and wait for the end.

    The end has to be FIN for who is polite, and a reset for who is not: nothing else is a proper end, and a cut.
    """
    end = tunnel.end
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send, tunnel)
        while (got := await end.receive()).opcode != CLOSE:
            assert got.payload == tunnel.message(tunnel.received), (tunnel.number, got)
            tunnel.received += 1
        moment = trio.current_time()
        nursery.cancel_scope.cancel()
    if polite:
        await end.http.send(frame(CLOSE, close_payload(got.close_code), mask=ZERO_MASK))
        assert await end.http.at_end()
    else:
        try:
            await end.receive()
        except ConnectionResetError:
            pass
        else:
            raise AssertionError("frames behind a Close, or FIN")
    ended = trio.current_time()
    await trio.aclose_forcefully(end.http.stream)
    told.append(Goodbye(tunnel.server, got.close_code, moment, ended, tunnel.received))


async def _send(tunnel: LoadTunnel) -> None:
    await trio.sleep(PACE_SECONDS * (tunnel.number % 100) / 100)
    while True:
        with trio.CancelScope(shield=True):  # a frame goes out whole
            await tunnel.end.http.send(frame(BINARY, tunnel.message(tunnel.sent), mask=ZERO_MASK))
        tunnel.sent += 1
        await trio.sleep(PACE_SECONDS)


def bins(told: Iterable[Goodbye], start: float, spread: float, count: int = 10) -> list[int]:
    """How many were told in each of `count` equal parts of the window; what came late belongs to the last."""
    found = Counter(min(int((one.moment - start) / spread * count), count - 1) for one in told)
    return [found[index] for index in range(count)]
