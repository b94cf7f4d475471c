"""The proxy's own pings to one side of a tunnel: when one is due, which are open, how long an answer took.

Where in the stream they go, which Pongs answer them, and what silence means for the tunnel is decided in
`relay.tunnel`; how precisely a ping is on time depends on its sweep.
"""

from __future__ import annotations

import math
import random
import secrets
from typing import Final

import attrs
import trio

PAYLOAD: Final = 12  # bytes of randomness: no endpoint's own ping will have the same
OPEN: Final = 32  # pings remembered of a side that is heard but does not answer each (RFC 6455 §5.5.3: it need not)


@attrs.define(eq=False)
class Heartbeat:
    """Pings to one side, every `interval` seconds.

    The first is due at a random moment of the first interval, so that tunnels that opened together do not ping
    together. A next one is not sent before the side was heard since the last one.
    """

    interval: float
    _due: float = attrs.field(init=False)
    _last: float = attrs.field(default=-math.inf, init=False)  # when the last one was sent
    _next: bytes = attrs.field(default=b"", init=False)  # payload of the one that waits to be sent
    _open: tuple[tuple[bytes, float], ...] = attrs.field(default=(), init=False)  # payload, when it was sent

    def __attrs_post_init__(self) -> None:
        self._due = trio.current_time() + self.interval * random.random()  # noqa: S311 -- no secret

    @property
    def awaited(self) -> tuple[bytes, ...]:
        """The payloads of pings that may still be answered."""
        waiting = (self._next,) if self._next else ()
        return tuple(payload for payload, _ in self._open) + waiting

    def silent_since(self, active: float, *, inside_frame: bool) -> float:
        """From when to count the side's silence if it is to answer before it is pinged again; infinity if it need not.

        `active` is when its last octet came. Whatever it sends behind a ping is a sign of life: it may have answered
        a later ping only, say one from beyond the proxy. Inside a frame no Pong fits: there it has an interval more.
        """
        if not self._open:
            return math.inf
        if active < self._last:
            return self._last
        return active + self.interval if inside_frame else math.inf

    def prepare(self, now: float) -> bytes:
        """The payload for a ping, if it is time for one; else nothing. Once `sent` it is open."""
        if now < self._due or self._next:
            return b""
        self._due = max(self._due + self.interval, now)
        self._next = secrets.token_bytes(PAYLOAD)
        return self._next

    def sent(self) -> None:
        """The prepared ping goes out now."""
        self._last = trio.current_time()
        self._open = (*self._open[1 - OPEN :], (self._next, self._last))
        self._next = b""

    def answered(self, payload: bytes) -> float | None:
        """An open ping was answered, and those before it will not be. Returns the round trip in seconds, if known."""
        payloads = [each for each, _ in self._open]
        if payload not in payloads:
            return None
        at = payloads.index(payload)
        seconds = trio.current_time() - self._open[at][1]
        self._open = self._open[at + 1 :]
        return seconds
