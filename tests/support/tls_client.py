"""Clients of TLS, by Trio's own `SSLStream`: it shares no code with the proxy's, and tells a cut from an end."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import attrs
import trio
from support.http_client import HttpConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.certificates import Files


def client_context(authority: str, shown: Files | None = None, **settings: object) -> ssl.SSLContext:
    """Trusts the authority in that file; shows a certificate if it has one; `settings` are the context's attributes."""
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    for name, value in settings.items():
        setattr(context, name, value)
    return context


async def secured(
    stream: trio.abc.HalfCloseableStream,
    context: ssl.SSLContext,
    name: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> HttpConnection:
    """The connection once its handshake is over. Raises trio.BrokenResourceError."""
    over = trio.SSLStream(stream, context, server_hostname=name)
    if session is not None:
        over.session = session
    await over.do_handshake()
    return HttpConnection(over)


def why(error: trio.BrokenResourceError) -> str:
    """What OpenSSL made of it, such as TLSV13_ALERT_CERTIFICATE_REQUIRED; "" for none of its errors."""
    return str(getattr(error.__cause__, "reason", "") or "")


@attrs.define(eq=False)
class Split(trio.abc.HalfCloseableStream):
    """Sends its first `cut` octets by themselves, or everything octet by octet where that is 0; behind it it waits."""

    stream: trio.SocketStream
    wait: Callable[[], Awaitable[object]]
    cut: int = 0
    _sent: int = 0

    async def send_all(self, data):
        data = bytes(data)
        while data:
            size = max(1, self.cut - self._sent) if self._sent < self.cut or not self.cut else len(data)
            await self.stream.send_all(data[:size])
            self._sent += size
            data = data[size:]
            if data or not self.cut:
                await self.wait()

    async def wait_send_all_might_not_block(self):
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        return await self.stream.receive_some(max_bytes)

    async def send_eof(self):
        await self.stream.send_eof()

    async def aclose(self):
        await self.stream.aclose()


async def fail(stream: trio.SocketStream, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLError:
    """Why a handshake came to nothing, which the peer was told: Trio's stream would keep the alert to itself."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            await stream.send_all(outgoing.read())
            incoming.write(await stream.receive_some())
        except ssl.SSLError as error:
            await stream.send_all(outgoing.read())
            return error
        else:
            raise AssertionError("the handshake is over, and well")


def hello(context: ssl.SSLContext, name: str = "localhost") -> bytes:
    """The first flight of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("over without an answer")
