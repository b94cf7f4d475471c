"""`serve()` inside the test's own Trio run: its configuration said in a line, and upstreams on Unix sockets.

Unix sockets deliver at once, so a mock clock that jumps never overtakes bytes on their way. Whole processes are in
`support.proxy`.
"""

from __future__ import annotations

import os
import resource
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from support.frames import CLOSE, WebSocket, upgrade_answer
from support.http_client import HttpConnection
from support.upstream import reply, serve_http

from trioproxy.config import (
    AdminConfig,
    Config,
    DrainConfig,
    HealthConfig,
    LimitsConfig,
    ListenerConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    UpstreamConfig,
)
from trioproxy.logs import Log
from trioproxy.relay.streams import StreamsRelay
from trioproxy.server import assemble, serve
from trioproxy.transport import as_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from trioproxy.context import Context
    from trioproxy.server import Proxy

POOL = "backend"


def make_config(
    *upstreams: str,
    listeners: tuple[str, ...] = ("127.0.0.1:0",),
    health: HealthConfig | None = None,
    drain: DrainConfig | None = None,
    max_connections: int = 100,
    **tables: Any,
) -> Config:
    """One route to one pool, admin off, no probes, where the test does not say otherwise."""
    pool = PoolConfig(
        name=POOL,
        upstreams=tuple(UpstreamConfig(address=address) for address in upstreams or ("127.0.0.1:1",)),
        health=health or HealthConfig(probe="none"),
    )
    settings = {
        "admin": AdminConfig(address=""),
        "limits": LimitsConfig(max_connections=max_connections),
        "server": ServerConfig(drain=drain or DrainConfig()),
        "listeners": tuple(ListenerConfig(name=f"l{i}", address=address) for i, address in enumerate(listeners)),
        "routes": (RouteConfig(name="all", path="/", pool=POOL),),
        "pools": {POOL: pool},
        **tables,
    }
    return Config(**settings)


def make_context(config: Config, log: Log | None = None) -> Context:
    """What the connections of a proxy share, without the proxy around it."""
    return assemble(config, log or Log.null(), StreamsRelay())


@asynccontextmanager
async def unix_upstream(
    path: os.PathLike[str], talk: Callable[[HttpConnection], Awaitable[None]]
) -> AsyncIterator[str]:
    """Runs `talk` for every connection, cancelled at the end; gives the upstream's address."""
    sock = trio.socket.socket(socket.AF_UNIX)
    await sock.bind(os.fspath(path))
    sock.listen()

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
            await talk(HttpConnection(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [trio.SocketListener(sock)])
        yield f"unix:{os.fspath(path)}"
        nursery.cancel_scope.cancel()


async def talk_both(http: HttpConnection) -> None:
    """An upstream that answers `fine` to plain requests and echoes what a WebSocket says, its Close too."""
    head = await http.head()
    if head.get(b"upgrade") is None:
        await http.send(reply(b"fine"))
        await serve_http(http, lambda _head, _body: reply(b"fine"))
        return

    await http.send(upgrade_answer(head))
    await echo(WebSocket(http, head, mask=None))


async def echo(websocket: WebSocket) -> None:
    """Until a Close has come, which is answered."""
    while True:
        frame = await websocket.receive()
        await websocket.send(frame.opcode, frame.payload)
        if frame.opcode == CLOSE:
            return


@asynccontextmanager
async def serving_unix(folder: Path, *, log: Log | None = None, **how: Any) -> AsyncIterator[Proxy]:
    """A proxy on a Unix socket before one upstream that does `talk_both`."""
    async with unix_upstream(folder / "up", talk_both) as upstream:
        config = make_config(upstream, listeners=(f"unix:{folder / 'public'}",), **how)
        async with serve(config, log=log) as proxy:
            yield proxy


def descriptors() -> set[str]:
    """What this process has open, each descriptor as the kernel names it."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.add(f"{entry.name} {entry.readlink()}")
    return found


@contextmanager
def no_descriptors_left() -> Iterator[Callable[[], None]]:
    """Whatever needs a descriptor more fails with EMFILE, until the block ends or what it gives is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    restore = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))  # descriptor 0 is open, and no higher one is allowed
    try:
        yield restore
    finally:
        restore()


async def stream_pair():
    """Both ends of a TCP connection, as streams."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = as_stream(socket.create_connection(server.getsockname()))
        far, _ = server.accept()
    return near, as_stream(far)
