"""A relay under test: two raw peers with a tunnel between them, run by a named engine, and proof of which one ran it.

Whole proxies are in `support.proxy`; hand-made frames in `support.frames`.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import attrs
import trio
import trio.testing
from support.frames import CLOSE, MASK, close_payload, frame
from support.tls_peers import TlsEnd, tls_between
from wsproto.frame_protocol import FrameProtocol

from trioproxy.config import WebSocketConfig
from trioproxy.relay import Tunnel
from trioproxy.relay.pump import Pump
from trioproxy.relay.streams import StreamsRelay
from trioproxy.sockets import Socket
from trioproxy.tls.stream import TlsStream
from trioproxy.transport import NOTSENT_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trioproxy.errors import Ending

ENGINES = ["streams", "pump", "pump-tls"]
TLS_ENGINES = ["pump-tls", "pump-tls-client", "pump-tls-upstream", "pump-tls-1.2", "streams-tls"]
PIECE = 256 * 1024  # bytes a peer encrypts at once
SMALL = 32 * 1024  # bytes asked for as a socket buffer; with much less, TCP's timers make a test slow


@attrs.define(eq=False)
class Peer:
    """The far end of one of the tunnel's sockets, with TLS or without."""

    sock: trio.socket.SocketType
    mask: bytes | None
    tls: TlsEnd | None = None
    received: bytearray = attrs.field(factory=bytearray, init=False)

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
        return frame(opcode, payload, fin=fin, mask=self.mask, rsv=rsv)

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            await self.send_octets(self.tls.encrypt(piece) if self.tls else piece)

    async def send_octets(self, octets: bytes) -> None:
        """As they travel."""
        while octets:
            octets = octets[await self.sock.send(octets) :]

    async def send_close(self, code: int = 1000) -> bytes:
        sent = self.frame(CLOSE, close_payload(code))
        await self.send(sent)
        return sent

    async def receive(self) -> bytes:
        """What comes next; nothing at FIN."""
        while octets := await self.sock.recv(1 << 16):
            data = self.tls.decrypt(octets) if self.tls else octets
            if data:
                return data
        assert not self.tls or self.tls.ended, "FIN without close_notify"
        return b""

    async def take(self, size: int) -> bytes:
        """Exactly so many bytes, or what comes before FIN."""
        while len(self.received) < size and (data := await self.receive()):
            self.received += data
        taken = bytes(self.received[:size])
        del self.received[:size]
        return taken

    async def rest(self) -> bytes:
        """All up to FIN."""
        return await self.take(1 << 40)

    def waiting(self) -> bytes:
        """What has come and was not taken, without waiting for more."""
        try:
            octets = self.sock._sock.recv(1 << 16)  # type: ignore[attr-defined]
        except BlockingIOError:
            return b""
        return self.tls.decrypt(octets) if self.tls else octets

    def fin(self) -> None:
        if self.tls:
            self.sock._sock.send(self.tls.close_notify())  # type: ignore[attr-defined]
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST; over TCP only."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


@attrs.define(eq=False)
class Rig:
    """A tunnel being relayed between two peers."""

    relay: Any
    tunnel: Tunnel
    client: Peer
    upstream: Peer
    cancel_scope: trio.CancelScope
    over: trio.Event = attrs.field(factory=trio.Event)
    result: Ending | None = None
    ended_at: float = 0.0

    async def ending(self) -> Ending:
        await self.over.wait()
        assert self.result is not None
        return self.result

    async def run(self) -> None:
        try:
            with self.cancel_scope:
                self.result = await self.relay.run(self.tunnel)
        finally:
            self.ended_at = trio.current_time()
            for stream in (self.tunnel.client, self.tunnel.upstream):
                stream.close()
            self.over.set()

    def summary(self) -> tuple[str, str, str]:
        assert self.result is not None
        return self.result.by.value, self.result.phase.value, self.result.reason.value


def small_buffers(*socks: Any) -> None:
    for sock in socks:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)


async def tcp_pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        near = trio.socket.socket()
        await near.connect(listener.getsockname())
        far, _ = await listener.accept()
    for sock in (near, far):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the proxy's are
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_BYTES)
    return near, far


def as_socket(sock: trio.socket.SocketType) -> Socket:
    """The same connection as the proxy would have it; `sock` is done with."""
    return Socket(socket.socket(fileno=sock.detach()))


async def unix_pair() -> tuple[trio.socket.SocketType, trio.socket.SocketType]:
    return trio.socket.socketpair()


@attrs.define(eq=False)
class Engine:
    """A relay that runs, and where its tunnels are to have TLS."""

    relay: Any
    name: str

    @property
    def registered(self) -> int:
        return getattr(self.relay, "registered", 0)

    def tls_to(self, side: str) -> bool:
        _, tls, which = [*self.name.split("-"), "", ""][:3]
        return bool(tls) and which in {"", "1.2", side}

    @property
    def version(self) -> ssl.TLSVersion | None:
        return ssl.TLSVersion.TLSv1_2 if self.name.endswith("1.2") else None


@asynccontextmanager
async def engine_running(engine: str) -> AsyncIterator[Engine]:
    """The relay of that name. At the end it must have been the one that moved the bytes."""
    calls = 0

    def counted(method: Any) -> Any:
        async def spy(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            return await method(*args)

        return spy

    stream = Socket
    with (
        mock.patch.object(stream, "send_all", counted(stream.send_all)),
        mock.patch.object(stream, "receive_some", counted(stream.receive_some)),
    ):
        async with trio.open_nursery() as nursery:
            if engine.startswith("pump"):
                pump = Pump(_raise)
                await nursery.start(pump.serve)
                yield Engine(pump, engine)
                assert pump.registered == 0, "descriptors were left behind"
                assert calls == 0 and pump.turns
            else:
                yield Engine(StreamsRelay(), engine)
                assert calls
            nursery.cancel_scope.cancel()


def _raise(error: Exception) -> None:
    raise error


@asynccontextmanager
async def tunnel_between(
    relay: Any,
    pair: Any = unix_pair,
    *,
    buffers: Any = lambda *_: None,
    before: Any = lambda _: None,
    prepare: Any = lambda _: None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A tunnel that `relay`, or an `Engine`'s, runs; both streams are closed when it is over, as a connection would.

    `settings` are keys of [websocket], and of Tunnel. `buffers` is called with the four sockets, `before` with the tunnel before it runs,
    `prepare` with the whole rig.
    """
    client, near_client = await pair()
    upstream, near_upstream = await pair()
    buffers(client, near_client, upstream, near_upstream)
    names = {field.name for field in attrs.fields(WebSocketConfig)} & settings.keys()
    websocket = WebSocketConfig(**{name: settings.pop(name) for name in names})
    values = {"settings": websocket, "extensions": False, "idle_timeout": 3600.0, "close_timeout": 5.0, **settings}
    engine = relay if isinstance(relay, Engine) else Engine(relay, "")
    client_end, upstream_end = Peer(client, MASK), Peer(upstream, None)
    tunnel = Tunnel(
        _stream(near_client, client_end, engine, "client"),
        _stream(near_upstream, upstream_end, engine, "upstream"),
        **values,
    )
    before(tunnel)
    rig = Rig(engine.relay, tunnel, client_end, upstream_end, trio.CancelScope())
    prepare(rig)
    with client, upstream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.run)
            await trio.testing.wait_all_tasks_blocked()
            yield rig
            rig.cancel_scope.cancel()


def _stream(near: trio.socket.SocketType, far: Peer, engine: Engine, side: str) -> Socket | TlsStream:
    if not engine.tls_to(side):
        return as_socket(near)
    layer, far.tls = tls_between(to_client=side == "client", version=engine.version)
    return TlsStream(as_socket(near), layer)


@asynccontextmanager
async def relayed(engine: str, pair: Any = unix_pair, **settings: Any) -> AsyncIterator[Rig]:
    async with engine_running(engine) as relay, tunnel_between(relay, pair, **settings) as rig:
        yield rig


def frames_of(received: bytes, *, client: bool) -> list[tuple[int, Any]]:
    """(opcode, payload) of all frames as wsproto reads them at that end; it raises where one is broken."""
    decoder = FrameProtocol(client=client, extensions=[])
    decoder.receive_bytes(received)
    found = []
    for part in decoder.received_frames():
        if found and not found[-1][2]:
            found[-1] = (found[-1][0], found[-1][1] + bytes(part.payload), part.frame_finished)
        elif part.opcode == CLOSE:
            found.append((CLOSE, part.payload[0], True))
        else:
            payload = part.payload.encode() if isinstance(part.payload, str) else bytes(part.payload)
            found.append((int(part.opcode), payload, part.frame_finished))
    assert all(finished for _, _, finished in found), "it ends inside a frame"
    return [(opcode, payload) for opcode, payload, _ in found]
