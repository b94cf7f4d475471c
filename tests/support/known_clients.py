"""Clients that write into a ledger what they sent and got, under the names of the metrics it should show up in.

What they do when, and with which upstreams, is `known_load`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import CLOSE, PING, PONG, WebSocket, close_payload, upgrade_request
from support.http_client import HttpConnection, ask, dial, get_request, reset
from support.known_upstreams import BYE, OWN
from support.ledger import SentFrames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.frames import Frame
    from support.ledger import Ledger

PONG_SECONDS = 0.02  # what a client takes to answer a ping
DONE = ("upstream", "response", "done")


@attrs.define(eq=False)
class Site:
    """A proxy as its clients know it; `pools` are those of its routes, a route's path being its name."""

    address: str
    ledger: Ledger
    pools: dict[str, str]
    lives: dict[Talker, float] = attrs.Factory(dict)  # ended tunnels, and how many seconds they were open at least

    def _came(self, path: str, kind: str, code: int, ending: tuple[str, str, str]) -> tuple[str, str]:
        route = path.split("/")[1]
        pool = self.pools.get(route, "none")
        route = route if route in self.pools else "none"
        self.ledger.add("connections_total", listener="public")
        self.ledger.add("requests_total", route=route, pool=pool, kind=kind, code=str(code))
        self.ended(*ending)
        return route, pool

    def ended(self, by: str, phase: str, reason: str) -> None:
        self.ledger.add("endings_total", by=by, phase=phase, reason=reason)

    def came_and_went(self) -> None:
        """A connection without a request."""
        self.ledger.add("connections_total", listener="public")
        self.ended("client", "head", "done")

    async def ask(self, path: str, code: int = 200, body: bytes = b"", ending: tuple[str, str, str] = DONE) -> None:
        """A plain request on a connection of its own, whose answer has to be `code`."""
        started = trio.current_time()
        lines = ["Connection: close", *([f"Content-Length: {len(body)}"] if body else [])]
        method = "POST" if body else "GET"
        answer = await ask(self.address, get_request(path, *lines, method=method) + body)
        took = trio.current_time() - started
        assert answer.status == code, (path, answer)
        route, pool = self._came(path, "http", code, ending)
        if pool != "none":
            least = float(answer.get(b"x-took") or 0)
            self.ledger.observe("request_duration_seconds", least, took, route=route, pool=pool)
        if (server := answer.get(b"x-server")) is not None:
            labels = {"pool": pool, "upstream": server.decode()}
            self.ledger.add("http_bytes_total", len(body), **labels, direction="to_upstream")
            self.ledger.add("http_bytes_total", len(answer.body), **labels, direction="to_client")

    async def ask_amiss(self, raw: bytes, code: int) -> None:
        """What is no request at all."""
        assert (await ask(self.address, raw)).status == code
        self._came("/", "http", code, ("client", "head", "invalid"))

    async def knock(self, path: str, code: int, ending: tuple[str, str, str], *lines: str) -> float:
        """A handshake that comes to nothing; how long it took."""
        started = trio.current_time()
        answer = await ask(self.address, upgrade_request(path, *lines))
        assert answer.status == code, (path, answer)
        self._came(path, "websocket", code, ending)
        return trio.current_time() - started

    def shaken(self, path: str, upstream: str, result: str) -> None:
        """One upstream's part in a handshake."""
        route = path.split("/")[1]
        self.ledger.add("handshakes_total", route=route, pool=self.pools[route], upstream=upstream, result=result)
        if result in {"invalid", "timeout"}:
            self.failed(self.pools[route], upstream, "handshake")

    def failed(self, pool: str, upstream: str, reason: str) -> None:
        """An upstream did, at something."""
        self.ledger.add("upstream_failures_total", pool=pool, upstream=upstream, reason=reason)

    @asynccontextmanager
    async def tunnel(self, path: str) -> AsyncIterator[Talker]:
        """An open tunnel, listened to until its end, which has to come before that of the block."""
        async with trio.open_nursery() as nursery:
            talker = await self.open(path, nursery)
            yield talker
            await talker.over.wait()

    async def open(self, path: str, nursery: trio.Nursery) -> Talker:
        """An open tunnel, listened to in `nursery`."""
        began = trio.current_time()
        http = HttpConnection(await dial(self.address))
        await http.send(upgrade_request(path))
        head = await http.head()
        assert b" 101 " in head.start + b" ", (path, head)
        now = trio.current_time()
        route, pool, server = (
            path.split("/")[1],
            self.pools[path.split("/")[1]],
            (head.get(b"x-server") or b"").decode(),
        )
        ledger = self.ledger
        ledger.add("connections_total", listener="public")
        ledger.add("requests_total", route=route, pool=pool, kind="websocket", code="101")
        ledger.add("tunnels_total", route=route, pool=pool, upstream=server)
        ledger.observe("handshake_duration_seconds", float(head.get(b"x-took") or 0), now - began, pool=pool)
        self.shaken(path, server, "accepted")
        talker = Talker(self, WebSocket(http, head), route, pool, server, began, now)
        nursery.start_soon(talker.listen)
        return talker

    def settle(self) -> None:
        """All that ended has been counted by now: what the durations of the tunnels were at most is known."""
        now = trio.current_time()
        for talker, least in self.lives.items():
            self.ledger.observe("tunnel_duration_seconds", least, now - talker.began, pool=talker.pool)
        self.lives.clear()


@attrs.define(eq=False)
class Talker:
    """A client's end of a tunnel: what it sends is counted, and what the proxy put in."""

    site: Site
    end: WebSocket
    route: str
    pool: str
    upstream: str
    began: float  # before the connect
    opened: float  # once the 101 had come
    pings: int = 0  # of the proxy, answered
    pongs: int = 0  # to pings of the upstream
    data: int = 0  # data frames that came
    close_code: int | None = None
    silent: bool = False  # it has said its last word
    over: trio.Event = attrs.Factory(trio.Event)
    asked: trio.Event = attrs.Factory(trio.Event)  # to leave
    ready: trio.Event | None = None  # where set, it does not leave before that
    sent: SentFrames = attrs.Factory(
        lambda self: SentFrames(self.site.ledger, self.pool, self.upstream, "to_upstream"), takes_self=True
    )
    _looks: trio.Event = attrs.Factory(trio.Event)
    _turn: trio.Lock = attrs.Factory(trio.Lock)

    async def say(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """One frame, counted."""
        if opcode == CLOSE:
            self.last_word()
        async with self._turn:
            await self.end.send(opcode, payload, fin=fin)
        self.sent.count(opcode, payload, fin=fin)

    async def listen(self) -> None:
        """Answer pings and a Close, until the end."""
        try:
            while True:
                await self._got(await self.end.receive())
        except (ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
            self.last_word()
        await trio.aclose_forcefully(self.end.http.stream)
        self.over.set()
        self._look()

    async def converse(self, messages: int, pause: float) -> None:
        """That many of text and of binary messages and of fragmented ones, each answered before the next."""
        for number in range(messages):
            before = self.data
            await self.say(1, b"%06d" % number + b"." * 14)
            await self.say(2, b"\1" * 300)
            await self.say(1, b"a" * 700, fin=False)
            await self.say(0, b"b" * 700)
            await self.say(PING, OWN)
            await self.until(lambda: self.data == before + 4)  # noqa: B023
            await trio.sleep(pause)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looked at whenever something came."""
        while not condition():
            assert not self.over.is_set(), "it is over"
            await self._looks.wait()

    async def leave(self, payload: bytes = close_payload(1000, BYE), label: str = "1000") -> None:
        """The closing handshake, begun here."""
        await self.say(CLOSE, payload)
        await self.over.wait()
        self.gone("client", label, ("client", "close", "done"))

    async def vanish(self) -> None:
        """Reset the connection."""
        self.last_word()
        reset(self.end.http.stream)
        await self.over.wait()
        self.gone("client", "none", ("client", "tunnel", "reset"))

    async def dismissed(self, code: int, by: str, label: str, ending: tuple[str, str, str]) -> None:
        """Until a Close with this code has come and it is over."""
        await self.over.wait()
        assert self.close_code == code, (self.close_code, code)
        self.gone(by, label, ending)

    def gone(self, by: str, code: str, ending: tuple[str, str, str]) -> None:
        """Count how it ended: who did it, and the label of the Close code."""
        self.site.ledger.add("closes_total", pool=self.pool, upstream=self.upstream, by=by, code=code)
        self.site.ended(*ending)
        if ending[:2] == ("upstream", "tunnel"):
            self.site.failed(self.pool, self.upstream, "tunnel")

    def lost(self) -> None:
        """Its worker died: nobody is left to count its end."""
        assert self.over.is_set()
        self.site.lives.pop(self, None)

    def last_word(self) -> None:
        """From here on it may be over at any moment."""
        if not self.silent:
            self.silent = True
            self.site.lives[self] = trio.current_time() - self.opened

    async def _got(self, got: Frame) -> None:
        match got.opcode, got.payload:
            case (9, payload) if payload == OWN:
                await self.say(PONG, payload)
                self.pongs += 1
            case (9, payload):
                self._injected("ping")
                if not self.silent:
                    await self._answer(payload)
                self.pings += 1
            case (8, payload):
                self.close_code = got.close_code if payload else 1005
                if payload and not payload.endswith(BYE.encode()):
                    self._injected("close")
                self.asked.set()
                if self.ready is not None:
                    await self.ready.wait()
                if not self.silent:
                    await self.say(CLOSE, close_payload(self.close_code, BYE))
        self.data += got.opcode < CLOSE
        self._look()

    async def _answer(self, payload: bytes) -> None:
        await trio.sleep(PONG_SECONDS)
        async with self._turn:
            if self.silent:
                return
            await self.end.send(PONG, payload)
        self._injected("pong")
        self.site.ledger.observe("ping_rtt_seconds", PONG_SECONDS, 20.0, pool=self.pool, side="client")

    def _look(self) -> None:
        looks, self._looks = self._looks, trio.Event()
        looks.set()

    def _injected(self, opcode: str) -> None:
        self.site.ledger.add("injected_frames_total", pool=self.pool, side="client", opcode=opcode)
