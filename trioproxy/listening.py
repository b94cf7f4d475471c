"""Accepting clients: each accepted socket becomes a counted connection task, or is turned away: too many, unwanted.

Binding is `transport`'s work and the accept loop `accepting`'s; what is done with a connection is told in `connection`.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy import accepting, streaming, transport
from trioproxy import metrics as m
from trioproxy.addresses import UNIX
from trioproxy.client import ANSWER_SECONDS, Entrance, own_answer
from trioproxy.config_syntax import canonical
from trioproxy.connection import handle_connection
from trioproxy.errors import Reason
from trioproxy.handshake_rate import HANDSHAKE_RATE, HandshakeRate
from trioproxy.sparing import LOG_SECONDS

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable

    from trioproxy.certificates import Certificates
    from trioproxy.config import ListenerConfig
    from trioproxy.context import Context
    from trioproxy.sockets import Socket

# Clients above the limit whose 503 is on its way; past that many at a time they are just closed.
MOST_REJECTIONS: Final = 100


@attrs.define(eq=False)
class Listener:
    """One bound socket of a configured listener, which it owns."""

    context: Context
    entrance: Entrance = attrs.field(converter=Entrance)  # made of the listener's settings
    sock: socket.socket
    address: str = attrs.field(init=False)  # as bound: with the real port where 0 was asked for
    active: int = attrs.field(default=0, init=False)
    closed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _certificates: Certificates = attrs.field(init=False)  # those in force with its settings, once it is removed, too
    _place: str = attrs.field(init=False)  # by which all processes know it, before a reload and behind it
    _rejections: int = attrs.field(default=0, init=False)
    _last_error: float = attrs.field(default=-math.inf, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        self.address = transport.format_address(self.sock)
        self._certificates = self.context.certificates
        self._place = canonical(self.config.address)
        self.entrance.handshakes = HandshakeRate(self.context.metrics.marks(HANDSHAKE_RATE, (self._place,)))

    @property
    def config(self) -> ListenerConfig:
        """Its settings in force."""
        return self.entrance.config

    async def serve(self, connections: trio.Nursery) -> None:
        """Accept until cancelled or removed, then what is queued, then close; clients are tasks of `connections`.

        A socket that is given up (`accepting.give_up`) ends it at once.
        """
        try:
            with self._scope:
                await self._accept(self.sock, connections)
        finally:
            self.close()

    async def serve_also(self, sock: socket.socket, connections: trio.Nursery) -> None:
        """Do the same with another socket on the same address, which it owns."""
        with sock:
            await self._accept(sock, connections)

    async def _accept(self, sock: socket.socket, connections: trio.Nursery) -> None:
        handle = functools.partial(handle_connection, entrance=self.entrance)

        def accepted(sock: socket.socket, peer: Any) -> None:
            self._accepted(connections, handle, sock, peer)

        await accepting.accept_connections(sock, accepted, self._accept_failed)

    def change(self, config: ListenerConfig) -> None:
        """Go on with other settings on the same address; whom it trusts matters to clients accepted from here on."""
        before, self.entrance.config = self.entrance.config, config
        self._certificates = self.context.certificates
        if before.name != config.name:  # what is open counts under the name of today, as its end will
            self.context.metrics.inc(m.CONNECTIONS_ACTIVE, (before.name,), -self.active)
            self.context.metrics.inc(m.CONNECTIONS_ACTIVE, (config.name,), self.active)

    def remove(self) -> None:
        """Take what is queued and close; connections that came in by it are asked for no more than they are at."""
        self.entrance.closed = True
        self._scope.cancel()

    def close(self) -> None:
        """Stop listening. A Unix socket's file goes with it, unless another process listens there still."""
        transport.close_listener(self.sock, self.config.address)
        self.closed.set()

    def _accepted(
        self, connections: trio.Nursery, handle: Callable[..., Awaitable[None]], sock: socket.socket, peer: Any
    ) -> None:
        context, config = self.context, self.config
        context.metrics.inc(m.CONNECTIONS, (config.name,))
        client = transport.client_name(peer)
        trusted = self._trusts(client)
        told = config.proxy_protocol and trusted  # whose connection it is: that one is judged, once it is known
        key = 0 if told else self.claim(config, client, trusted=trusted)
        if isinstance(key, Reason):
            self._turn_away(connections, sock, key, client)
            return
        if not context.connection_began():
            if key:
                context.per_client.release(key)
            self._turn_away(connections, sock, Reason.OVERLOADED, client)
            return
        self.active += 1
        context.metrics.inc(m.CONNECTIONS_ACTIVE, (config.name,))
        ended: Callable[[], None] = functools.partial(self.ended, key) if key else self.ended
        if config.proxy_protocol or config.tls is not None:
            tls = None if config.tls is None else self._certificates.server(config.tls)
            visit = Visit(self, config, client, trusted, tls, key, judged=not told)
            handle, ended = functools.partial(handle, newcomer=visit), visit.ended
        handle = functools.partial(handle, address=client, trusted=trusted, ended=ended)
        # A name of Trio's making would be a string of its own for every connection.
        connections.start_soon(handle, context, transport.as_stream(sock), name="connection")

    def claim(self, config: ListenerConfig, client: str, *, trusted: bool) -> int | Reason:
        """Let in one connection of this client: a key to release at its end, if it is not 0; or why it may not come."""
        if config.admission is not None and not config.admission.admits(client):
            return Reason.FORBIDDEN
        # Behind a trusted proxy, or a Unix socket, are many clients.
        if (most := config.max_connections_per_client) and not trusted and client != UNIX:
            return self.context.per_client.claim(self._place, client, most) or Reason.TOO_MANY
        return 0

    def ended(self, key: int = 0) -> None:
        """Count off a connection, and what `claim` gave for it."""
        if key:
            self.context.per_client.release(key)
        self.context.connection_ended()
        self.active -= 1
        self.context.metrics.inc(m.CONNECTIONS_ACTIVE, (self.config.name,), -1)

    def note_rejection(self, reason: Reason, client: str) -> None:
        """Count that this client was turned away, and log it if that is not said all the time."""
        name = self.config.name
        self.context.metrics.inc(m.CONNECTIONS_REJECTED, (name, reason))
        since = self.entrance.sparing.due("connection_rejected", reason)
        if since is not None:
            self.context.log.warning(
                "connection_rejected", listener=name, reason=reason.value, client=client, more_since_last=since
            )

    def _turn_away(self, connections: trio.Nursery, sock: socket.socket, reason: Reason, client: str) -> None:
        self.note_rejection(reason, client)
        # Nothing can be said without a handshake, which is more work than a request that is served.
        if reason is Reason.FORBIDDEN or self.config.tls is not None or self._rejections >= MOST_REJECTIONS:
            sock.close()
        else:
            self._rejections += 1
            connections.start_soon(self._reject, transport.as_stream(sock))

    async def _reject(self, stream: Socket) -> None:
        try:
            with trio.move_on_after(ANSWER_SECONDS), contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(own_answer(503, head_only=False, close=True))
                await streaming.close_gently(stream)
        finally:
            self._rejections -= 1
            await trio.aclose_forcefully(stream)

    def _trusts(self, client: str) -> bool:
        return bool(self.config.trusted_proxies) and client in self.config.trusted

    def _accept_failed(self, error: OSError) -> None:
        self.context.metrics.inc(m.ACCEPT_FAILURES, (self.config.name, accepting.shortage(error)))
        now = trio.current_time()
        if now - self._last_error >= LOG_SECONDS:
            self._last_error = now
            self.context.log.error("accept_failed", listener=self.config.name, reason=error.strerror or str(error))


@attrs.define(eq=False)
class Visit:
    """A connection whose first bytes tell who its client is: a `Newcomer`, with the claim of that client."""

    _listener: Listener
    config: ListenerConfig
    address: str
    trusted: bool
    tls: ssl.SSLContext | None
    _key: int
    _judged: bool

    def admit(self, client: str, *, trusted: bool) -> Reason | None:
        """See `Newcomer`."""
        if self._judged:
            return None
        found = self._listener.claim(self.config, client, trusted=trusted)
        if isinstance(found, Reason):
            self._listener.note_rejection(found, client)
            return found
        self._key = found
        return None

    def ended(self) -> None:
        """Count it off."""
        self._listener.ended(self._key)
