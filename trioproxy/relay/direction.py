"""One way through a tunnel: what has come, what is owed to the side at its end, and how far its end has come.

What any of it means for the tunnel is decided in `relay.tunnel`.
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, TypeAlias

import attrs

from trioproxy.errors import Source
from trioproxy.wire.traffic import BYTES, INJECTED
from trioproxy.wire.websocket import FrameScanner, Opcode

if TYPE_CHECKING:
    from trioproxy.relay.heartbeat import Heartbeat
    from trioproxy.wire.traffic import Traffic

Octets: TypeAlias = bytes  # its name inside `Direction`, whose `bytes` is a count


@attrs.define(eq=False)
class Direction:
    """One way through a tunnel: what came from `source`, and what the other side, its sink, is still owed.

    `bytes` counts octets received, frame headers included. `active` is when the last of them came, in Trio's time.
    Pongs that answer the proxy's own pings are in neither. `heartbeat` are the pings to the sink, where there are any.
    The rest is between `relay.tunnel` and the engines: `held` is an incomplete header, Close or Pong that waits
    for its rest; `owed` is a frame of the proxy's own that waits for a frame boundary; `muted` says that what comes
    is read, counted and dropped; `ended` that the source sent FIN or vanished; `fin` that the sink gets FIN once all
    before it is sent, `finished` that it got it; `lost` that the sink takes no more; `reset` that the sink must be
    closed with RST; `stalled` is since when a write made no progress, infinity if none waits.
    """

    source: Source
    scanner: FrameScanner
    bytes: int = 0
    published: int = 0  # of them, those that `traffic` has
    active: float = 0.0
    stalled: float = math.inf
    held: Octets = b""
    owed: Octets = b""
    heartbeat: Heartbeat | None = None
    injected_code: int | None = None
    injected_close: bool = False
    said_close: bool = False  # the sink was sent a Close frame, the source's or ours, or is owed one
    muted: bool = False
    ended: bool = False
    fin: bool = False
    finished: bool = False
    lost: bool = False
    reset: bool = False

    @property
    def sink(self) -> Source:
        """The side that receives."""
        return Source.UPSTREAM if self.source is Source.CLIENT else Source.CLIENT

    @property
    def traffic(self) -> Traffic:
        """What all tunnels of the upstream counted in this direction, but for the `bytes` not yet published."""
        return self.scanner.traffic

    @property
    def frames(self) -> int:
        """Frames received."""
        return self.scanner.frames

    @property
    def messages(self) -> int:
        """Messages received to their last byte."""
        return self.scanner.messages

    def publish(self) -> None:
        """Bring the shared count of octets up to date; at every read it would cost more than a look a second."""
        # Fewer than before: part of a Pong had been counted, which proved to be the answer to a ping of ours.
        if self.bytes != self.published:  # most stood still
            self.traffic.cells[BYTES] += self.bytes - self.published
            self.published = self.bytes

    @property
    def close_code(self) -> int | None:
        """The code of the source's Close frame, 1005 if it carried none; None if there was no Close."""
        return self.scanner.close_code

    @property
    def on_boundary(self) -> bool:
        """Whether what was passed on so far ends with a whole frame."""
        return not self.scanner.left

    @property
    def due(self) -> bool:
        """Whether what is owed may be sent behind all that was passed on so far."""
        return bool(self.owed) and self.on_boundary

    def mask(self) -> Octets | None:
        """What to mask a frame to the sink with. RFC 6455 §5.3: only to a server, and unpredictable."""
        return secrets.token_bytes(4) if self.sink is Source.UPSTREAM else None

    def inject(self) -> Octets:
        """What is owed, to be sent at the boundary where the caller stands; behind a Close the direction is mute."""
        owed, self.owed = self.owed, b""
        if self.heartbeat is not None and owed[0] & 15 == Opcode.PING:
            self.heartbeat.sent()
        else:
            self.injected_close = self.muted = True
        self.traffic.cells[INJECTED + (owed[0] & 15)] += 1
        return owed
