"""An upstream played by the test itself: a listener in the test's own Trio run whose every octet the test decides.

Whole servers as processes are in `peers`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio
from support.frames import WebSocket, upgrade_answer
from support.http_client import HttpConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.http_client import Head


@attrs.define(eq=False)
class Upstream:
    """A listening upstream; `accepted` counts its connections, probes included."""

    address: str
    port: int
    scope: trio.CancelScope
    accepted: int = 0

    def close(self) -> None:
        """Closes the listener; connections under way go on."""
        self.scope.cancel()


@asynccontextmanager
async def scripted_upstream(
    serve: Callable[[HttpConnection], Awaitable[None]], *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Upstream]:
    """Runs `serve` for each connection; one that the proxy leaves in the middle is no failure of the test."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    port = listeners[0].socket.getsockname()[1]
    upstream = Upstream(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", port, trio.CancelScope())

    async def handle(stream: trio.SocketStream) -> None:
        upstream.accepted += 1
        with suppress(ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
            await serve(HttpConnection(stream))

    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as listening:

            async def listen() -> None:
                with upstream.scope:
                    await trio.serve_listeners(handle, listeners, handler_nursery=connections)

            listening.start_soon(listen)
            yield upstream
            upstream.scope.cancel()
        connections.cancel_scope.cancel()


async def serve_http(http: HttpConnection, answer: Callable[[Head, bytes], Awaitable[bytes] | bytes]) -> None:
    """Reads requests until the peer goes, and sends what `answer(head, body)` says to each."""
    while True:
        head = await http.head()
        reply = answer(head, await http.body(head))
        await http.send(reply if isinstance(reply, bytes) else await reply)


async def serve_websocket(http: HttpConnection, talk: Callable[[WebSocket], Awaitable[None]], *lines: str) -> None:
    """Accepts one upgrade and then runs `talk` with the server's end."""
    head = await http.head()
    await http.send(upgrade_answer(head, *lines))
    await talk(WebSocket(http, head, mask=None))


def http_upstream(
    answer: Callable[[Head, bytes], Awaitable[bytes] | bytes], **address: object
) -> AsyncIterator[Upstream]:
    return scripted_upstream(partial(serve_http, answer=answer), **address)


def reply(body: bytes = b"", status: str = "200 OK", *lines: str) -> bytes:
    """A whole answer with Content-Length."""
    fields = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(fields).encode("latin-1") + body
