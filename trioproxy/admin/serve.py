"""Serves the admin application on a bound socket: hypercorn's Trio worker, connection by connection.

What is served is `app`'s, binding is `transport`'s. hypercorn's own `serve` is not used, for three things it does: what
it cannot digest of one client's bytes (a broken h2c or WebSocket upgrade) ends all of it; it shields its writes from
cancellation, so a client that does not read keeps it from ending; and it holds a connection its client has closed until
it was idle for long. Here each concerns its own connection at most, and ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from hypercorn.utils import wrap_app

from trioproxy.accepting import accept_connections
from trioproxy.admin.control import MAX_CONNECTIONS
from trioproxy.sockets import give_up_after
from trioproxy.transport import as_stream

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp, Receive, Scope, Send

    from trioproxy.logs import Log
    from trioproxy.sockets import Socket

SEND_SECONDS: Final = 30.0  # for one piece of an answer; who takes longer does not read
FIRST_SECONDS: Final = 1.0  # that a client who has just connected may take to ask, when the end is near
_BACKLOG: Final = 128
_KEEP_ALIVE_SECONDS: Final = 75.0  # longer than any usual scrape interval
_DETAIL_CHARACTERS: Final = 200


async def serve_admin(
    sock: socket.socket, app: ASGIApp, *, log: Log, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve `app` on a bound stream socket until cancelled; started() when it answers. Owns and closes `sock`.

    When `sock` is given up to another process, it returns as soon as what was asked is answered.
    Whatever a client sends or leaves unread ends its own connection at most; failed accepts are logged.
    """
    with sock:
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        give_up_after(sock, SEND_SECONDS)  # on a client whose machine vanished
        async with trio.open_nursery() as nursery:
            server = _Server(app, log, nursery)
            task_status.started()
            try:
                await accept_connections(sock, server.accepted, server.accept_failed)
                await server.finish()
            finally:
                server.close()


@attrs.define(eq=False)
class _Connection:
    """A Socket as far as hypercorn uses it, and the requests that are being answered on it."""

    inner: Socket
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _answering: int = attrs.field(default=0, init=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False)
    asked: trio.Event = attrs.field(factory=trio.Event, init=False)  # anything at all

    @property
    def socket(self) -> socket.socket:
        return self.inner.socket

    async def send_all(self, data: bytes) -> None:
        # hypercorn ends a stream from one task while another still sends; and it shields this, hence the deadline
        with trio.move_on_after(SEND_SECONDS):
            async with self._sending:
                await self.inner.send_all(data)
            return
        self.close()
        raise trio.BrokenResourceError

    async def send_eof(self) -> None:
        async with self._sending:
            await self.inner.send_eof()

    async def receive_some(self, max_bytes: int) -> bytes:
        data = await self.inner.receive_some(max_bytes)
        if not data:
            # A client may have ended its side and wait for the answer still (nc -N). The checkpoint lets the task begin
            # that hypercorn has started for the request.
            await trio.lowlevel.checkpoint()
            await self.idle()
            self.scope.cancel()
        return data

    async def idle(self) -> None:
        """Wait until every request is answered."""
        while self._answering:
            self._answered = trio.Event()
            await self._answered.wait()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Also wakes who waits to read or write, with ClosedResourceError."""
        self.inner.close()

    def counting(self, app: ASGIApp) -> ASGIApp:
        """The application as this connection's: it knows when a request is being answered."""

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            self._answering += 1
            self.asked.set()
            try:
                await app(scope, receive, send)
            finally:
                self._answering -= 1
                self._answered.set()

        return counted


class _Server:
    def __init__(self, app: ASGIApp, log: Log, nursery: trio.Nursery) -> None:
        self._app = app
        self._log = log
        self._nursery = nursery
        self._config = _config()
        self._context = WorkerContext(None)
        self._open: set[_Connection] = set()

    def accepted(self, sock: socket.socket, _peer: Any) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = _Connection(as_stream(sock))
        self._open.add(connection)
        self._nursery.start_soon(self._serve, connection)

    def accept_failed(self, error: OSError) -> None:
        self._log.warning("admin_accept_failed", reason=str(error))

    async def _serve(self, connection: _Connection) -> None:
        # The application's protocol and hypercorn's are one, typed twice; and its stream is a TLS one by its types
        app = wrap_app(cast("Any", connection.counting(self._app)), self._config.wsgi_max_body_size, "asgi")
        state = ConnectionState(LifespanState({}))
        try:
            with connection.scope:
                await TCPServer(app, self._config, self._context, state, cast("Any", connection))
        except Exception as error:  # noqa: BLE001  # one connection, see the module's docstring
            self._log.warning("admin_connection_failed", reason=_innermost(error))
        finally:
            connection.close()
            self._open.discard(connection)

    async def finish(self) -> None:
        """Answer what was asked or is about to be, for as long as one piece of an answer may take, and no more."""
        newest = trio.current_time() + FIRST_SECONDS
        with trio.move_on_after(SEND_SECONDS):
            for connection in list(self._open):
                with trio.move_on_at(newest):
                    await connection.asked.wait()
                await connection.idle()
                connection.close()

    def close(self) -> None:
        for connection in self._open:
            connection.close()


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
