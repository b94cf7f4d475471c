"""A tunnel, its two directions, and every decision about how it goes on and ends, without doing I/O.

Both engines ask here after each event, so they end tunnels alike; moving the bytes is theirs (`relay.streams`,
`relay.pump`).
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.relay.bucket import Quota
from trioproxy.relay.direction import Direction
from trioproxy.relay.heartbeat import Heartbeat
from trioproxy.wire.traffic import INJECTED, Traffic, UpstreamTraffic
from trioproxy.wire.websocket import TOO_LARGE, TOO_MANY, FrameScanner, Opcode, close_frame, ping_frame

if TYPE_CHECKING:
    from trioproxy.config import WebSocketConfig

SWEEP: Final = 1.0  # seconds between two looks at a tunnel's deadlines, in both engines

GOING_AWAY: Final = 1001  # RFC 6455 §7.4.1
PROTOCOL_ERROR: Final = 1002
POLICY_VIOLATION: Final = 1008
MESSAGE_TOO_BIG: Final = 1009
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012  # in IANA's registry: come back, in a moment

_LAST_WORDS: Final = 1.0  # seconds for what is still unsent when a deadline has passed
_SILENCE: Final = frozenset({Reason.TIMEOUT, Reason.IDLE, Reason.STALLED})  # endings for want of bytes
_AGE_JITTER: Final = 0.1  # of `max_age`, so that tunnels that opened together do not end together


class Engine(Protocol):
    """What runs a tunnel, as the tunnel knows it."""

    def look(self, tunnel: Tunnel) -> None:
        """Something was decided about the tunnel: do what follows from it."""


@attrs.define(eq=False)
class Tunnel:
    """An upgraded client/upstream pair, from the byte behind the handshake heads to its end.

    `settings` are those of its route, one object for all of its tunnels; `extensions` says whether the 101 negotiated
    any; `idle_timeout` and `close_timeout` are seconds. `traffic` is where it counts, with the other tunnels of its
    upstream. The early bytes are what each side sent right behind its head. The streams stay the caller's, who closes
    them when `Relay.run` is over; only then.
    """

    client: trio.abc.HalfCloseableStream
    upstream: trio.abc.HalfCloseableStream
    settings: WebSocketConfig = attrs.field(kw_only=True)
    extensions: bool = attrs.field(kw_only=True)
    idle_timeout: float = attrs.field(kw_only=True)
    close_timeout: float = attrs.field(kw_only=True)
    traffic: UpstreamTraffic = attrs.field(kw_only=True, factory=UpstreamTraffic)
    early_to_upstream: bytes = attrs.field(kw_only=True, default=b"")
    early_to_client: bytes = attrs.field(kw_only=True, default=b"")
    to_upstream: Direction = attrs.field(init=False)
    to_client: Direction = attrs.field(init=False)
    over: bool = attrs.field(init=False, default=False)
    suspended: bool = attrs.field(init=False, default=False)  # neither side is read, nor what was read passed on
    engine: Engine | None = attrs.field(init=False, default=None)  # while it runs the tunnel
    _stage: int = attrs.field(init=False, default=0)  # steps of the closing taken so far; 0 while it is open
    _deadline: float = attrs.field(init=False, default=math.inf)
    _too_old: float = attrs.field(init=False, default=math.inf)
    _expired: bool = attrs.field(init=False, default=False)
    _cause: Ending | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        allowance = Quota.of(settings.max_message_rate, settings.max_frame_rate, trio.current_time())
        to_upstream = self._scanner(self.traffic.to_upstream, masked=True, allowance=allowance)
        to_client = self._scanner(self.traffic.to_client, masked=False, allowance=None)
        self.to_upstream = Direction(Source.CLIENT, to_upstream)
        self.to_client = Direction(Source.UPSTREAM, to_client)
        if settings.ping_interval:
            self.to_upstream.heartbeat = Heartbeat(settings.ping_interval)
            self.to_client.heartbeat = Heartbeat(settings.ping_interval)
        if settings.max_age:
            jitter = _AGE_JITTER * random.random()  # noqa: S311 -- no secret
            self._too_old = trio.current_time() + settings.max_age * (1 - jitter)

    def _scanner(self, traffic: Traffic, *, masked: bool, allowance: Quota | None) -> FrameScanner:
        return FrameScanner(
            masked=masked,
            strict=self.settings.strict,
            extensions=self.extensions,
            limit=self.settings.max_message_bytes,
            allowance=allowance,
            traffic=traffic,
        )

    # For the proxy at large.

    def publish(self) -> None:
        """Bring the traffic up to date, before they are read and once more behind the end."""
        self.to_upstream.publish()
        self.to_client.publish()

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

    def suspend(self) -> None:
        """Read and pass on no more, either way, until `resume`: what comes stays with its sender, and nothing is lost.

        The proxy's own frames go out, and deadlines pass as where both sides are silent; such an end is `injected`.
        """
        self.suspended = True
        self._changed()

    def resume(self) -> None:
        """Go on where `suspend` has stopped it."""
        self.suspended = False
        self._changed()

    # For the engines: what happened.

    def digest(self, way: Direction, buffer: bytes | bytearray, start: int, stop: int) -> tuple[int, bytes]:
        """Take in `buffer[start:stop]`, which begins with what was held back, if anything was.

        Returns where that which goes to the sink just as it came ends (`start` for nothing), and what goes out behind
        it: a frame of the proxy's own, and what it had to copy because the frame, or a Pong taken out, lies between.
        When both are on their way, call `settle`.
        """
        if way.scanner.allowance is not None:
            way.scanner.allowance.refill(trio.current_time())
        boundary = start + way.scanner.left
        return self.digest_scanned(way, buffer, start, boundary, way.scanner.scan(buffer, start, stop), stop)

    def digest_scanned(
        self, way: Direction, buffer: bytes | bytearray, start: int, boundary: int, end: int, stop: int
    ) -> tuple[int, bytes]:
        """As `digest`, where the scanner has let pass up to `end`; the first boundary is `boundary`, maybe behind."""
        scanner, behind, at, taken_out = way.scanner, b"", end, 0
        while scanner.pong:
            payload, size = scanner.take_pong()
            self._answered(way, payload)
            taken_out += size
            rest = at + size
            at = scanner.scan(buffer, rest, stop)
            behind += buffer[rest:at]
        way.bytes -= taken_out
        if at - start > taken_out or scanner.finished:
            way.active = trio.current_time()
        way.held = b"" if scanner.finished else bytes(buffer[at:stop])
        if way.muted:
            end, behind = start, b""
        elif way.owed and boundary <= end:
            frame = way.inject()
            behind = frame if way.muted else frame + buffer[boundary:end] + behind
            end = boundary
        if scanner.close_code is not None:
            self._conclude(way.source, Reason.DONE, f"close {scanner.close_code}")
            if not way.muted:
                way.said_close = True
                way.muted = self.settings.strict  # RFC 6455 §1.4: what comes behind a Close is discarded
        if scanner.breach:
            self._breach(way, scanner.breach)
            if way.due:
                behind += way.inject()
            way.muted = True
        return end, behind

    def source_ended(self, way: Direction, reason: Reason, detail: str = "") -> None:
        """The source sent FIN (`Reason.CLOSED`) or RST (`Reason.RESET`), or what is no TLS (`Reason.TLS`)."""
        other = self._other(way)
        if other.lost and reason is Reason.CLOSED:  # a write had the error of the RST, so the read behind it shows FIN
            reason = Reason.RESET
        elif reason is not Reason.CLOSED:
            self.sink_lost(other)
        if way.close_code is None:
            self._conclude(way.source, reason, detail)
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
        elif self._stage:
            return False
        elif now - max(self.to_client.active, self.to_upstream.active) >= self.idle_timeout:
            self._fail(Source.PROXY, Reason.IDLE, "", GOING_AWAY, GOING_AWAY)
        elif now >= self._too_old:
            self._conclude(Source.PROXY, Reason.AGED, f"close {SERVICE_RESTART}")
            self._owe(self.to_client, SERVICE_RESTART)
        elif not self._beat(self.to_client, now) | self._beat(self.to_upstream, now):
            return False
        self.settle()
        return True

    @property
    def closing(self) -> bool:
        """Whether its end has begun: a side has said Close or gone, or the proxy has asked for it."""
        return self._stage > 0

    @property
    def ending(self) -> Ending:
        """Who ended the tunnel and why, once it is `over`."""
        return self._cause or Ending(Source.PROXY, Phase.TUNNEL, Reason.CUT)

    @property
    def sent_code(self) -> int | None:
        """The code of the Close frame the proxy itself sent, of two the one that says more than 1001; None without."""
        codes = [way.injected_code for way in (self.to_client, self.to_upstream) if way.injected_close]
        return next((code for code in codes if code != GOING_AWAY), codes[0] if codes else None)

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
        done, injected = reason is Reason.DONE, self.suspended and reason in _SILENCE
        if self._cause is None:
            self._cause = Ending(by, Phase.CLOSE if done else self._phase, reason, detail, injected)
        elif self._cause.reason is Reason.DONE and not done and not self._shaken:
            self._cause = Ending(by, Phase.CLOSE, reason, detail, injected)

    def _absence(self, way: Direction) -> int:
        """The code that tells the sink that the source is gone or silent."""
        return INTERNAL_ERROR if way.sink is Source.CLIENT else GOING_AWAY

    def _owe(self, way: Direction, code: int) -> None:
        """Have the sink told Close, unless it was told before or hears no more."""
        if way.said_close or way.lost or way.finished:
            return
        way.owed, way.injected_code, way.said_close = close_frame(code, mask=way.mask()), code, True

    def _fail(self, by: Source, reason: Reason, detail: str, to_client: int, to_upstream: int) -> None:
        self._conclude(by, reason, detail)
        self._owe(self.to_client, to_client)
        self._owe(self.to_upstream, to_upstream)

    def _breach(self, way: Direction, breach: str) -> None:
        """What came this way breaks a rule, which both sides are told, or goes over a limit, which its source is."""
        detail = f"{way.source}: {breach}"
        if breach == TOO_LARGE and way is self.to_upstream:
            self._fail(Source.PROXY, Reason.TOO_LARGE, detail, MESSAGE_TOO_BIG, GOING_AWAY)
        elif breach == TOO_LARGE:
            self._fail(Source.PROXY, Reason.TOO_LARGE, detail, GOING_AWAY, MESSAGE_TOO_BIG)
        elif breach == TOO_MANY:
            self._fail(Source.PROXY, Reason.TOO_MANY, detail, POLICY_VIOLATION, GOING_AWAY)
        else:
            self._fail(way.source, Reason.PROTOCOL, detail, PROTOCOL_ERROR, PROTOCOL_ERROR)

    def _beat(self, way: Direction, now: float) -> bool:
        """Have the sink pinged if it is time, or given up if it stayed silent; whether there is anything to do."""
        heartbeat, back = way.heartbeat, self._other(way)
        if heartbeat is None or self.over:
            return False
        since = heartbeat.silent_since(back.active, inside_frame=not back.on_boundary)
        if since < math.inf:
            if way.stalled < math.inf:  # it took something then, while the ping waits behind the rest
                since = max(since, way.stalled)
            return now - since >= self.settings.ping_timeout and self._silent(way, back)
        payload = b"" if way.owed or way.said_close else heartbeat.prepare(now)
        if payload:
            way.owed = ping_frame(payload, mask=way.mask())
            back.scanner.awaited = heartbeat.awaited
        return bool(payload)

    def _answered(self, back: Direction, payload: bytes) -> None:
        """The Pong that came from `back`'s source answers a ping of ours."""
        way = self._other(back)
        if way.heartbeat is None:
            return
        seconds = way.heartbeat.answered(payload)
        back.scanner.awaited = way.heartbeat.awaited
        if seconds is not None:
            way.traffic.cells[INJECTED + Opcode.PONG] += 1
            way.traffic.add_round_trip(seconds)

    def _silent(self, way: Direction, back: Direction) -> bool:
        """The sink answered no ping: cut it, and tell the other side."""
        self._conclude(way.sink, Reason.TIMEOUT, f"no Pong from the {way.sink} in {self.settings.ping_timeout:g} s")
        self.sink_lost(way)
        way.reset = back.ended = back.fin = True
        self._owe(back, self._absence(back))
        if back.owed and not back.on_boundary:  # no Close fits inside a frame
            self._abort()
        return True

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
                way.reset = way.reset or not (way.finished or way.lost)
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
        if self.engine is not None:
            self.engine.look(self)
