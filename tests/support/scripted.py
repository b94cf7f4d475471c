"""One proxy's connections without the proxy around them: clients and upstreams are played by the test, octet by octet.

Everything lives in the test's own Trio run, over Unix sockets: they deliver at once, so the autojump clock never overtakes
octets on their way. `tcp=True` is for tests of resets, without that clock. Behind every test it is checked that no lease,
no tunnel and no descriptor is left.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import attrs
import trio
from support.descriptors import open_descriptors
from support.http_client import HttpConnection
from support.upstream import reply

from trioproxy import metrics as m
from trioproxy.client import Entrance
from trioproxy.config import (
    Config,
    LimitsConfig,
    ListenerConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    TimeoutsConfig,
    UpstreamConfig,
)
from trioproxy.connection import handle_connection
from trioproxy.context import Context
from trioproxy.dialing import IdleConnections
from trioproxy.logs import Log
from trioproxy.metrics import Metrics
from trioproxy.readiness import Readiness
from trioproxy.relay import open_relay
from trioproxy.routing import Router
from trioproxy.sockets import Socket
from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import TlsStream
from trioproxy.upstreams import Pool
from trioproxy.wire.http1 import RequestParser

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.http_client import Head

    from trioproxy.tls.identity import Identity
    from trioproxy.tls.stream import OverSocket
    from trioproxy.upstreams import Upstream

    Script = Callable[[HttpConnection], Awaitable[None]]

CLIENT = "192.0.2.7"  # where the clients say they are
GUARD_SECONDS = 20_000.0  # on the mock clock what hangs fails at once
REFUSED = "unix:/nowhere/at/all"  # an upstream that refuses connections


def socket_pair(*, tcp: bool = False) -> tuple[Socket, Socket]:
    """Two connected ends."""
    if tcp:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ends = [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    else:
        ends = list(socket.socketpair())
    for end in ends:
        end.setblocking(False)
    first, second = (Socket(end) for end in ends)
    return first, second


@attrs.define(eq=False)
class Peer:
    """A listening upstream, and how many connections it got."""

    sock: socket.socket
    address: str
    tls: ssl.SSLContext | None = None
    accepted: int = 0

    def close(self) -> None:
        """Close the listener: further connects are refused; connections under way go on."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    async def serve(self, script: Script) -> None:
        async with trio.open_nursery() as nursery:
            while self.sock.fileno() >= 0:
                try:
                    await trio.lowlevel.wait_readable(self.sock)
                    connection = self.sock.accept()[0]
                except trio.ClosedResourceError:
                    break
                connection.setblocking(False)
                self.accepted += 1
                nursery.start_soon(self._talk, Socket(connection), script)

    async def _talk(self, stream: Socket, script: Script) -> None:
        """One that the proxy leaves in the middle is no failure of the test."""
        async with stream:
            over: OverSocket = stream
            with suppress(ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError, TlsError):
                if self.tls is not None:
                    over = await TlsStream.accept(stream, self.tls)
                await script(HttpConnection(over))
            over.close()  # at once, also where cancelled


def listen(folder: str, number: int, *, tcp: bool, tls: ssl.SSLContext | None = None) -> Peer:
    if tcp:
        sock = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"{folder}/{number}")
        sock.listen()
        address = f"unix:{folder}/{number}"
    sock.setblocking(False)
    return Peer(sock, address, tls)


@attrs.define(eq=False)
class Answers:
    """An upstream's script: whole requests are read and recorded, each gets the next answer, the last one for ever.

    None closes the connection instead; `keep` False closes it behind each answer.
    """

    answers: tuple[bytes | None, ...] = (reply(b"fine"),)
    keep: bool = True
    heads: list[Head] = attrs.field(factory=list)
    bodies: list[bytes] = attrs.field(factory=list)
    connections: int = 0

    async def __call__(self, http: HttpConnection) -> None:
        self.connections += 1
        while True:
            head = await http.head()
            self.heads.append(head)
            self.bodies.append(await http.body(head))
            answer = self.answers[min(len(self.heads), len(self.answers)) - 1]
            if answer is None:
                return
            await http.send(answer)
            if not self.keep:
                return


def answers(*given: bytes | None, keep: bool = True) -> Answers:
    return Answers(given or (reply(b"fine"),), keep)


@attrs.define(eq=False)
class Harness:
    """The context all connections share, and the ways to open some."""

    context: Context
    peers: list[Peer]
    _nursery: trio.Nursery
    _tcp: bool
    _clients: list[Socket] = attrs.field(factory=list)
    entrance: Entrance = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.entrance = Entrance(self.context.config.listeners[0])

    def connect(self, *, trusted: bool = False, address: str = CLIENT) -> HttpConnection:
        """A client's connection, being served."""
        ours, theirs = socket_pair(tcp=self._tcp)
        self._clients.append(ours)
        self.context.connection_began()
        handle = partial(handle_connection, trusted=trusted, ended=self.context.connection_ended)
        self._nursery.start_soon(handle, self.context, theirs, self.entrance, address)
        return HttpConnection(ours)

    @property
    def tasks(self) -> set[trio.lowlevel.Task]:
        """The connections that are open."""
        return set(self._nursery.child_tasks)

    async def ask(self, raw: bytes, *, trusted: bool = False) -> Any:
        """One answer to `raw`, on a connection that is closed behind it and has ended."""
        http = self.connect(trusted=trusted)
        await http.send(raw)
        answer = await http.answer(raw.split(b" ", 1)[0])
        await self.hang_up(http)
        return answer

    async def hang_up(self, http: HttpConnection) -> None:
        await http.stream.aclose()
        await self.context.no_connections()

    @property
    def pool(self) -> Pool:
        return self.context.pools["backend"]

    @property
    def idle(self) -> IdleConnections:
        return self.context.idle["backend"]

    @property
    def upstreams(self) -> list[Upstream]:
        return self.pool.upstreams

    @property
    def log(self) -> list[dict[str, Any]]:
        return self.context.log.events

    def counted(self, metric: m.Metric) -> dict[str, int]:
        """What a counter stands at: by its labels, joined by blanks; without those at 0."""
        metrics = self.context.metrics
        series = [each.labels for each in metrics.board.layout.series if each.name == metric.name]
        values = {" ".join(labels): int(metrics.value(metric, labels)) for labels in series}
        return {labels: value for labels, value in values.items() if value}

    @property
    def endings(self) -> dict[str, int]:
        return self.counted(m.ENDINGS)

    @property
    def codes(self) -> dict[str, int]:
        """Requests by code."""
        codes: dict[str, int] = {}
        for labels, value in self.counted(m.REQUESTS).items():
            code = labels.rpartition(" ")[2]
            codes[code] = codes.get(code, 0) + value
        return codes

    def cut(self) -> None:
        """Cancel all connections."""
        self._nursery.cancel_scope.cancel()

    def end(self) -> None:
        self.cut()
        for client in self._clients:
            client.close()

    def check_nothing_left(self) -> None:
        context = self.context
        assert [upstream.active for upstream in self.upstreams] == [0] * len(self.upstreams)
        assert not any(upstream.handshakes for upstream in self.upstreams)
        assert not context.tunnels and not context.waiting and not context.connections
        assert not any(self.counted(m.TUNNELS_ACTIVE).values())


def octets_read(monkeypatch: Any) -> list[int]:
    """What will have been read from clients up to their tunnels, in the sizes it was read in."""
    read: list[int] = []
    receive = RequestParser.receive_data

    def listen(parser: RequestParser, data: bytes) -> None:
        read.append(len(data))
        receive(parser, data)

    monkeypatch.setattr(RequestParser, "receive_data", listen)
    return read


def make_context(addresses: list[str], relay: Any, *, log: Log | None = None, **settings: Any) -> Context:
    """A context of one listener, one route, one pool, all upstreams up."""
    upstreams = tuple(UpstreamConfig(address=each, **settings.get("upstream", {})) for each in addresses)
    timeouts = TimeoutsConfig(**settings.get("timeouts", {}))
    route = RouteConfig(
        **{"name": "all", "path": "/", "pool": "backend", "timeouts": timeouts, **settings.get("route", {})}
    )
    pool = PoolConfig(name="backend", upstreams=upstreams, **settings.get("pool", {}))
    config = Config(
        server=ServerConfig(**settings.get("server", {})),
        listeners=(ListenerConfig(**{"name": "public", "address": "127.0.0.1:0", **settings.get("listener", {})}),),
        routes=(route,),
        pools={"backend": pool},
        timeouts=timeouts,
        limits=LimitsConfig(**settings.get("limits", {})),
    )
    living = Pool(pool)
    for upstream in living.upstreams:
        upstream.observe(ok=True)
    return Context(
        config=config,
        router=Router(config.routes),
        pools={"backend": living},
        idle={"backend": IdleConnections(pool.keep_alive, pool.keep_alive_connections)},
        metrics=Metrics(),
        log=log or Log.memory(),
        relay=relay,
        max_connections=config.limits.max_connections,
    )


@asynccontextmanager
async def proxying(
    *scripts: Script | str,
    bugs: int = 0,
    tcp: bool = False,
    tls: tuple[ssl.SSLContext, Identity] | None = None,
    **settings: Any,
) -> AsyncIterator[Harness]:
    """Connections to a pool of scripted upstreams (or given addresses); with `tls` they have that, and have to prove it.

    `settings` are tables of the configuration: `pool`, `route`, `listener`, `limits`, `timeouts`, `server`, and `upstream` for
    what all upstreams have in common. `bugs` is how many exceptions the test provokes that the proxy has to survive.
    """
    before = open_descriptors()
    with TemporaryDirectory() as folder:
        async with trio.open_nursery() as services:
            peers: list[Peer] = []
            addresses: list[str] = []
            for number, script in enumerate(scripts):
                if callable(script):
                    peers.append(listen(folder, number, tcp=tcp, tls=tls and tls[0]))
                    services.start_soon(peers[-1].serve, script)
                    addresses.append(peers[-1].address)
                else:
                    addresses.append(script)
            context = make_context(addresses, open_relay(services), **settings)
            for upstream in context.pools["backend"].upstreams:
                upstream.identity = tls and tls[1]
            services.start_soon(context.waits.watch)
            context.readiness = Readiness()
            services.start_soon(context.readiness.serve)
            async with trio.open_nursery() as connections:
                harness = Harness(context, peers, connections, tcp)
                try:
                    with trio.fail_after(GUARD_SECONDS):
                        yield harness
                finally:
                    harness.end()
            services.cancel_scope.cancel()
        context.idle["backend"].close()
        for peer in peers:
            peer.close()
    harness.check_nothing_left()
    assert [event["event"] for event in harness.log].count("internal_error") == bugs, harness.log
    assert open_descriptors() == before


@asynccontextmanager
async def silent_address() -> AsyncIterator[str]:
    """A loopback address whose queue is full: a connect to it is never answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = [socket.socket(), socket.socket()]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        for filler in fillers:
            filler.close()
