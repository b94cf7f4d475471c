"""Clients that open tunnels, send numbered messages, check their echoes, and come again when they are cut off.

Real ones, of trio-websocket. What they saw goes into `records`.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.connection import ConnectionState

from trioproxy.chaos import trail
from trioproxy.chaos.records import End, Tunnel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trioproxy.chaos.scenario import LoadConfig

_CLOSE_SECONDS: Final = 5.0  # for the closing handshake at the end


@attrs.define(eq=False)
class Load:
    """The clients of one run, against a proxy at `host` and `port`. Made when the load begins."""

    settings: LoadConfig
    host: str
    port: int
    seed: int
    duration: float
    tunnels: list[Tunnel] = attrs.field(factory=list, init=False)
    start: float = attrs.field(factory=trio.current_time, init=False)

    async def run(self) -> None:
        """For `duration` seconds, and until the last echoes have come or patience has ended."""
        async with trio.open_nursery() as nursery:
            for number, begin in enumerate(arrivals(self.settings, self.seed)):
                nursery.start_soon(self._client, number, begin)

    @property
    def now(self) -> float:
        """Seconds from the beginning."""
        return trio.current_time() - self.start

    async def _client(self, number: int, begin: float) -> None:
        await trio.sleep(begin)
        count = 0
        while self.now < self.duration:
            tunnel = Tunnel(f"{number}-{count}", number, self.now)
            self.tunnels.append(tunnel)
            plan = planned(self.settings, self.seed, tunnel.name)
            until = min(self.now + plan.lifetime, self.duration)
            await _Talk(self, tunnel, until, plan.phase).run()
            count += 1
            if not self.settings.reconnect:
                return
            if tunnel.end is not End.CLIENT:
                await trio.sleep(plan.pause)


def arrivals(settings: LoadConfig, seed: int) -> Sequence[float]:
    """When each client comes, in seconds from the beginning."""
    random = Random(f"{seed} arrivals")
    make: Callable[[int], float] = {
        "even": lambda number: settings.ramp * number / settings.clients,
        "random": lambda _: random.uniform(0, settings.ramp),
        "burst": lambda _: settings.ramp,
    }[settings.arrival]
    return sorted(make(number) for number in range(settings.clients))


@attrs.frozen
class Plan:
    """What is left to chance of one tunnel."""

    lifetime: float  # seconds it is to be kept, if nobody else ends it
    phase: float  # the part of the time between two messages before its first, so that clients do not all send at once
    pause: float  # seconds before its client opens another, where it ended otherwise


def planned(settings: LoadConfig, seed: int, name: str) -> Plan:
    """The plan of the tunnel of that name: by the seed alone, whatever became of the tunnels before."""
    random = Random(f"{seed} tunnel {name}")
    lifetime = settings.lifetime or math.inf
    if settings.lifetimes == "exponential" and settings.lifetime:
        lifetime = random.expovariate(1 / settings.lifetime)
    return Plan(lifetime, random.random(), settings.pause * (1 + random.uniform(0, settings.jitter)))


@attrs.define(eq=False)
class _Talk:
    """One tunnel from the handshake to its end."""

    load: Load
    tunnel: Tunnel
    until: float
    phase: float
    _websocket: WebSocketConnection | None = attrs.field(default=None, init=False)
    _due: dict[str, float] = attrs.field(factory=dict, init=False)  # what has no echo yet, and when it was sent
    _waiting: float = attrs.field(default=math.inf, init=False)  # since when an echo is due and nothing has come
    _last: int = attrs.field(default=-1, init=False)
    _quiet: trio.Event = attrs.field(factory=trio.Event, init=False)  # all is sent, and every echo came

    async def run(self) -> None:
        try:
            with trio.move_on_after(self.load.settings.patience) as handshake:
                stream = await trio.open_tcp_stream(self.load.host, self.load.port)
        except OSError as error:
            self._failed(f"connect: {error.__cause__ or error}")
            return
        if handshake.cancelled_caught:
            self._failed("connect: timeout")
            return
        async with stream:
            # trio-websocket leaves its socket open where the peer ends the tunnel, and raises groups.
            try:
                async with trio.open_nursery() as nursery:
                    with trio.move_on_after(self.load.settings.patience) as handshake:
                        websocket = await self._open(nursery, stream)
                    if handshake.cancelled_caught:
                        self._failed("timeout")
                    else:
                        await self._converse(websocket)
                    nursery.cancel_scope.cancel()
            except* (HandshakeError, ConnectionClosed, trio.BrokenResourceError, trio.ClosedResourceError) as group:
                self._over(_first(group))
            self.tunnel.unanswered.extend(self._due.values())
            if self.tunnel.ended is not None:
                self._waited_until(self.tunnel.ended)

    async def _open(self, nursery: trio.Nursery, stream: trio.SocketStream) -> WebSocketConnection:
        fields = [(trail.CONNECTION.encode(), self.tunnel.name.encode())]
        host = f"{self.load.host}:{self.load.port}"
        websocket = await wrap_client_stream(nursery, stream, host, self.load.settings.path, extra_headers=fields)
        self._websocket = websocket
        self.tunnel.opened = self.load.now
        self.tunnel.upstream = _upstream(websocket)
        return websocket

    async def _converse(self, websocket: WebSocketConnection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, websocket)
            await self._send(websocket)
            if self._due:
                with trio.move_on_after(self.load.settings.patience):
                    await self._quiet.wait()
            self.tunnel.end, self.tunnel.ended = End.CLIENT, self.load.now
            with trio.move_on_after(_CLOSE_SECONDS):
                await websocket.aclose()
            nursery.cancel_scope.cancel()

    async def _send(self, websocket: WebSocketConnection) -> None:
        settings, start = self.load.settings, trio.current_time()
        while self.load.now < self.until:
            if settings.rate:
                await trio.sleep_until(start + (self.tunnel.sent + self.phase) / settings.rate)
            else:
                await trio.sleep(self.until - self.load.now)
            if self.load.now >= self.until:
                return
            message = self._message(self.tunnel.sent)
            now = self.load.now
            self._waiting = self._waiting if self._due else now
            self._due[message] = now
            self.tunnel.sent += 1
            await websocket.send_message(message)

    async def _receive(self, websocket: WebSocketConnection) -> None:
        while True:
            message = await websocket.get_message()
            self._check(message)
            if not self._due:
                self._quiet.set()
                self._quiet = trio.Event()

    def _check(self, message: str | bytes) -> None:
        tunnel = self.tunnel
        text = message if isinstance(message, str) else message.decode(errors="replace")
        sent = self._due.pop(text, None)
        number = _number(text, tunnel.name)
        ours = 0 <= number < tunnel.sent and text == self._message(number)
        if sent is not None:
            tunnel.echoed += 1
            tunnel.reordered += number < self._last
            self._last = max(self._last, number)
            now = self.load.now
            tunnel.round_trips.append((sent, now - sent))
            self._waited_until(now)
        elif ours:
            tunnel.duplicated += 1
        else:
            tunnel.corrupted += 1

    def _message(self, number: int) -> str:
        return f"{self.tunnel.name} {number} ".ljust(self.load.settings.size, "=")

    def _waited_until(self, now: float) -> None:
        self.tunnel.silence = max(self.tunnel.silence, now - self._waiting)
        self._waiting = now if self._due else math.inf

    def _failed(self, why: str) -> None:
        self.tunnel.failure, self.tunnel.ended = why, self.load.now

    def _over(self, error: BaseException) -> None:
        if self.tunnel.opened is None:
            status = f"status {error.status_code}" if isinstance(error, ConnectionRejected) else ""
            self._failed(status or type(error).__name__)
            return
        if self.tunnel.end is not None:  # the end of a close of our own
            return
        self.tunnel.ended = self.load.now
        reason = error.reason if isinstance(error, ConnectionClosed) else None
        # trio-websocket gives what is no frame a code, too, though nobody has sent a Close.
        state = self._websocket._wsproto.state if self._websocket else None  # noqa: SLF001
        self.tunnel.invalid = isinstance(error, ConnectionClosed) and state is ConnectionState.OPEN
        if reason is None or self.tunnel.invalid or reason.code == 1006:  # noqa: PLR2004 - no Close (RFC 6455 §7.1.5)
            self.tunnel.end = End.CUT
        else:
            self.tunnel.end = End.CLOSED
            self.tunnel.code = None if reason.code == 1005 else reason.code  # noqa: PLR2004 - a Close without a code


def _upstream(websocket: WebSocketConnection) -> int | None:
    values = [value for name, value in websocket.handshake_headers if name.lower() == trail.UPSTREAM.lower().encode()]
    return int(values[0]) if values and values[0].isdigit() else None


def _number(text: str, name: str) -> int:
    """Which message of this tunnel it is; -1 for none of it."""
    owner, _, rest = text.partition(" ")
    number = rest.partition(" ")[0]
    return int(number) if owner == name and number.isdigit() else -1


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
