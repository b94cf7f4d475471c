"""Serves the admin application on a bound socket: hypercorn's Trio worker, connection by connection.

What is served is `app`'s, binding is `transport`'s. hypercorn's own `serve` is not used, for two things it does: what
it cannot digest of one client's bytes (a broken h2c or WebSocket upgrade) ends all of it, and it shields its writes from
cancellation, so one client that does not read keeps it from ending. Here the first ends one connection, and the second
ends when its socket is closed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from trioproxy.transport import accept_connections, as_stream

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from trioproxy.logs import Log

MAX_CONNECTIONS: Final = 100  # a browser, some scrapers, scripts: more is somebody holding descriptors
SEND_SECONDS: Final = 30.0  # for one piece of an answer; who takes longer does not read
_BACKLOG: Final = 128
_KEEP_ALIVE_SECONDS: Final = 75.0  # longer than any usual scrape interval
_DETAIL_CHARACTERS: Final = 200


async def serve_admin(
    sock: socket.socket, app: ASGIApp, *, log: Log, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve `app` on a bound stream socket until cancelled; started() when it answers. Owns and closes `sock`.

    Whatever a client sends or leaves unread ends its own connection at most; failed accepts are logged.
    """
    with sock:
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        async with trio.open_nursery() as nursery:
            server = _Server(app, log, nursery)
            task_status.started()
            try:
                await accept_connections(sock, server.accepted, server.accept_failed)
            finally:
                server.close()


@attrs.define(eq=False)
class _Stream:
    """A SocketStream as far as hypercorn uses it, whose writes end even where hypercorn shields them."""

    inner: trio.SocketStream

    @property
    def socket(self) -> trio.socket.SocketType:
        return self.inner.socket

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(SEND_SECONDS):
            await self.inner.send_all(data)
            return
        self.close()
        raise trio.BrokenResourceError

    async def receive_some(self, max_bytes: int) -> bytes:
        return await self.inner.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Also wakes who waits to read or write, with ClosedResourceError."""
        self.inner.socket.close()


class _Server:
    def __init__(self, app: ASGIApp, log: Log, nursery: trio.Nursery) -> None:
        self._log = log
        self._nursery = nursery
        self._open: set[_Stream] = set()
        config = _config()
        # The app's protocol and hypercorn's are the same one, typed twice; hypercorn's stream is a TLS one by its types
        wrapped = wrap_app(cast("Any", app), config.wsgi_max_body_size, "asgi")
        self._connection: Any = partial(TCPServer, wrapped, config, WorkerContext(None))

    def accepted(self, sock: socket.socket, _peer: Any) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            sock.close()
            return
        try:
            stream = _Stream(as_stream(sock))
        except OSError:  # gone already
            sock.close()
            return
        self._open.add(stream)
        self._nursery.start_soon(self._serve, stream)

    def accept_failed(self, error: OSError) -> None:
        self._log.warning("admin_accept_failed", error=str(error))

    async def _serve(self, stream: _Stream) -> None:
        try:
            await self._connection(ConnectionState(LifespanState({})), stream)
        except Exception as error:  # noqa: BLE001  # one connection, see the module's docstring
            self._log.warning("admin_connection_failed", error=_innermost(error))
        finally:
            stream.close()
            self._open.discard(stream)

    def close(self) -> None:
        for stream in self._open:
            stream.close()


def _innermost(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return repr(error)[:_DETAIL_CHARACTERS]


def _config() -> Config:
    config = Config()
    config.errorlog = None  # by default it writes to stderr
    config.accesslog = None
    config.include_server_header = False
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    return config
