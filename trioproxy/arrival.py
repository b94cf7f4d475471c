"""What comes before a client's first request: the PROXY header of a load balancer in front, and who is let in by it.

The header is read in `wire.proxy_protocol`; who may come is judged by `listening`, and at once for listeners that want
nothing before a request: their connections never come here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from trioproxy.client import ANSWER_SECONDS, DRAIN_GRACE, READ_SIZE, own_answer
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.streaming import BROKEN, broken, close_gently, receive, receive_at_once, send
from trioproxy.tunnels import count_ending, unforeseen
from trioproxy.waits import Wait
from trioproxy.wire.proxy_protocol import read_proxy_header

if TYPE_CHECKING:
    from trioproxy.client import Entrance
    from trioproxy.config import ListenerConfig
    from trioproxy.context import Context
    from trioproxy.wire.proxy_protocol import ProxyHeader


class Newcomer(Protocol):
    """An accepted connection of which its listener wants more than requests."""

    config: ListenerConfig  # by which it was accepted: a reload since then does not concern it
    address: str  # the peer's IP address, or "unix"
    trusted: bool  # whether what the peer says of others is believed

    def admit(self, client: str, *, trusted: bool) -> Reason | None:
        """Let in a client of this address, trusted or not, or say why not, counted and logged. To be asked once."""


@attrs.frozen(eq=False)
class Arrival:
    """A connection on which requests may come."""

    stream: trio.abc.HalfCloseableStream
    address: str  # the client's IP address, or "unix"
    trusted: bool  # whether its X-Forwarded-* are believed
    rest: bytes = b""  # was read already; whoever reads on gets it first


async def arrive(
    context: Context, stream: trio.abc.HalfCloseableStream, entrance: Entrance, newcomer: Newcomer
) -> Arrival | None:
    """Hear what has to be said before the first request; None where it comes to none, counted and logged.

    The stream stays the caller's to close. All of it takes `timeouts.head` at most, and less in a drain.
    """
    arrival = Arrival(stream, newcomer.address, newcomer.trusted)
    try:
        if newcomer.config.proxy_protocol:
            arrival = await _introduced(context, arrival, entrance, newcomer)
    except ProxyError as failure:
        count_ending(context, failure.ending)
        _log(context, entrance, newcomer, failure)
        return None
    except BaseException as error:
        count_ending(context, unforeseen(error, Phase.ACCEPT))
        raise
    # A believed peer's address is not its clients', of whom there may be many: those that it does not name, too.
    reason = newcomer.admit(arrival.address, trusted=arrival.trusted or arrival.address == newcomer.address)
    if reason is not None:
        await _turn_away(stream, reason)
        return None
    return arrival


def _log(context: Context, entrance: Entrance, newcomer: Newcomer, failure: ProxyError) -> None:
    since = entrance.sparing.due("arrival_failed", failure.reason) if failure.detail else None
    if since is not None:
        context.log.warning(
            "arrival_failed",
            listener=newcomer.config.name,
            client=newcomer.address,
            reason=failure.reason.value,
            detail=failure.detail,
            more_since_last=since,
        )


async def _introduced(context: Context, arrival: Arrival, entrance: Entrance, newcomer: Newcomer) -> Arrival:
    """Behind its PROXY header, which tells whose connection this is if the peer is believed. Raises ProxyError."""
    header, rest = await _read_header(context, arrival.stream, entrance)
    arrival = attrs.evolve(arrival, rest=rest)
    if not arrival.trusted or header.local:
        return arrival
    if not header.source:  # somebody else's, but whose is not told: what they say of others is not the peer's word
        return attrs.evolve(arrival, trusted=False)
    return attrs.evolve(arrival, address=header.source, trusted=header.source in newcomer.config.trusted)


async def _read_header(
    context: Context, stream: trio.abc.HalfCloseableStream, entrance: Entrance
) -> tuple[ProxyHeader, bytes]:
    """The header, and what was read behind it. Raises ProxyError, with a detail if it is worth a line in the log."""
    patience = context.config.timeouts.head
    if context.ends(entrance):
        patience = min(patience, DRAIN_GRACE)
    received = bytearray()
    with Wait(stream, context.waits).until(context.now() + patience) as wait:
        context.waiting[wait] = entrance
        try:
            data = receive_at_once(stream, READ_SIZE)  # mostly it came with the connection
            while True:
                if data is None:
                    data = await receive(stream, READ_SIZE)
                if not data:
                    raise _left(received)
                received += data
                if (header := read_proxy_header(received)) is not None:
                    return header, bytes(received[header.size :])
                data = None
        except BROKEN as error:
            failure = broken(error, Source.CLIENT, Phase.ACCEPT)
            failure.detail = failure.detail if received else ""
            raise failure from error
        finally:
            context.waiting.pop(wait, None)
    if context.ends(entrance):
        raise ProxyError(Source.PROXY, Phase.ACCEPT, Reason.DRAINING, 503)
    if not received:  # as one that sends no request: it may be a spare one
        raise ProxyError(Source.PROXY, Phase.ACCEPT, Reason.IDLE, 408)
    detail = f"the PROXY header did not end within {patience:g} s"
    raise ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.TIMEOUT, 408, detail)


def _left(received: bytearray) -> ProxyError:
    """The client's FIN: who has said nothing, as a check whether somebody listens, has done nothing wrong."""
    if not received:
        return ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.DONE, 400)
    return ProxyError(Source.CLIENT, Phase.ACCEPT, Reason.CLOSED, 400, "ended inside a PROXY header")


async def _turn_away(stream: trio.abc.HalfCloseableStream, reason: Reason) -> None:
    """As who comes without a PROXY header is: told to come again where there are too many, else nothing."""
    if reason is Reason.TOO_MANY:
        with contextlib.suppress(trio.TooSlowError, *BROKEN):
            await send(stream, own_answer(503, head_only=False, close=True), ANSWER_SECONDS)
            await close_gently(stream)
