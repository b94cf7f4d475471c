"""A tunnel, its two directions, and every decision about how it goes on and ends, without doing I/O.

Both engines ask here after each event, so they end tunnels alike; moving the bytes is theirs (`relay.streams`,
`relay.pump`).
"""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.wire.websocket import FrameScanner, Opcode, close_frame

if TYPE_CHECKING:
    from collections.abc import Callable

Octets: TypeAlias = bytes  # its name inside `Direction`, whose `bytes` is a count

SWEEP: Final = 1.0  # seconds between two looks at a tunnel's deadlines, in both engines

GOING_AWAY: Final = 1001  # RFC 6455 §7.4.1
PROTOCOL_ERROR: Final = 1002
INTERNAL_ERROR: Final = 1011

_LAST_WORDS: Final = 1.0  # seconds for what is still unsent when a deadline has passed
_CLOSE_BYTES: Final = 2  # of payload in the Close frames sent from here


@attrs.define(eq=False)
class Direction:
    """One way through a tunnel: what came from `source`, and what the other side, its sink, is still owed.

    `bytes` counts octets received, frame headers included. `active` is when the last of them came, in Trio's time.
    The rest is between the decisions below and the engines: `held` is an incomplete header or Close frame that waits
    for its rest; `owed` is a frame of the proxy's own that waits for a frame boundary; `muted` says that what comes
    is read, counted and dropped; `ended` that the source sent FIN or vanished; `fin` that the sink gets FIN once all
    before it is sent, `finished` that it got it; `lost` that the sink takes no more; `reset` that the sink must be
    closed with RST; `stalled` is since when a write made no progress, infinity if none waits.
    """

    source: Source
    scanner: FrameScanner
    bytes: int = 0
    active: float = 0.0
    stalled: float = math.inf
    held: Octets = b""
    owed: Octets = b""
    injected_code: int | None = None
    injected_close: int = 0
    injected_ping: int = 0
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
    def frames(self) -> list[int]:
        """Frames received by opcode; a list of 16, live."""
        return self.scanner.frames

    @property
    def messages(self) -> int:
        """Messages received to their last byte."""
        return self.scanner.messages

    @property
    def close_code(self) -> int | None:
        """The code of the source's Close frame, 1005 if it carried none; None if there was no Close."""
        return self.scanner.close_code

    @property
    def injected(self) -> list[int]:
        """Frames the proxy sent in this direction, by opcode; a list of 16, a copy."""
        frames = [0] * 16
        frames[Opcode.CLOSE], frames[Opcode.PING] = self.injected_close, self.injected_ping
        return frames

    @property
    def on_boundary(self) -> bool:
        """Whether what was passed on so far ends with a whole frame."""
        return not self.scanner.left

    @property
    def due(self) -> bool:
        """Whether what is owed may be sent behind all that was passed on so far."""
        return bool(self.owed) and self.on_boundary

    def inject(self) -> Octets:
        """What is owed, to be sent at the boundary where the caller stands; from here on the direction is mute."""
        owed, self.owed = self.owed, b""
        self.injected_close += 1
        self.muted = True
        return owed


@attrs.define(eq=False)
class Tunnel:
    """An upgraded client/upstream pair, from the byte behind the handshake heads to its end.

    `extensions` says whether the 101 negotiated any; `idle_timeout` and `close_timeout` are seconds. The early bytes
    are what each side sent right behind its head. The streams stay the caller's, who closes them when `Relay.run` is
    over; only then.
    """

    client: trio.abc.HalfCloseableStream
    upstream: trio.abc.HalfCloseableStream
    strict: bool = attrs.field(kw_only=True)
    extensions: bool = attrs.field(kw_only=True)
    idle_timeout: float = attrs.field(kw_only=True)
    close_timeout: float = attrs.field(kw_only=True)
    early_to_upstream: bytes = attrs.field(kw_only=True, default=b"")
    early_to_client: bytes = attrs.field(kw_only=True, default=b"")
    to_upstream: Direction = attrs.field(init=False)
    to_client: Direction = attrs.field(init=False)
    over: bool = attrs.field(init=False, default=False)
    wake: Callable[[], object] | None = attrs.field(init=False, default=None)  # the engine's, while it runs the tunnel
    _stage: int = attrs.field(init=False, default=0)  # steps of the closing taken so far; 0 while it is open
    _deadline: float = attrs.field(init=False, default=math.inf)
    _expired: bool = attrs.field(init=False, default=False)
    _cause: Ending | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        def direction(source: Source) -> Direction:
            masked = source is Source.CLIENT
            return Direction(source, FrameScanner(masked=masked, strict=self.strict, extensions=self.extensions))

        self.to_upstream = direction(Source.CLIENT)
        self.to_client = direction(Source.UPSTREAM)

    # For the proxy at large.

    def close(self, code: int, reason: Reason, by: Source = Source.PROXY) -> None:
        """Ask for the polite close: the client gets a Close frame with this code at the next frame boundary.

        From there on what the upstream sends is dropped. The client's own Close flows on to the upstream; if the
        client goes without one, the upstream gets 1001. Over when both sides have ended, or `close_timeout` after the
        last step. Idempotent, and without effect once the tunnel is closing for any reason.
        """
        if self._stage:
            return
        self._conclude(by, reason, f"close {code}")
        self._owe(self.to_client, code)
        self._changed()

    def cut(self) -> None:
        """End the tunnel now, with RST to both sides. Idempotent."""
        if self.over:
            return
        if not self._shaken:
            self._cause = Ending(Source.PROXY, self._phase, Reason.CUT)
        self._abort()
        self._changed()

    # For the engines: what happened.

    def digest(self, way: Direction, buffer: bytes | bytearray, start: int, stop: int) -> tuple[int, bytes]:
        """Take in `buffer[start:stop]`, which begins with what was held back, if anything was.

        Returns where that which goes to the sink just as it came ends (`start` for nothing), and what the proxy
        itself sends behind it. When both are on their way, call `settle`.
        """
        boundary = start + way.scanner.left
        return self.digest_scanned(way, buffer, start, boundary, way.scanner.scan(buffer, start, stop), stop)

    def digest_scanned(
        self, way: Direction, buffer: bytes | bytearray, start: int, boundary: int, end: int, stop: int
    ) -> tuple[int, bytes]:
        """As `digest`, where the scanner has let pass up to `end`; the first boundary is `boundary`, maybe behind."""
        scanner = way.scanner
        injection = b""
        way.held = b"" if scanner.finished else bytes(buffer[end:stop])
        if way.muted:
            end = start
        elif way.owed and boundary <= end:
            end, injection = boundary, way.inject()
        if scanner.close_code is not None:
            self._conclude(way.source, Reason.DONE, f"close {scanner.close_code}")
            if not way.muted:
                way.said_close = True
                way.muted = self.strict  # RFC 6455 §1.4: what comes behind a Close is discarded
        if scanner.breach:
            self._fail(way.source, Reason.PROTOCOL, f"{way.source}: {scanner.breach}", PROTOCOL_ERROR)
            injection = way.inject() if way.due else injection
            way.muted = True
        return end, injection

    def source_ended(self, way: Direction, reason: Reason) -> None:
        """The source sent FIN (`Reason.CLOSED`) or RST (`Reason.RESET`)."""
        other = self._other(way)
        if other.lost:  # a write had the error of the RST, so the read behind it looks like FIN
            reason = Reason.RESET
        elif reason is Reason.RESET:
            self.sink_lost(other)
        if way.close_code is None:
            self._conclude(way.source, reason)
        way.ended = way.fin = True
        self._owe(way, self._absence(way))
        if way.owed and not way.on_boundary:  # no Close fits inside a frame
            self._abort()

    def sink_lost(self, way: Direction) -> None:
        """The sink takes no more. What its side sent before is still read."""
        way.lost = way.muted = True
        way.owed = b""
        way.stalled = math.inf

    def fault(self, error: Exception) -> None:
        """A bug of ours: end this tunnel and only this."""
        self._cause = Ending(Source.PROXY, self._phase, Reason.INTERNAL, repr(error))
        self._abort()

    def settle(self) -> bool:
        """Draw conclusions from what happened: which FINs are due, until when the next step is, whether all is over.

        True if either direction may have something new to do.
        """
        ways = self.to_client, self.to_upstream
        stage = 0
        for way, other in (ways, ways[::-1]):
            # RFC 6455 §7.1.1: once both have said Close, the connection ends; to the side we said it to, the proxy is
            # the peer.
            if way.injected_close and (other.close_code is not None or other.scanner.breach or other.ended):
                way.fin = True
            stage += way.said_close + way.injected_close + way.ended + way.finished + way.lost
            stage += way.close_code is not None
        if stage == self._stage and not self.over:
            return False
        self._stage = stage
        if not self._expired:
            self._deadline = trio.current_time() + self.close_timeout
        if all(way.finished or way.lost for way in ways) and (self._expired or all(way.ended for way in ways)):
            self.over = True
        return True

    def tick(self, now: float) -> bool:
        """Look at the deadlines; True if anything is to be done about them. Every `SWEEP` seconds is enough."""
        if now >= self._deadline:
            self._expire(now)
        elif stalled := self._stalled(now):
            self._conclude(stalled, Reason.STALLED)
            self._abort()
        elif not self._stage and now - max(self.to_client.active, self.to_upstream.active) >= self.idle_timeout:
            self._fail(Source.PROXY, Reason.IDLE, "", GOING_AWAY)
        else:
            return False
        self.settle()
        return True

    @property
    def ending(self) -> Ending:
        """Who ended the tunnel and why, once it is `over`."""
        return self._cause or Ending(Source.PROXY, Phase.TUNNEL, Reason.CUT)

    @property
    def sent_code(self) -> int | None:
        """The code of the Close frame the proxy itself sent, the client's first; None if it sent none."""
        for way in (self.to_client, self.to_upstream):
            if way.injected_close:
                return way.injected_code
        return None

    # The decisions behind.

    @property
    def _phase(self) -> Phase:
        closing = any(way.said_close or way.ended for way in (self.to_client, self.to_upstream))
        return Phase.CLOSE if closing else Phase.TUNNEL

    @property
    def _shaken(self) -> bool:
        """Whether both sides have sent their Close."""
        return self.to_client.close_code is not None and self.to_upstream.close_code is not None

    def _other(self, way: Direction) -> Direction:
        return self.to_upstream if way is self.to_client else self.to_client

    def _conclude(self, by: Source, reason: Reason, detail: str = "") -> None:
        """Note a cause. The first stands, but a closing handshake can still fail until both have sent their Close."""
        done = reason is Reason.DONE
        if self._cause is None:
            self._cause = Ending(by, Phase.CLOSE if done else self._phase, reason, detail)
        elif self._cause.reason is Reason.DONE and not done and not self._shaken:
            self._cause = Ending(by, Phase.CLOSE, reason, detail)

    def _absence(self, way: Direction) -> int:
        """The code that tells the sink that the source is gone or silent."""
        return INTERNAL_ERROR if way.sink is Source.CLIENT else GOING_AWAY

    def _owe(self, way: Direction, code: int) -> None:
        """Have the sink told Close, unless it was told before or hears no more."""
        if way.said_close or way.lost or way.finished:
            return
        mask = secrets.token_bytes(4) if way.sink is Source.UPSTREAM else None  # RFC 6455 §5.3: unpredictable
        way.owed, way.injected_code, way.said_close = close_frame(code, mask=mask), code, True

    def _fail(self, by: Source, reason: Reason, detail: str, code: int) -> None:
        self._conclude(by, reason, detail)
        self._owe(self.to_client, code)
        self._owe(self.to_upstream, code)

    def _abort(self) -> None:
        self.to_client.reset = self.to_upstream.reset = True
        self.over = True

    def _stalled(self, now: float) -> Source | None:
        """The side that has not taken a byte of what waits for it for `idle_timeout`."""
        for way in (self.to_client, self.to_upstream):
            if now - way.stalled >= self.idle_timeout:
                return way.sink
        return None

    def _expire(self, now: float) -> None:
        """The next step of the closing was not done in time: last words to who can hear them, then the end."""
        if self._expired:
            for way in (self.to_client, self.to_upstream):
                way.reset = not (way.finished or way.lost)
            self.over = True
            return
        self._expired = True
        self._deadline = now + _LAST_WORDS
        for way in (self.to_client, self.to_upstream):
            if way.lost and self._other(way).close_code is None:
                self._conclude(way.sink, Reason.RESET)
        for way in (self.to_client, self.to_upstream):
            if way.close_code is None:
                self._conclude(way.source, Reason.TIMEOUT, f"no Close from the {way.source}")
        for way in (self.to_client, self.to_upstream):
            self._owe(way, self._absence(way))
            way.fin = True
            if way.owed and not way.on_boundary:
                way.reset = True
                self.sink_lost(way)

    def _changed(self) -> None:
        self.settle()
        if self.wake is not None:
            self.wake()
