"""Who stands between the proxy and an upstream with TLS, and passes on what travels as a test has it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio
from support.http_client import HttpConnection
from support.scripted import socket_pair

from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import TlsStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from support.scripted import Script

    from trioproxy.sockets import Socket

    Change = Callable[[bytes], bytes]


@asynccontextmanager
async def behind(context: ssl.SSLContext, script: Script) -> AsyncIterator[Socket]:
    """An upstream with TLS, as a stream of what travels to and from it."""
    near, far = socket_pair()

    async def serve() -> None:
        with suppress(TlsError, ConnectionError, trio.BrokenResourceError, trio.ClosedResourceError):
            await script(HttpConnection(await TlsStream.accept(far, context)))
        far.close()

    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        yield near
        nursery.cancel_scope.cancel()


def passing(context: ssl.SSLContext, script: Script, *, upwards: Change, downwards: Change) -> Script:
    """A script of who stands between the proxy and such an upstream: what is read is passed on as the functions say."""

    async def carry(source: Socket, sink: Socket, change: Change) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some():
                await sink.send_all(change(data))
            await sink.send_eof()

    async def middle(http: HttpConnection) -> None:
        async with behind(context, script) as upstream, trio.open_nursery() as nursery:
            nursery.start_soon(carry, http.stream, upstream, upwards)
            await carry(upstream, http.stream, downwards)
            nursery.cancel_scope.cancel()

    return middle


def unchanged(data: bytes) -> bytes:
    return data


def by_record(change: Callable[[int, bytes], bytes]) -> Change:
    """For `passing`: whole records as `change` makes them of their number and octets."""
    buffer, number = bytearray(), 0

    def downwards(data: bytes) -> bytes:
        nonlocal number
        buffer.extend(data)
        out = b""
        while len(buffer) >= 5 and len(buffer) >= (size := 5 + int.from_bytes(buffer[3:5], "big")):
            out += change(number, bytes(buffer[:size]))
            del buffer[:size]
            number += 1
        return out

    return downwards
