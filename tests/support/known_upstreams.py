"""Upstreams in the test's own Trio run that do what they are asked, count it in a ledger, and can be killed and revived.

Who asks them is `known_load`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import CLOSE, PING, PONG, WebSocket, close_payload, upgrade_answer
from support.http_client import HttpConnection
from support.ledger import SentFrames
from support.upstream import reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.http_client import Head
    from support.ledger import Ledger

OWN = b"of an endpoint"  # what endpoints say in their pings; those of the proxy say something else
BYE = "bye"  # what endpoints say in a Close
SLOW_SECONDS = 0.06


@attrs.define(eq=False)
class KnownUpstream:
    """One server on a fixed port. What it answers is in the request: the last part of its path, or a message's text."""

    ledger: Ledger
    pool: str
    nursery: trio.Nursery  # its connections live in it
    port: int = 0
    probes: list[float] = attrs.Factory(list)  # when each was answered, in Unix time
    connections: set[trio.SocketStream] = attrs.Factory(set)
    _scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, again after a `kill`."""
        listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        self._scope = trio.CancelScope()
        self.nursery.start_soon(self._listen, listeners)

    async def kill(self) -> None:
        """As the end of a process: nobody listens any more, and all its connections end at once."""
        self._scope.cancel()
        for stream in tuple(self.connections):
            await trio.aclose_forcefully(stream)

    async def _listen(self, listeners: list[trio.SocketListener]) -> None:
        with self._scope:
            await trio.serve_listeners(self._handle, listeners, handler_nursery=self.nursery)

    async def _handle(self, stream: trio.SocketStream) -> None:
        self.connections.add(stream)
        try:
            with suppress(ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
                await self._serve(HttpConnection(stream))
        finally:
            self.connections.discard(stream)
            await trio.aclose_forcefully(stream)

    async def _serve(self, http: HttpConnection) -> None:
        """Requests until the peer goes, the last perhaps an upgrade."""
        fresh = True
        while True:
            head = await http.head()
            path = head.start.split(b" ")[1]
            if path == b"/health":
                self.probes.append(time.time())
                await http.send(reply(b"", "200 OK", "Connection: close"))
                return
            if fresh:
                self.ledger.observe("connect_duration_seconds", 0.0, 3.0, pool=self.pool)
                fresh = False
            word = path.rpartition(b"/")[2].decode()
            if head.get(b"upgrade") is not None:
                await self._upgrade(http, head, word)
                return
            await self._answer(http, head, word)

    async def _answer(self, http: HttpConnection, head: Head, word: str) -> None:
        """`/web/404`, `/web/slow`; a body is sent back, without one there are as many bytes as the word says."""
        body = await http.body(head)
        started = trio.current_time()
        if word == "slow":
            await trio.sleep(SLOW_SECONDS)
        took = trio.current_time() - started
        status = f"{word} As asked" if word in {"404", "500"} else "200 OK"
        content = body or (b"x" * int(word) if word.isdigit() else b"x")
        await http.send(reply(content, status, f"X-Server: {self.address}", f"X-Took: {took}"))

    async def _upgrade(self, http: HttpConnection, head: Head, word: str) -> None:
        match word:
            case "refused":
                await http.send(reply(b"", "403 Forbidden", f"X-Server: {self.address}"))
            case "invalid":
                right = upgrade_answer(head)
                await http.send(right.replace(b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"))
            case "silent":
                await http.rest()
            case _:
                started = trio.current_time()
                if word == "slow":
                    await trio.sleep(SLOW_SECONDS)
                took = trio.current_time() - started
                await http.send(upgrade_answer(head, f"X-Server: {self.address}", f"X-Took: {took}"))
                await self._echo(WebSocket(http, head, mask=None))

    async def _echo(self, end: WebSocket) -> None:
        """Data goes back as it came; a message may ask for something else, a Close is answered with the same."""
        sent = SentFrames(self.ledger, self.pool, self.address, "to_client")

        async def say(opcode: int, payload: bytes, *, fin: bool = True) -> None:
            await end.send(opcode, payload, fin=fin)
            sent.count(opcode, payload, fin=fin)

        while True:
            frame = await end.receive()
            match frame.opcode, frame.payload:
                case (1, b"ping me"):
                    await say(PING, OWN)
                case (1, b"close with 4001"):
                    await say(CLOSE, close_payload(4001, BYE))
                case (1, b"leave without a word"):
                    return
                case (9, payload) if payload != OWN:
                    await end.send(PONG, payload)
                    self._pinged()
                case (8, payload):
                    await self._left(say, payload)
                    return
                case (opcode, payload) if opcode != PONG:
                    await say(PONG if opcode == PING else opcode, payload, fin=frame.fin)

    def _pinged(self) -> None:
        """By the proxy; it is answered."""
        for opcode in ("ping", "pong"):
            self.ledger.add("injected_frames_total", pool=self.pool, side="upstream", opcode=opcode)
        self.ledger.observe("ping_rtt_seconds", 0.0, 20.0, pool=self.pool, side="upstream")

    async def _left(self, say: Callable[[int, bytes], Awaitable[None]], payload: bytes) -> None:
        """A Close has come: of the client, with its word, or of the proxy."""
        if payload and not payload.endswith(BYE.encode()):
            self.ledger.add("injected_frames_total", pool=self.pool, side="upstream", opcode="close")
        if payload != close_payload(4001, BYE):  # the reply to its own
            await say(CLOSE, payload)
