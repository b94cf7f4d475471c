"""The WebSocket handshake with an upstream: the nginx recipe, checked on both sides (RFC 6455 §4, RFC 9110 §7.8).

It ends with an open tunnel, or with the upstream's refusal passed on; relaying is `relay`'s work and closing
`connection`'s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.answer import Answer
from trioproxy.client import ANSWER_SECONDS
from trioproxy.counts import HandshakeResult
from trioproxy.dialing import Attempts, retry_reason
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import UpstreamState
from trioproxy.relay import Tunnel
from trioproxy.rewriting import client_fields
from trioproxy.streaming import BROKEN, send, unwatch
from trioproxy.verbs import RESET, Verb
from trioproxy.wire.headers import make_field
from trioproxy.wire.http1 import ResponseHead, ResponseParser, response_head
from trioproxy.wire.websocket import check_request, check_response, has_extensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.client import Entrance
    from trioproxy.config import RouteConfig
    from trioproxy.dialing import UpstreamConnection
    from trioproxy.exchange import Exchange
    from trioproxy.record import Record
    from trioproxy.upstreams import Upstream

UPGRADE_FIELDS = (make_field(b"Upgrade", b"websocket"), make_field(b"Connection", b"Upgrade"))
SWITCHING_PROTOCOLS = 101
SERVER_ERRORS = 500  # and what is above
_RESULTS: Final[Mapping[Reason, HandshakeResult]] = {
    Reason.TIMEOUT: HandshakeResult.TIMEOUT,
    Reason.REFUSED: HandshakeResult.REFUSED,
}


@attrs.frozen(eq=False, weakref_slot=False)
class Upgraded:
    """A tunnel whose handshake is over; the 101 has been sent. Whoever gets it closes the connection and the client.

    It is all that the proxy holds on to while the tunnel is open.
    """

    connection: UpstreamConnection
    tunnel: Tunnel
    record: Record
    since: float  # in Trio's time
    entrance: Entrance
    route: RouteConfig  # as it was when it was matched


async def open_tunnel(exchange: Exchange) -> Upgraded | None:
    """Do the handshake with an upstream; None if it refused and its answer has gone to the client.

    Raises ProxyError where the request is no valid upgrade (400, 426), its Origin is not allowed (403), there are too
    many a second (503), or no upstream gave a valid answer (502, 503, 504). Whatever it returns, no further request is
    read from this client.
    """
    exchange.client.reusable = False
    check_request(exchange.head)
    _check_origin(exchange)
    _check_rate(exchange)
    attempts = Attempts(
        exchange.context, exchange.pool, exchange.record, exchange.route.timeouts.connect, exchange.client.has_left
    )
    while True:
        connection = await _connect(exchange, attempts)
        try:
            _refuse_by_order(exchange, connection.upstream)
            answer, head = await _ask(exchange, connection)
            if head.status == SWITCHING_PROTOCOLS:
                check_response(head, exchange.head)
                _count(exchange, HandshakeResult.ACCEPTED)
                return await _accept(exchange, connection, answer, head)
            if head.status >= SERVER_ERRORS and not answer.told and attempts.can_try_another("5xx"):
                raise _refusal(connection, head)
            _count(exchange, HandshakeResult.REFUSED)
            await answer.pass_on(head)
        except ProxyError as failure:
            connection.close()
            exchange.context.blame(connection.upstream, attrs.evolve(failure.ending, phase=Phase.HANDSHAKE))
            if failure.source is Source.UPSTREAM and not exchange.client.answering:
                result = HandshakeResult.CHAOS if failure.injected else _RESULTS.get(failure.reason)
                _count(exchange, result or HandshakeResult.INVALID)
            if exchange.client.answering or not attempts.another(failure, retry_reason(failure)):
                raise
        except BaseException:
            connection.close()
            raise
        else:
            connection.close()
            return None


def _refusal(connection: UpstreamConnection, head: ResponseHead) -> ProxyError:
    """An answer that another upstream may give a better one for: what it says is dropped with the connection."""
    detail = f"{connection.upstream.address}: answered {head.status}"
    return ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.REFUSED, 502, detail, retryable=True)


def _refuse_by_order(exchange: Exchange, upstream: Upstream) -> None:
    """Fail as though the upstream had refused, where an operator wants that (`injecting`) and the draw falls on it."""
    refusal = upstream.refusal
    if refusal is None or not refusal.strikes():
        return
    exchange.record.injected = Verb.REFUSE
    exchange.context.metrics.inc(m.CHAOS_INJECTED, (*upstream.labels, Verb.REFUSE))
    if refusal.status == RESET:
        raise ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.RESET, 502, retryable=True, injected=True)
    status, retryable = refusal.status, refusal.status >= SERVER_ERRORS
    detail = f"{upstream.address}: answered {status}"
    raise ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.REFUSED, status, detail, retryable, injected=True)


def _check_origin(exchange: Exchange) -> None:
    """Refuse browsers' requests from other sites (RFC 6455 §10.2); those without an Origin come from no browser."""
    route = exchange.route
    said = exchange.head.headers.get_all(b"Origin") if route.allowed_origins else ()
    if len(said) > 1 or any(origin not in route.origins for origin in said):
        raise ProxyError(Source.CLIENT, Phase.ROUTE, Reason.FORBIDDEN, 403, "Origin is not in allowed_origins")


def _check_rate(exchange: Exchange) -> None:
    """Refuse what comes faster than upstreams are to see it, and say when to come again: all reconnect at once."""
    entrance = exchange.client.entrance
    rate = entrance.config.handshake_rate
    if rate and (seconds := entrance.handshakes.take(rate)):
        detail = f"more than {rate:g} upgrades a second on {entrance.config.name}"
        raise ProxyError(Source.PROXY, Phase.ROUTE, Reason.TOO_MANY, 503, detail, retry_after=seconds)


async def _connect(exchange: Exchange, attempts: Attempts) -> UpstreamConnection:
    try:
        return await attempts.connect()
    except ProxyError as failure:
        if failure.source is not Source.CLIENT:  # who left while it waited for a lease
            _count(exchange, HandshakeResult.UNREACHABLE)
        raise


async def _ask(exchange: Exchange, connection: UpstreamConnection) -> tuple[Answer, ResponseHead]:
    """Send the upgrade and wait `timeouts.handshake` for its answer, or until the upstream is known to be down."""
    limits, upstream = exchange.context.config.limits, connection.upstream
    patience = exchange.route.timeouts.handshake
    parser = ResponseParser(method=b"GET", max_head_bytes=limits.max_head_bytes, max_headers=limits.max_headers)
    answer = Answer(exchange, connection, parser, math.inf, Phase.HANDSHAKE)
    started = exchange.context.now()
    down = upstream.state is UpstreamState.DOWN  # since it was picked
    with answer.wait.until(started if down else started + patience) as wait:
        upstream.handshakes.add(wait)
        try:
            head = await _first_answer(exchange, connection, answer)
        finally:
            upstream.handshakes.discard(wait)
    if wait.over:
        down = upstream.state is UpstreamState.DOWN
        why = "went down before it answered" if down else f"no answer to the upgrade in {patience:g} s"
        detail, retryable = f"{upstream.address}: {why}", down and not parser.started
        raise ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.TIMEOUT, 504, detail, retryable=retryable)
    exchange.record.handshake_s = exchange.context.now() - started
    exchange.context.metrics.observe(m.HANDSHAKE_DURATION, (exchange.pool.name,), exchange.record.handshake_s)
    # From here on it is an answer like any other, with the patience of one.
    answer.phase, answer.patience = Phase.RESPONSE, exchange.route.timeouts.response
    return answer, head


async def _first_answer(exchange: Exchange, connection: UpstreamConnection, answer: Answer) -> ResponseHead:
    # Where sending fails, reading tells what happened: it may have answered before it closed.
    try:
        await send(connection.stream, exchange.upstream_head(connection.upstream, framing=UPGRADE_FIELDS), math.inf)
    except BROKEN as error:
        if isinstance(error, trio.ClosedResourceError) and not connection.ended:
            raise  # nobody closed it: its time is over
    return await answer.final_head()


async def _accept(exchange: Exchange, connection: UpstreamConnection, answer: Answer, head: ResponseHead) -> Upgraded:
    """Send the 101 and hand over what both sides sent behind their heads (RFC 6455 §4.1: frames may follow at once)."""
    client, record = exchange.client, exchange.record
    fields = client_fields(head, close=False, request_id=client.request_id, framing=UPGRADE_FIELDS)
    client.answering = client.open_ended = True  # of a tunnel that comes to nothing only a reset can tell
    record.status = head.status
    record.subprotocol = head.headers.get(b"Sec-WebSocket-Protocol", b"").decode("latin-1")
    await client.send(response_head(head.status, head.reason, fields), patience=ANSWER_SECONDS)
    if connection.ended:  # while the client was waited for
        detail = f"{connection.upstream.address}: the deadline of its drain passed"
        raise ProxyError(Source.PROXY, Phase.HANDSHAKE, Reason.CUT, 503, detail)
    tunnel = Tunnel(
        client.stream,
        connection.stream,
        settings=exchange.route.websocket,
        extensions=has_extensions(head),
        idle_timeout=exchange.route.timeouts.tunnel_idle,
        close_timeout=exchange.route.timeouts.close,
        traffic=exchange.context.meter.traffic(record.pool, record.upstream),
        early_to_upstream=client.parser.take_rest(),
        early_to_client=answer.parser.take_rest(),
    )
    unwatch(client.stream)
    record.tunnel = tunnel
    return Upgraded(connection, tunnel, record, exchange.context.now(), client.entrance, exchange.route)


def _count(exchange: Exchange, result: HandshakeResult) -> None:
    upstream = exchange.record.upstream or "none"
    exchange.context.metrics.inc(m.HANDSHAKES, (exchange.route.name, exchange.pool.name, upstream, result))
