"""An upstream's answer on its way to the client: read with patience, framed for the client's version, passed on.

The request's side of the exchange, and what happens when no answer comes, are in `forward` and `upgrade`.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.client import ANSWER_SECONDS, READ_SIZE
from trioproxy.counts import TO_CLIENT
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.pace import Pace
from trioproxy.rewriting import client_fields, client_trailers
from trioproxy.streaming import BROKEN, broken, receive, was_truncated
from trioproxy.waits import Wait
from trioproxy.wire.headers import date_field
from trioproxy.wire.http1 import (
    CHUNKED,
    LAST_CHUNK,
    BodyKind,
    Data,
    EndOfMessage,
    ResponseHead,
    chunk,
    last_chunk,
    response_head,
)

if TYPE_CHECKING:
    from trioproxy.dialing import UpstreamConnection
    from trioproxy.exchange import Exchange
    from trioproxy.wire.http1 import ResponseParser

# Bodies whose size no field tells: each is framed anew, as the client's version allows.
UNSIZED = frozenset({BodyKind.CHUNKED, BodyKind.UNTIL_CLOSE})


@attrs.define(eq=False)
class Answer:
    """The answer to one exchange, over one upstream connection.

    `patience` is how many seconds the upstream may be silent, infinity where the caller watches the time; while
    `waiting_for_client` is set its silence is the client's, whose request body is not complete yet. What the parser
    raises is told of in phase RESPONSE.
    """

    exchange: Exchange
    connection: UpstreamConnection
    parser: ResponseParser
    patience: float
    phase: Phase = Phase.RESPONSE
    waiting_for_client: bool = False
    told: bool = attrs.field(default=False, init=False)  # an interim answer has gone to the client
    wait: Wait = attrs.field(init=False)  # for its bytes
    _pace: Pace | None = attrs.field(default=None, init=False)  # of the client, once more than one send is needed

    def __attrs_post_init__(self) -> None:
        self.wait = Wait(self.connection.stream, self.exchange.context.waits)

    def progress(self) -> None:
        """The request's body moved: the upstream's time starts anew, or stands still while the client is waited for."""
        self.wait.end_by(self._deadline())

    def _deadline(self) -> float:
        return math.inf if self.waiting_for_client else self.exchange.context.now() + self.patience

    async def final_head(self) -> ResponseHead:
        """The final head (101 included), interim ones passed to the client before it. Raises ProxyError (502, 504)."""
        if not self.parser.started:
            await self._receive()
        while True:
            while (head := self.parser.next_event()) is None:
                await self._receive()
            if not isinstance(head, ResponseHead):
                raise self._error(Reason.INVALID, 502, "a body where a head was due")
            if not head.interim:
                return head
            await self._pass_interim(head)

    async def _pass_interim(self, head: ResponseHead) -> None:
        # An interim answer belongs to the client that may understand it (RFC 9110 §15.2).
        if self.exchange.head.version == b"1.1":
            self.told = True
            data = response_head(head.status, head.reason, client_fields(head, close=False))
            # Shielded, as a part of a head must not be all that the client gets; the send ends by itself.
            with trio.CancelScope(shield=True):
                await self.exchange.client.send(data, patience=ANSWER_SECONDS)

    async def pass_on(self, head: ResponseHead) -> bool:
        """Send the answer that `head` begins to the client, whole; say whether the upstream connection can be kept.

        Raises ProxyError where either side ends or stalls before that; the client then has a part, at most, of the
        answer.
        """
        client, request = self.exchange.client, self.exchange.head
        self.exchange.record.status = head.status
        unframed = head.body in UNSIZED
        chunked = unframed and request.version == b"1.1"
        if self.exchange.context.ends(client.entrance):
            client.reusable = False
        framing = CHUNKED if chunked else ()
        date = date_field(int(time.time()))
        fields = client_fields(
            head, close=not client.reusable, request_id=client.request_id, date=date, framing=framing
        )
        out = [response_head(head.status, head.reason, fields)]
        more = self._collect(out, head, chunked=chunked)
        client.answering = True
        client.open_ended = unframed and not chunked
        data = b"".join(out)
        if more or not client.post(data):
            await self._send(data)
        while more:
            await self._receive()
            out.clear()
            more = self._collect(out, head, chunked=chunked)
            await self._send(b"".join(out))
        return head.keep_alive and head.body is not BodyKind.UNTIL_CLOSE and not self.parser.take_rest()

    def _collect(self, out: list[bytes], head: ResponseHead, *, chunked: bool) -> bool:
        """Take all that has come of the body; False when it is complete."""
        size = 0
        while isinstance(event := self.parser.next_event(), Data):
            size += len(event.data)
            out.append(chunk(event.data) if chunked else event.data)
        if size:
            upstream = self.connection.upstream
            self.exchange.context.metrics.inc(m.HTTP_BYTES, (*upstream.labels, TO_CLIENT), size)
        if chunked and isinstance(event, EndOfMessage):
            out.append(self._last_chunk(head, event))
        return event is None

    def _last_chunk(self, head: ResponseHead, end: EndOfMessage) -> bytes:
        """With the trailers for a client that asked: another may take them for what they are not (RFC 9110 §6.5.1)."""
        if not end.trailers.fields or not self.exchange.head.wants_trailers:
            return LAST_CHUNK
        return last_chunk(client_trailers(head, end.trailers, request_id=self.exchange.client.request_id))

    async def _send(self, data: bytes) -> None:
        if data:
            context, timeouts = self.exchange.context, self.exchange.route.timeouts
            if self._pace is None:
                self._pace = Pace(context.config.limits.min_body_rate, timeouts.body)
            patience = min(timeouts.response, self._pace.patience(len(data)))
            started = context.now()
            await self.exchange.client.send(data, patience=max(0, patience))
            self._pace.waited(context.now() - started, len(data))

    async def _receive(self) -> None:
        """Feed the parser with one read, or the end. Raises ProxyError for a reset, and where nothing comes in time."""
        data: bytes | None = None
        try:
            if self.patience == math.inf:  # the caller's scope is around
                data = await receive(self.connection.stream, READ_SIZE)
            else:
                with self.wait.until(self._deadline()):
                    data = await receive(self.connection.stream, READ_SIZE)
        except BROKEN as error:
            retryable = not self.parser.started
            if self.connection.ended:
                detail = f"{self.connection.upstream.address}: the deadline of its drain passed"
                raise ProxyError(Source.PROXY, self.phase, Reason.CUT, 503, detail, retryable=retryable) from error
            raise broken(error, Source.UPSTREAM, self.phase, retryable=retryable) from error
        if data:
            self.parser.receive_data(data)
        elif data is None:
            raise self._error(Reason.TIMEOUT, 504, f"silent for {self.patience:g} s")
        else:
            self.parser.receive_eof(truncated=was_truncated(self.connection.stream))

    def _error(self, reason: Reason, status: int, detail: str) -> ProxyError:
        return ProxyError(Source.UPSTREAM, self.phase, reason, status, f"{self.connection.upstream.address}: {detail}")
