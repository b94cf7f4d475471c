"""A plain HTTP exchange: the request to an upstream, its answer back, both streaming, retried where that is safe.

Reading and framing the answer is `answer`'s work; choosing and connecting is `dialing`'s; upgrades are in `upgrade`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.answer import Answer
from trioproxy.counts import TO_UPSTREAM
from trioproxy.dialing import Attempts, retry_reason
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.pace import Pace
from trioproxy.streaming import BROKEN, post, send, watch
from trioproxy.wire.http1 import CHUNKED, LAST_CHUNK, BodyKind, Data, ResponseParser, chunk

if TYPE_CHECKING:
    from trioproxy.dialing import UpstreamConnection
    from trioproxy.exchange import Exchange

# Methods whose request may reach a second upstream when the first one closed without an answer (RFC 9110 §9.2.1).
REPEATABLE = frozenset({b"GET", b"HEAD"})
# Methods that may be sent again when a *kept* connection turned out to be closed (RFC 9110 §9.2.2, RFC 9112 §9.3.1).
IDEMPOTENT = REPEATABLE | {b"OPTIONS", b"PUT", b"DELETE", b"PROPFIND"}


async def forward_request(exchange: Exchange) -> None:
    """Serve one plain request from first upstream to the last byte of the answer.

    Raises ProxyError; whether an answer of ours can still be sent then is told by `exchange.client.answering`.
    """
    head, client = exchange.head, exchange.client
    _check_length(exchange, head.content_length or 0)
    bodiless = not head.has_body
    idempotent = bodiless and head.method in IDEMPOTENT
    repeatable = bodiless and head.method in REPEATABLE
    context = exchange.context
    attempts = Attempts(
        context, exchange.pool, exchange.record, exchange.route.timeouts.connect, exchange.client.has_left
    )
    idle = context.idle[exchange.pool.name]
    if head.version == b"1.1":
        connection = await attempts.connect_or_reuse(idle, repeatable=idempotent)
    else:
        connection = await attempts.connect()
    while True:
        try:
            if await _Attempt(exchange, connection, attempts if repeatable else None).run():
                watch(connection.stream, context.readiness)
                connection.keep(idle)
        except ProxyError as failure:
            if not (connection.reused and failure.retryable):  # a kept one that had been closed says nothing
                context.blame(connection.upstream, failure.ending)
            if client.answering:
                raise
            stale = connection.reused and failure.reason is not Reason.REFUSED
            if stale and idempotent and failure.retryable:
                attempts.forgive(connection.upstream)
            elif not (repeatable and attempts.another(failure, retry_reason(failure))):
                raise
        else:
            return
        finally:
            connection.close()
        connection = await attempts.connect()


def _check_length(exchange: Exchange, octets: int) -> None:
    most = exchange.context.config.limits.max_body_bytes
    if most and octets > most:
        detail = f"a body above max_body_bytes ({most})"
        raise ProxyError(Source.CLIENT, Phase.REQUEST, Reason.TOO_LARGE, 413, detail)


@attrs.define(eq=False)
class _Attempt:
    """The exchange over one upstream connection."""

    exchange: Exchange
    connection: UpstreamConnection
    attempts: Attempts | None  # that another upstream's answer may be had by; None where it must not see the request
    answer: Answer = attrs.field(init=False)
    received: bool = attrs.field(default=False, init=False)  # the client's body has wholly come in
    uploaded: bool = attrs.field(default=False, init=False)  # and wholly gone out
    octets: int = attrs.field(default=0, init=False)  # of the body, so far
    pace: Pace = attrs.field(init=False)  # of the client that sends it, where there is one
    client_failure: ProxyError | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        limits = self.exchange.context.config.limits
        parser = ResponseParser(
            method=self.exchange.head.method, max_head_bytes=limits.max_head_bytes, max_headers=limits.max_headers
        )
        self.answer = Answer(self.exchange, self.connection, parser, self.exchange.route.timeouts.response)

    async def run(self) -> bool:
        """Serve; say whether the upstream connection can be kept. Raises ProxyError."""
        if not self.exchange.head.has_body:
            self.received = self.uploaded = True
            data = self._head()
            if not post(self.connection.stream, data):
                await self._send_upstream(data)
            return await self._pass_answer()
        self.pace = Pace(self.exchange.context.config.limits.min_body_rate, self.exchange.route.timeouts.body)
        kept = False
        failure: ProxyError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._upload, nursery.cancel_scope)
                # A nursery would wrap a ProxyError in a group, so it crosses the nursery's end as a value.
                try:
                    kept = await self._pass_answer()
                except ProxyError as error:
                    failure = error
                nursery.cancel_scope.cancel()
        finally:
            if not self.uploaded:  # a FIN looks like the end of the body to some servers
                self.connection.stream.reset_on_close()
        failure, self.client_failure = self.client_failure or failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                failure = None  # its traceback holds this frame: the connection would wait for the cyclic collector
        return kept

    def _head(self) -> bytes:
        chunked = self.exchange.head.body is BodyKind.CHUNKED
        framing = CHUNKED if chunked else ()
        return self.exchange.upstream_head(self.connection.upstream, framing=framing)

    async def _pass_answer(self) -> bool:
        head = await self.answer.final_head()
        if head.status == 101:  # noqa: PLR2004 (Switching Protocols)
            raise self._upstream_error(Reason.INVALID, 502, "101 to a request that is no upgrade")
        if head.status >= 500 and not self.answer.told and self._can_try_another():  # noqa: PLR2004 (server errors)
            raise self._upstream_error(Reason.REFUSED, 502, f"answered {head.status}", retryable=True)
        if not self.received:
            # An early answer: what the client still sends is not worth waiting for (RFC 9112 §9.6).
            self.exchange.client.reusable = False
        reusable = await self.answer.pass_on(head)
        if not self.received:
            self.exchange.client.reusable = False
        return reusable and self.uploaded and self.exchange.head.version == b"1.1"

    def _can_try_another(self) -> bool:
        return self.attempts is not None and self.attempts.can_try_another("5xx")

    async def _upload(self, scope: trio.CancelScope) -> None:
        """Stream the request to the upstream; a failure of the client's ends the exchange.

        Where the answer has begun already it goes on: a client may well stop sending because of it (RFC 9112 §9.6).
        """
        try:
            await self._send_upstream(self._head())
            self.answer.progress()
            while not self.received:
                await self._send_upstream(await self._next_part())
                self.answer.progress()
            self.uploaded = True
        except ProxyError as failure:
            client = self.exchange.client
            if failure.source is Source.CLIENT and (client.cut or not client.answering):
                self.client_failure = failure
                scope.cancel()
            if self.answer.waiting_for_client:
                self._wait_for_client(waiting=False)

    async def _next_part(self) -> bytes:
        """What has come of the body, framed for the upstream; waits for the client while nothing has."""
        client, patience = self.exchange.client, self.exchange.route.timeouts.response
        self._wait_for_client(waiting=True)
        started = self.exchange.context.now()
        try:
            with trio.fail_after(min(patience, max(0, self.pace.patience()))):
                event = await client.next_event(Phase.REQUEST)
        except trio.TooSlowError:
            slow = self.pace.patience() < patience
            rate = f"below {self.pace.rate:g} bytes a second" if slow else f"no byte for {patience:g} s"
            detail = f"the request's body: {rate}"
            raise ProxyError(Source.CLIENT, Phase.REQUEST, Reason.TIMEOUT, 408, detail) from None
        if event is None:
            detail = "ended inside the request's body"
            raise ProxyError(Source.CLIENT, Phase.REQUEST, Reason.CLOSED, 400, detail)
        self._wait_for_client(waiting=False)
        chunked = self.exchange.head.body is BodyKind.CHUNKED
        parts: list[bytes] = []
        size = 0
        while isinstance(event, Data):
            size += len(event.data)
            parts.append(chunk(event.data) if chunked else event.data)
            event = client.parser.next_event()
        if event is not None:
            self.received = True
            if chunked:
                parts.append(LAST_CHUNK)
        self._count(size)
        self.pace.waited(self.exchange.context.now() - started, size)
        return b"".join(parts)

    def _wait_for_client(self, *, waiting: bool) -> None:
        self.answer.waiting_for_client = waiting
        self.answer.progress()

    def _count(self, size: int) -> None:
        upstream = self.connection.upstream
        self.octets += size
        _check_length(self.exchange, self.octets)
        self.exchange.context.metrics.inc(m.HTTP_BYTES, (*upstream.labels, TO_UPSTREAM), size)

    async def _send_upstream(self, data: bytes) -> None:
        """Send; an upstream that has gone is found out by reading: it may have answered before it closed."""
        try:
            await send(self.connection.stream, data, self.answer.patience)
        except BROKEN:  # closed is what it looks like when the wait for its answer ends
            pass
        except trio.TooSlowError:
            raise self._upstream_error(Reason.STALLED, 504, f"took nothing for {self.answer.patience:g} s") from None

    def _upstream_error(self, reason: Reason, status: int, detail: str, *, retryable: bool = False) -> ProxyError:
        where = self.connection.upstream.address
        return ProxyError(Source.UPSTREAM, Phase.RESPONSE, reason, status, f"{where}: {detail}", retryable=retryable)
