"""The story of one client connection, from accept to record.

    accept → arrival → head → route → plain request or upgrade → pick, lease, connect → exchange or tunnel → close
    → record

Each step is a module of its own (`arrival`, `client`, `routing`, `forward`, `upgrade`, `dialing`, `relay`); here they
are told in order, failures become answers, and every connection ends with its socket closed, its lease returned and its
line logged.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import trio

from trioproxy import metrics as m
from trioproxy.access_log import log_end
from trioproxy.arrival import arrive
from trioproxy.client import DRAIN_GRACE, Client
from trioproxy.counts import status_label
from trioproxy.errors import Ending, Phase, ProxyError, Reason, Source
from trioproxy.exchange import Exchange
from trioproxy.forward import forward_request
from trioproxy.record import Record
from trioproxy.rewriting import kept_request_id
from trioproxy.streaming import abort, close_at_once, close_gently, watch
from trioproxy.tunnels import count_ending, tunnel_ended, tunnel_opened, unforeseen
from trioproxy.upgrade import Upgraded, open_tunnel
from trioproxy.waits import Wait
from trioproxy.wire.http1 import RequestHead, RequestParser

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioproxy.arrival import Newcomer
    from trioproxy.client import Entrance
    from trioproxy.context import Context

# The usual endings, one object each: every open tunnel holds the one, every plain request makes do with the other.
REFUSED = Ending(Source.UPSTREAM, Phase.HANDSHAKE, Reason.REFUSED)
ANSWERED = Ending(Source.UPSTREAM, Phase.RESPONSE, Reason.DONE)
NONE = "none"  # the label where there is no route, pool or upstream
MAX_TEXT = 2048  # characters of what a head says that a record holds: it lives as long as its tunnel


async def handle_connection(
    context: Context,
    stream: trio.abc.HalfCloseableStream,
    entrance: Entrance,
    address: str,
    *,
    trusted: bool,
    ended: Callable[[], object],
    newcomer: Newcomer | None = None,
) -> None:
    """Serve one accepted connection to its end, close it and call `ended`. Never raises for what peers do.

    `newcomer` is what its listener wants to hear before the first request, if anything.

    An exception that is a bug ends this connection alone: it is logged here with its traceback, and counted as
    `internal` where it went through.
    """
    upgraded: Upgraded | None = None
    try:
        upgraded = await _serve_requests(context, stream, entrance, address, newcomer, trusted=trusted)
        if upgraded is not None:
            # Here and not in a function of its own, whose frame would lie in memory for each open tunnel.
            try:
                tunnel_opened(context, upgraded)
                upgraded.record.ending = await context.relay.run(upgraded.tunnel)
            except BaseException as error:
                upgraded.record.ending = unforeseen(error, Phase.TUNNEL)
                raise
            finally:
                tunnel_ended(context, upgraded)
    except Exception:
        context.log.exception("internal_error", client=address, listener=entrance.config.name)
    finally:
        ended()  # before what can be cancelled; nobody hears of it until the stream is closed
        if upgraded is not None:  # with TLS, that is another one, which has something to say
            await close_at_once(upgraded.tunnel.client)
        await close_at_once(stream)


async def _serve_requests(
    context: Context,
    stream: trio.abc.HalfCloseableStream,
    entrance: Entrance,
    address: str,
    newcomer: Newcomer | None,
    *,
    trusted: bool,
) -> Upgraded | None:
    """Answer requests until the connection ends, or return the tunnel that it became."""
    rest, tls = b"", ""
    if newcomer is not None:
        arrival = await arrive(context, stream, entrance, newcomer)
        if arrival is None:
            return None
        stream, address, trusted = arrival.stream, arrival.address, arrival.trusted
        rest, tls = arrival.rest, arrival.tls
    limits = context.config.limits
    parser = RequestParser(max_head_bytes=limits.max_head_bytes, max_headers=limits.max_headers)
    client = Client(stream, parser, address, entrance, trusted, Wait(stream, context.waits), tls)
    if rest:
        parser.receive_data(rest)
    else:
        client.look()  # the first request has mostly come by the time its connection is served
    patience = context.config.timeouts.head
    while client.reusable:
        client.answering = client.open_ended = False
        client.request_id = b""
        record = Record(client=address, listener=entrance.config.name, tls=tls)
        if context.log.access:
            record.id = context.next_id()
        head = await _next_head(context, client, record, patience)
        if head is None:
            break
        upgraded = await _serve(context, client, head, record)
        if upgraded is not None:
            return upgraded
        patience = context.config.timeouts.keep_alive
        if client.reusable:
            watch(stream, context.readiness)
    if client.cut:
        await close_at_once(stream)
    else:
        await close_gently(stream)
    return None


async def _next_head(context: Context, client: Client, record: Record, patience: float) -> RequestHead | None:
    """The next request's head; None where the connection ends instead: with FIN, idle, or answered for a bad head."""
    try:
        if not await _first_byte(context, client, patience):
            return None
        return await _read_head(context, client, record)
    except ProxyError as failure:
        client.reusable = False
        await _answer_failure(client, failure, record, head_only=client.parser.refused_head)
        _finish(context, record)
        return None
    except BaseException as error:
        count_ending(context, unforeseen(error, Phase.HEAD))
        raise


async def _first_byte(context: Context, client: Client, patience: float) -> bool:
    """Wait for a request to begin; False, with the ending counted, where none does. A drain cuts the wait short.

    Raises ProxyError for more empty lines than a request may have before it (RFC 9112 §2.2).
    """
    if context.ends(client.entrance):
        patience = min(patience, DRAIN_GRACE)
    parser = client.parser
    if parser.head_started:
        return True
    by, reason = Source.PROXY, Reason.IDLE
    with client.wait.until(context.now() + patience) as wait:
        context.waiting[wait] = client.entrance
        try:
            while not parser.head_started:
                if parser.buffered:
                    parser.next_event()  # takes empty lines away
                if not await client.receive(Phase.HEAD):
                    by, reason = Source.CLIENT, Reason.DONE
                    break
            else:
                return True
        except ProxyError as failure:
            if wait.over or not client.cut:
                raise
            by, reason = failure.source, failure.reason
        finally:
            context.waiting.pop(wait, None)
    if wait.over and context.ends(client.entrance):
        reason = Reason.DRAINING
    client.give_up()  # there is no answer on its way that a close could overtake
    count_ending(context, Ending(by, Phase.HEAD, reason))
    return False


async def _read_head(context: Context, client: Client, record: Record) -> RequestHead:
    event = client.parser.next_event()  # the usual head comes in one piece
    if event is None:
        started = trio.current_time()
        patience = context.config.timeouts.head
        with trio.move_on_after(patience) as scope:
            event = await client.next_event(Phase.HEAD)
        if scope.cancelled_caught:
            detail = f"the head did not end within {patience:g} s"
            raise ProxyError(Source.CLIENT, Phase.HEAD, Reason.TIMEOUT, 408, detail)
        record.head_s = trio.current_time() - started
    if not isinstance(event, RequestHead):
        raise ProxyError(Source.CLIENT, Phase.HEAD, Reason.CLOSED, 400, "ended inside a request head")
    if not event.upgrade and not event.has_body:
        client.parser.next_event()  # its end came with it
    return event


async def _serve(context: Context, client: Client, head: RequestHead, record: Record) -> Upgraded | None:
    """Route and serve one request; its record is logged behind it, unless it became a tunnel."""
    started = context.now()
    record.kind = "websocket" if head.upgrade else "http"
    if head.upgrade or context.log.access:  # of a plain request only its log line tells more
        record.id = record.id or context.next_id()
        _describe(record, head)
    upgraded: Upgraded | None = None
    # A client of 1.0 gets one answer, and what stands behind an upgrade is never a request (CVE-2026-2833).
    ending = context.ends(client.entrance)
    client.reusable = head.keep_alive and head.version == b"1.1" and not head.upgrade and not ending
    try:
        upgraded = await _answer(context, client, head, record)
    except ProxyError as failure:
        if head.has_body or context.ends(client.entrance):
            client.reusable = False
        await _answer_failure(client, failure, record, head_only=head.method == b"HEAD")
    except BaseException as error:
        record.ending = unforeseen(error, Phase.RESPONSE)
        if client.open_ended:
            abort(client.stream)
        raise
    finally:
        record.duration_s = context.now() - started
        if upgraded is None:
            _finish(context, record)
    return upgraded


async def _answer(context: Context, client: Client, head: RequestHead, record: Record) -> Upgraded | None:
    """Answer the request, or make it a tunnel; how that ended is in the record. Raises ProxyError."""
    if head.target == b"*":
        await _answer_options(client, head, record)
        return None
    exchange = _route(context, client, head, record)
    if head.upgrade:
        upgraded = await open_tunnel(exchange)
        record.ending = REFUSED  # unless it is a tunnel now
        return upgraded
    await forward_request(exchange)
    record.ending = ANSWERED
    return None


def _describe(record: Record, head: RequestHead) -> None:
    record.method = sys.intern(head.method.decode("ascii"))
    record.path = _text(head.target.partition(b"?")[0])
    record.host = _text(head.host)
    record.user_agent = _text(head.headers.get(b"User-Agent", b""))
    record.origin = _text(head.headers.get(b"Origin", b""))


def _text(value: bytes) -> str:
    # Interned: tunnels last, and many say the same. It is freed with the last that does.
    return sys.intern(value[:MAX_TEXT].decode("latin-1"))


def _route(context: Context, client: Client, head: RequestHead, record: Record) -> Exchange:
    route = context.router.match(client.entrance.config.name, head.host, head.target)
    if route is None:
        raise ProxyError(Source.CLIENT, Phase.ROUTE, Reason.NO_ROUTE, 404, "no route for this host and path")
    record.route, record.pool = route.name, route.pool
    if route.admission is not None and not route.admission.admits(client.real_address(head.headers)):
        raise ProxyError(Source.CLIENT, Phase.ROUTE, Reason.FORBIDDEN, 403, "the client is in no network it may be in")
    if route.request_id != "off":
        record.id = record.id or context.next_id()
        kept = kept_request_id(head) if route.request_id == "keep" else b""
        record.request_id = kept.decode("ascii")
        client.request_id = kept or record.id.encode("ascii")
    return Exchange(context, client, head, route, context.pools[route.pool], record)


async def _answer_options(client: Client, head: RequestHead, record: Record) -> None:
    """`OPTIONS *` asks the proxy itself (RFC 9110 §9.3.7)."""
    if head.has_body:
        client.reusable = False
    await client.answer(204)
    record.status = 204
    record.ending = Ending(Source.PROXY, Phase.RESPONSE, Reason.DONE)


async def _answer_failure(client: Client, failure: ProxyError, record: Record, *, head_only: bool = False) -> None:
    """Tell the client, where it can still be told; otherwise end the connection so that the cut is seen as one."""
    record.ending = failure.ending
    if client.answering:
        # A part of an answer has gone out. FIN inside a counted or chunked body shows as incomplete; where only the end
        # of the connection would end the body, a reset has to show it (RFC 9112 §8).
        client.reusable = False
        if client.open_ended or client.cut:
            client.give_up()
            abort(client.stream)
    elif not client.cut:
        record.status = failure.status
        with contextlib.suppress(ProxyError):  # gone before it could be told
            await client.answer(failure.status, head_only=head_only, retry_after=failure.retry_after)


def _finish(context: Context, record: Record) -> None:
    """Count and log a request that is over."""
    if record.ending is not None:
        count_ending(context, record.ending)
    route, pool = record.route or NONE, record.pool or NONE
    kind = record.kind or "http"
    context.metrics.inc(m.REQUESTS, (route, pool, kind, status_label(record.status)))
    if kind == "http" and record.pool:
        context.metrics.observe(m.REQUEST_DURATION, (route, pool), record.duration_s)
    log_end(context.log, record)
