"""The demo: two echo upstreams, the proxy in front, clients that talk through it, and a failover to watch.

Everything here is real: trio-websocket servers and clients over loopback, a proxy as `serve` makes it. It is a show,
and a place to try things; measuring is `bench`'s work.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs
import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    WebSocketRequest,
    WebSocketServer,
    serve_websocket,
    wrap_client_stream,
)

from trioproxy.config import (
    AdminConfig,
    Config,
    HealthConfig,
    ListenerConfig,
    PoolConfig,
    RouteConfig,
    UpstreamConfig,
)
from trioproxy.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioproxy.server import Proxy

HOST: Final = "127.0.0.1"
CLIENTS: Final = 6
PAUSE: Final = 0.2  # seconds between two messages of one client
MESSAGES: Final = 25  # of one tunnel, then its client opens another
REPORT: Final = 2.0  # seconds between two lines
AWAY_AFTER: Final = 3.0  # seconds into each round that one upstream is taken away
AWAY_FOR: Final = 3.0
ROUND: Final = 9.0
POOL: Final = "demo"
# Quick probes, so that the proxy's view of an upstream follows within half a second.
HEALTH: Final = HealthConfig(probe="websocket", interval=0.5, timeout=0.5, rise=1, fall=1)


@attrs.define(eq=False)
class EchoUpstream:
    """A WebSocket server that answers each message with its own name in front."""

    name: str
    port: int = 0

    @property
    def address(self) -> str:
        """Where it listens, once it did."""
        return f"{HOST}:{self.port}"

    async def run(self, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """Serve until the started scope is cancelled, which cuts its connections too; the same port every time."""
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                server: WebSocketServer = await nursery.start(serve_websocket, self._echo, HOST, self.port, None)
                self.port = server.port
                task_status.started(scope)

    async def _echo(self, request: WebSocketRequest) -> None:
        websocket: WebSocketConnection = await request.accept()
        with contextlib.suppress(ConnectionClosed):
            while True:
                await websocket.send_message(f"{self.name} {as_text(await websocket.get_message())}")


def as_text(message: str | bytes) -> str:
    """A message as text, whichever type it came in."""
    return message if isinstance(message, str) else message.decode()


@attrs.define(eq=False)
class Tally:
    """What the clients saw."""

    answers: Counter[str] = attrs.field(factory=Counter)  # by upstream, since the last line
    reconnects: int = 0
    failed_handshakes: int = 0
    wrong_answers: int = 0

    def add(self, answer: str | bytes, message: str) -> None:
        """Count an answer under the upstream that names itself in front of it."""
        name, _, echoed = as_text(answer).partition(" ")
        self.answers[name] += 1
        self.wrong_answers += echoed != message


async def run_demo(duration: float, tally: Tally, say: Callable[[str], None]) -> None:
    """Run the show for `duration` seconds, which may be infinite; `say` gets its lines, `tally` what clients see."""
    upstreams = [EchoUpstream("alpha"), EchoUpstream("beta")]
    async with trio.open_nursery() as nursery:
        scopes = [await nursery.start(upstream.run) for upstream in upstreams]
        async with serve(demo_config(upstreams)) as proxy:
            public, admin = proxy.listeners[0].address, proxy.admin_address
            say(f"proxy      ws://{public}/  in front of " + " and ".join(f"{u.name} ({u.address})" for u in upstreams))
            say(f"metrics    http://{admin}/metrics")
            say(f"page       http://{admin}/")
            say(
                f"{CLIENTS} clients talk through it; now and then alpha goes away for {AWAY_FOR:g} s. Ctrl-C stops all."
            )
            with trio.move_on_after(duration):
                async with trio.open_nursery() as show:
                    for number in range(CLIENTS):
                        show.start_soon(_talk, int(public.rpartition(":")[2]), number, tally)
                    show.start_soon(_report, proxy, upstreams, tally, say)
                    await _take_away_and_bring_back(nursery, upstreams[0], scopes[0], say)
            say(f"reconnects: {tally.reconnects}, failed handshakes: {tally.failed_handshakes}")
        nursery.cancel_scope.cancel()


def demo_config(upstreams: list[EchoUpstream]) -> Config:
    """One listener, one route, one pool, on ports that are free."""
    pool = PoolConfig(
        name=POOL, upstreams=tuple(UpstreamConfig(address=upstream.address) for upstream in upstreams), health=HEALTH
    )
    return Config(
        listeners=(ListenerConfig(name="public", address=f"{HOST}:0"),),
        routes=(RouteConfig(name="everything", path="/", pool=POOL),),
        pools={POOL: pool},
        admin=AdminConfig(address=f"{HOST}:0"),
    )


async def _talk(port: int, number: int, tally: Tally) -> None:
    """One client: connects, talks for a while, and connects again, also where its tunnel was ended for it."""
    while True:
        try:
            await _converse(port, number, tally)
        except* ConnectionClosed:
            tally.reconnects += 1
        except* HandshakeError:
            tally.failed_handshakes += 1
            await trio.sleep(PAUSE)


async def _converse(port: int, number: int, tally: Tally) -> None:
    # Not open_websocket_url: it leaves its socket open where the peer ends the tunnel.
    async with await trio.open_tcp_stream(HOST, port) as stream, trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(nursery, stream, HOST, "/chat")
        for count in range(MESSAGES):
            message = f"message {count} of client {number}"
            await websocket.send_message(message)
            tally.add(await websocket.get_message(), message)
            await trio.sleep(PAUSE)
        await websocket.aclose()


async def _report(proxy: Proxy, upstreams: list[EchoUpstream], tally: Tally, say: Callable[[str], None]) -> None:
    start = trio.current_time()
    pool = proxy.context.pools[POOL]
    while True:
        await trio.sleep(REPORT)
        columns = [
            f"{upstream.name} {living.state:<7} {living.active} tunnels {tally.answers[upstream.name]:4} answers"
            for upstream, living in zip(upstreams, pool.upstreams, strict=True)
        ]
        say(f"{trio.current_time() - start:5.1f} s  " + "   ".join(columns) + f"   reconnects {tally.reconnects}")
        tally.answers.clear()


async def _take_away_and_bring_back(
    nursery: trio.Nursery, upstream: EchoUpstream, scope: trio.CancelScope, say: Callable[[str], None]
) -> None:
    while True:
        await trio.sleep(AWAY_AFTER)
        say(f"         {upstream.name} is taken away: its clients are told, and find the other one")
        scope.cancel()
        await trio.sleep(AWAY_FOR)
        scope = await nursery.start(upstream.run)
        say(f"         {upstream.name} is back: new tunnels go there again")
        await trio.sleep(ROUND - AWAY_AFTER - AWAY_FOR)
