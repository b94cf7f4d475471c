"""Bytes that are nearly HTTP, made fast: cases of the corpus, spoilt and spliced by a seed's dice.

What they mean is nobody's business here: `fuzz` judges meanings, this only looks for what breaks the proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.corpus import load_cases
from support.http_messages import PIECES

if TYPE_CHECKING:
    import random

LONGEST = 12_000  # bytes of a seed
SPOILINGS = (1, 1, 1, 2, 3, 4)
SHARE_WHOLE = 0.25  # of the seeds that go out as they are

GET = b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST /%d HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"
UPGRADE = (
    b"GET /%d HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\x81\x85abcd\x09\x07\x0f\x08\x0e"
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n",
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\nno",
)


class Mutator:
    """One stream of spoilt requests, and one of spoilt answers."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        corpus = [case.raw for case in load_cases() if len(case.raw) <= LONGEST]
        fresh = [template % number for template in (GET, POST, UPGRADE) for number in range(60)]
        self._requests = [*corpus, *fresh]

    def request(self) -> bytes:
        return self._spoilt(self._requests)

    def answer(self) -> bytes:
        return self._spoilt(ANSWERS)

    def _spoilt(self, seeds: list[bytes] | tuple[bytes, ...]) -> bytes:
        dice = self._dice
        raw = dice.choice(seeds)
        if dice.random() < SHARE_WHOLE:
            return raw
        for _ in range(dice.choice(SPOILINGS)):
            at = int(dice.random() * len(raw))
            raw = self._once(raw, at, seeds)
        return raw

    def _once(self, raw: bytes, at: int, seeds: list[bytes] | tuple[bytes, ...]) -> bytes:
        dice = self._dice
        end = at + int(dice.random() * 9)
        piece = dice.choice(PIECES)
        other = dice.choice(seeds)
        ways = (
            raw[:at] + piece + raw[at:],
            raw[:at] + piece + raw[end:],
            raw[:at] + raw[end:],
            raw[:end] + raw[at:end] + raw[end:],
            raw[:at] + bytes([int(dice.random() * 256)]) + raw[at + 1 :],
            raw[:at] + other[int(dice.random() * len(other)) :],
            raw[:at],
        )
        return dice.choice(ways)
