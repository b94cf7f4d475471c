"""Tunnels nobody harms: each sends a stream of messages of its own, from a seed, and gets every octet back in order.

What they count is what the proxy has to have counted. The tunnels that are harmed are in `faults`.
"""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close_payload, frame

if TYPE_CHECKING:
    import random

    from support.frames import WebSocket

MEBIBYTE = 1024 * 1024
ZERO_MASK = b"\0\0\0\0"  # masked by the rules, and cheap for both ends
SMALL = 4096  # above it masks are zero: unmasking a MiB in Python would take the time the proxy is to be given
LONGEST_PAUSE_SECONDS = 3.0  # between two bursts of a tunnel: five hundred closed loops would only measure this machine
SIZES = (0, 1, 13, 125, 126, 127, 1000, 4096, 65535, 65536, 300_000, MEBIBYTE)  # where lengths change their form
WEIGHTS = (4, 4, 30, 6, 6, 4, 40, 10, 3, 3, 1, 1)


def make_text(dice: random.Random) -> bytes:
    """Characters to cut payloads from: twice the largest message, valid as text wherever it is cut."""
    return base64.b64encode(dice.randbytes(2 * MEBIBYTE))


@attrs.define(eq=False)
class Tally:
    """What went one way; the proxy's counters for the pool have to say the same."""

    octets: int = 0
    messages: int = 0
    payload: int = 0
    frames: Counter[int] = attrs.Factory(Counter)

    def count(self, raw: bytes, shown: Frame) -> None:
        self.octets += len(raw)
        self.frames[shown.opcode] += 1
        if shown.opcode < CLOSE:
            self.payload += len(shown.payload)
            self.messages += shown.fin


@attrs.define(eq=False)
class SteadyTunnel:
    """One tunnel to an echo server; `sent` and `received` may be shared among all of a pool."""

    number: int
    dice: random.Random
    text: bytes
    end: WebSocket
    sent: Tally
    received: Tally
    sequence: int = 0
    _pongs: list[bytes] = attrs.Factory(list)  # owed to the proxy, to go out between two frames

    async def talk(self, over: trio.Event) -> None:
        """Bursts, each read to its end before the next, until `over`; then the closing handshake."""
        async with self.end.http.stream:
            while not over.is_set():
                await self._burst()
                with trio.move_on_after(self.dice.random() * LONGEST_PAUSE_SECONDS):
                    await over.wait()
            await self._send([Frame(CLOSE, close_payload(1000))])
            await self._expect(Frame(CLOSE, close_payload(1000)))
            assert await self.end.http.at_end()

    async def _burst(self) -> None:
        frames = [each for _ in range(self.dice.choice((1, 1, 1, 2, 5))) for each in self._message()]
        async with trio.open_nursery() as nursery:  # both at once: a burst may be more than all buffers on its way hold
            nursery.start_soon(self._send, frames)
            for each in frames:
                await self._expect(each)

    def _message(self) -> list[Frame]:
        """The next message of this tunnel, whole or in fragments, with pings between them."""
        self.sequence += 1
        size = self.dice.choices(SIZES, WEIGHTS)[0]
        start = self.dice.randrange(MEBIBYTE)
        payload = (b"%06d %06d " % (self.number, self.sequence) + self.text[start : start + size])[:size]
        opcode = self.dice.choice((TEXT, BINARY))
        parts = self.dice.choice((1, 1, 1, 2, 3))
        cuts = sorted(self.dice.randint(0, size) for _ in range(parts - 1))
        frames = []
        for at, (first, last) in enumerate(zip([0, *cuts], [*cuts, size], strict=True)):
            frames.append(Frame(CONTINUATION if at else opcode, payload[first:last], at == parts - 1))
            if self.dice.random() < 0.1:
                frames.append(Frame(PING, b"%d:%d" % (self.number, self.sequence)))
        return frames

    async def _send(self, frames: list[Frame]) -> None:
        for each in frames:
            await self._answer_pings()
            mask = ZERO_MASK if len(each.payload) > SMALL else self.dice.randbytes(4)
            raw = frame(each.opcode, each.payload, fin=each.fin, mask=mask)
            self.sent.count(raw, each)
            await self.end.http.send(raw)

    async def _answer_pings(self) -> None:
        while self._pongs:
            payload = self._pongs.pop(0)
            await self.end.http.send(frame(PONG, payload, mask=ZERO_MASK))  # to the proxy, which counts it elsewhere

    async def _expect(self, wanted: Frame) -> None:
        """The echo of `wanted` comes next, but for pings of the proxy's own: echo servers send none."""
        while (got := await self.end.receive()).opcode == PING:
            self._pongs.append(got.payload)
        shown = attrs.evolve(wanted, opcode=PONG) if wanted.opcode == PING else wanted
        assert got == shown, f"tunnel {self.number}, message {self.sequence}: {describe(got)}, not {describe(shown)}"
        self.received.count(frame(got.opcode, got.payload, fin=got.fin), got)


def describe(shown: Frame) -> str:
    return f"opcode {shown.opcode}, fin {shown.fin}, {len(shown.payload)} B {shown.payload[:40]!r}"
