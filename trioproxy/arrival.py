"""What comes before a client's first request: the PROXY header of a load balancer in front, then the TLS handshake.

The header is read in `wire.proxy_protocol`, TLS is spoken in `tls`; who may come is judged by `listening`, and at once
for listeners that want nothing before a request: their connections never come here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, Protocol, cast

import attrs
import trio

from trioproxy.client import ANSWER_SECONDS, DRAIN_GRACE, READ_SIZE, own_answer
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.streaming import BROKEN, broken, close_gently, receive, receive_at_once, send
from trioproxy.tls.layer import TlsEndedError, TlsError
from trioproxy.tls.stream import TlsStream
from trioproxy.tunnels import count_ending, unforeseen
from trioproxy.waits import Wait
from trioproxy.wire.proxy_protocol import read_proxy_header

if TYPE_CHECKING:
    import ssl

    from trioproxy.client import Entrance
    from trioproxy.config import ListenerConfig
    from trioproxy.context import Context
    from trioproxy.sockets import Socket
    from trioproxy.wire.proxy_protocol import ProxyHeader

PROXY_HEADER: Final = "PROXY header"
TLS_HANDSHAKE: Final = "TLS handshake"


class Newcomer(Protocol):
    """An accepted connection of which its listener wants more than requests."""

    config: ListenerConfig  # by which it was accepted: a reload since then does not concern it
    address: str  # the peer's IP address, or "unix"
    trusted: bool  # whether what the peer says of others is believed
    tls: ssl.SSLContext | None  # as it was when it was accepted; None without TLS

    def admit(self, client: str, *, trusted: bool) -> Reason | None:
        """Let in a client of this address, trusted or not, or say why not, counted and logged. To be asked once."""


@attrs.frozen(eq=False)
class Arrival:
    """A connection on which requests may come."""

    stream: trio.abc.HalfCloseableStream
    address: str  # the client's IP address, or "unix"
    trusted: bool  # whether its X-Forwarded-* are believed
    rest: bytes = b""  # was read already; whoever reads on gets it first
    tls: str = ""  # its version, such as TLSv1.3; "" without


async def arrive(
    context: Context, stream: trio.abc.HalfCloseableStream, entrance: Entrance, newcomer: Newcomer
) -> Arrival | None:
    """Hear what has to be said before the first request; None where it comes to none, counted and logged.

    The stream stays the caller's to close. All of it takes `timeouts.head` at most, and less in a drain.
    """
    hearing = _Hearing(context, entrance, newcomer, Arrival(stream, newcomer.address, newcomer.trusted))
    try:
        await hearing.hear()
    except ProxyError as failure:
        count_ending(context, failure.ending)
        hearing.log(failure)
        if failure.reason is Reason.TLS:
            await _end(stream, own_answer(400, head_only=False, close=True) if hearing.plain else b"")
        return None
    except BaseException as error:
        count_ending(context, unforeseen(error, Phase.ACCEPT))
        raise
    if hearing.refused is not None:
        # As who comes without a PROXY header is: told to come again where there are too many, else nothing.
        if hearing.refused is Reason.TOO_MANY and newcomer.tls is None:
            await _end(stream, own_answer(503, head_only=False, close=True))
        return None
    return hearing.arrival


async def _end(stream: trio.abc.HalfCloseableStream, last: bytes) -> None:
    """Close so that the last words can be read, or an alert that was said before."""
    with contextlib.suppress(trio.TooSlowError, *BROKEN):
        if last:
            await send(stream, last, ANSWER_SECONDS)
        await close_gently(stream)


@attrs.define(eq=False)
class _Hearing:
    """What is heard of one newcomer, one step after the other."""

    context: Context
    entrance: Entrance
    newcomer: Newcomer
    arrival: Arrival
    refused: Reason | None = None  # why it may not come
    plain: bool = False  # it spoke HTTP where TLS was due
    _due: str = ""  # what is to come next
    _said: bool = False  # something of that came

    async def hear(self) -> None:
        """Bring `arrival` to where requests may come, unless it is `refused`.

        Raises ProxyError, with a detail if it is worth a line in the log.
        """
        context = self.context
        patience = context.config.timeouts.head
        if context.ends(self.entrance):
            patience = min(patience, DRAIN_GRACE)
        with Wait(self.arrival.stream, context.waits).until(context.now() + patience) as wait:
            context.waiting[wait] = self.entrance
            try:
                await self._take_steps()
            except BROKEN as error:
                raise self._broken(error) from error
            else:
                return
            finally:
                context.waiting.pop(wait, None)
        if context.ends(self.entrance):
            raise ProxyError(Source.PROXY, Phase.ACCEPT, Reason.DRAINING, 503)
        if not self._said:  # as one that sends no request: it may be a spare one
            raise ProxyError(Source.PROXY, Phase.ACCEPT, Reason.IDLE, 408)
        detail = f"the {self._due} did not end within {patience:g} s"
        raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.TIMEOUT, 408, detail)

    def _broken(self, error: Exception) -> ProxyError:
        # Not where it is raised: a frame and the error in it would hold one another, and a handshake is 50 KB.
        failure = broken(error, Source.CLIENT, Phase.ACCEPT)
        failure.detail = failure.detail if self._said else ""
        return failure

    async def _take_steps(self) -> None:
        newcomer = self.newcomer
        if newcomer.config.proxy_protocol:
            self._due = PROXY_HEADER
            self._introduce(*await self._read_header())
            self._said = bool(self.arrival.rest)  # a load balancer speaks for itself: its check, or a silent client
        # A believed peer's address is not its clients', of whom there may be many: those that it does not name, too.
        arrival = self.arrival
        trusted = arrival.trusted or arrival.address == newcomer.address
        self.refused = newcomer.admit(arrival.address, trusted=trusted)
        if newcomer.tls is not None and self.refused is None:
            self._due = TLS_HANDSHAKE
            await self._secure(newcomer.tls)

    async def _read(self) -> bytes:
        """What comes next, and mostly came with the connection. Raises ProxyError at the end, and what BROKEN names."""
        stream = self.arrival.stream
        data = receive_at_once(stream, READ_SIZE)
        if data is None:
            data = await receive(stream, READ_SIZE)
        if data:
            self._said = True
            return data
        if not self._said:  # who has said nothing, as a check whether somebody listens, has done nothing wrong
            raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.DONE, 400)
        raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.CLOSED, 400, f"ended inside a {self._due}")

    async def _read_header(self) -> tuple[ProxyHeader, bytes]:
        """The header, and what was read behind it."""
        received = bytearray()
        while True:
            received += await self._read()
            if (header := read_proxy_header(received)) is not None:
                return header, bytes(received[header.size :])

    def _introduce(self, header: ProxyHeader, rest: bytes) -> None:
        """Take in whose connection this is, if the peer is believed."""
        self.arrival = arrival = attrs.evolve(self.arrival, rest=rest)
        if not arrival.trusted or header.local:
            return
        if not header.source:  # somebody else's, but whose is not told: what they say of others is not the peer's word
            self.arrival = attrs.evolve(arrival, trusted=False)
        else:
            trusted = header.source in self.newcomer.config.trusted
            self.arrival = attrs.evolve(arrival, address=header.source, trusted=trusted)

    async def _secure(self, context: ssl.SSLContext) -> None:
        """Shake hands. An SSL object, which takes memory, is made for none that says nothing."""
        data = self.arrival.rest or await self._read()
        if data[:1].isupper():  # a method's first letter, and no type of a record (RFC 8446 §5.1)
            self.plain = True
            raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.TLS, 400, "plain HTTP where TLS is due")
        socket = cast("Socket", self.arrival.stream)  # what a listener accepts is nothing else
        try:
            stream = await TlsStream.accept(socket, context, data)
        except TlsEndedError as error:
            detail = f"ended inside a {self._due}"
            raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.CLOSED, 400, detail) from error
        except TlsError as error:
            raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.TLS, 400, str(error)) from error
        self.arrival = attrs.evolve(self.arrival, stream=stream, rest=b"", tls=stream.layer.version)

    def log(self, failure: ProxyError) -> None:
        """Say what came of it, if it is worth a line. Anybody may fail in TLS; a PROXY header, only who was set up."""
        if not failure.detail:
            return
        since = self.entrance.sparing.due("arrival_failed", failure.reason)
        if since is None:
            return
        say = self.context.log.info if self._due is TLS_HANDSHAKE else self.context.log.warning
        say(
            "arrival_failed",
            listener=self.newcomer.config.name,
            client=self.arrival.address,
            reason=failure.reason.value,
            detail=failure.detail,
            more_since_last=since,
        )
