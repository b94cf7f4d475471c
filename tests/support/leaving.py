"""Clients that talk until they are asked to go: when that was, with which code, and how it ended."""

from __future__ import annotations

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


def assert_each_in_its_turn(moments: Iterable[float], start: float, spread: float, workers: int = 1) -> None:
    """Nobody was asked before its slice of the window, each worker having slices of its own.

    A busy machine makes moments later than they are meant, all at once at worst; nothing makes them earlier.
    """
    seconds = sorted(moment - start for moment in moments)
    early = [(turn, at) for turn, at in enumerate(seconds) if at < (turn + 1 - workers) * spread / len(seconds)]
    assert not early, f"{len(early)} of {len(seconds)} before their turn, the first: {early[0]}"


async def leave_when_asked(tunnel: LoadTunnel, code: int, moments: list[float]) -> None:
    """Answer the Close with this code that comes next, and wait for the end; the moment of the Close is kept."""
    assert (await tunnel.end.receive()).close_code == code
    moments.append(trio.current_time())
    await tunnel.end.send(CLOSE, close_payload(code))
    assert await tunnel.end.http.at_end()
    await tunnel.end.http.stream.aclose()
