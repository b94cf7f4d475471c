"""A client's connection: its requests read event by event, answers of our own, and whether another request may follow.

What is done with a request is elsewhere: `connection` tells the story, `forward` and `upgrade` serve it.
"""

from __future__ import annotations

import http
import time
from typing import TYPE_CHECKING

import attrs
import trio

from trioproxy.addresses import real_client
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.handshake_rate import HandshakeRate
from trioproxy.rewriting import REQUEST_ID
from trioproxy.sparing import Sparing
from trioproxy.streaming import BROKEN, broken, has_hung_up, post, receive, receive_at_once, send
from trioproxy.wire.headers import date_field, make_field
from trioproxy.wire.http1 import Data, EndOfMessage, RequestHead, RequestParser, response_head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.config import ListenerConfig
    from trioproxy.waits import Wait
    from trioproxy.wire.headers import Headers

READ_SIZE = 64 * 1024  # octets; also the bound of what is read ahead of pipelined requests
# A short answer fits every socket buffer; a client that does not take even that within this long gets a close.
ANSWER_SECONDS = 5.0
# Once a drain began, how long a connection without a request may still come up with one that was on its way.
DRAIN_GRACE = 1.0
# What a status obliges us to send besides (RFC 9110 §15.5.6, §15.5.22, §15.6.4; RFC 6455 §4.4).
STATUS_FIELDS: Mapping[int, tuple[tuple[bytes, bytes], ...]] = {
    http.HTTPStatus.METHOD_NOT_ALLOWED: ((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
    http.HTTPStatus.UPGRADE_REQUIRED: ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Version", b"13")),
}
RETRY_SECONDS = 1  # what a 503 says where nobody knows better (RFC 9110 §10.2.3)

Event = RequestHead | Data | EndOfMessage


@attrs.define(eq=False)
class Entrance:
    """The listener clients came in by, as it stands now: a reload may change it under them, or take it away."""

    config: ListenerConfig
    closed: bool = False  # it accepts no more, and whoever came by it is to ask for nothing more
    handshakes: HandshakeRate = attrs.field(factory=HandshakeRate)
    sparing: Sparing = attrs.field(factory=Sparing)  # with lines about clients that come to nothing


@attrs.define(eq=False)
class Client:
    """One accepted connection. Owns neither the stream nor its closing: `connection` does."""

    stream: trio.abc.HalfCloseableStream
    parser: RequestParser
    address: str  # its IP address, or "unix"; that of the peer unless a PROXY header is believed
    entrance: Entrance
    trusted: bool  # whether its X-Forwarded-* are believed
    wait: Wait  # for its bytes
    tls: str = ""  # its version, "" without
    reusable: bool = True  # whether another request may follow on this connection
    answering: bool = False  # a final head has gone out: no answer of ours can replace it any more
    open_ended: bool = False  # nothing but the end of the connection ends the body of the answer under way
    request_id: bytes = b""  # what X-Request-Id is in the answer under way; b"" leaves it to the upstream
    ended: bool = False  # the client has sent FIN
    cut: bool = False  # nothing more can be told to it: close without ceremony

    def real_address(self, headers: Headers) -> str:
        """The IP address that a request came from first, as far as trusted proxies tell it; or "unix"."""
        if not self.trusted:
            return self.address
        return real_client(self.address, headers, self.entrance.config.trusted)

    @property
    def scheme(self) -> str:
        """Of what it asks for."""
        return "https" if self.tls else "http"

    def give_up(self) -> None:
        """Nothing more can be told to this client, or read from it."""
        self.reusable = False
        self.cut = True

    def has_left(self) -> bool:
        """Whether it has ended its side, or reset the connection; without reading."""
        return self.ended or has_hung_up(self.stream)

    def look(self) -> None:
        """Feed the parser with what has come already, if anything has. What is wrong, `receive` will find again."""
        try:
            data = receive_at_once(self.stream, READ_SIZE)
        except BROKEN:
            return
        if data:
            self.parser.receive_data(data)

    async def receive(self, phase: Phase) -> bool:
        """Feed the parser with one read; False once the client has sent FIN. Raises ProxyError for a reset."""
        if not self.ended:
            try:
                data = await receive(self.stream, READ_SIZE)
            except BROKEN as error:
                self.give_up()
                raise broken(error, Source.CLIENT, phase) from error
            if data:
                self.parser.receive_data(data)
                return True
            self.ended = True
        return False

    async def next_event(self, phase: Phase) -> Event | None:
        """The next event, waiting for it as long as it takes; None at the client's FIN. Raises what the parser does."""
        while (event := self.parser.next_event()) is None:
            if not await self.receive(phase):
                return None
        return event

    async def send(self, data: bytes, *, patience: float) -> None:
        """Send, giving up on a client that has not taken `data` (one read's worth) in `patience` seconds.

        Raises ProxyError; the client can then be told nothing more.
        """
        try:
            await send(self.stream, data, patience)
        except trio.TooSlowError:
            self.give_up()
            detail = f"the client did not take {len(data)} bytes in {patience:g} s"
            raise ProxyError(Source.CLIENT, Phase.RESPONSE, Reason.STALLED, 408, detail) from None
        except BROKEN as error:
            self.give_up()
            raise broken(error, Source.CLIENT, Phase.RESPONSE) from error

    def post(self, data: bytes) -> bool:
        """Have the end of an answer sent in a moment, where the next request is waited for then; False: `send` it."""
        # Who waits sends what the socket does not take. Behind a pipelined request it would lie there until the answer.
        waits_next = self.reusable and not self.ended and not self.parser.buffered
        return waits_next and post(self.stream, data)

    async def answer(self, status: int, *, head_only: bool = False, retry_after: int = 0) -> None:
        """Send a short answer of our own; with `Connection: close` unless another request may follow.

        Details belong into the log, so the body says no more than the status. Raises ProxyError if the client is gone.
        """
        self.answering = True
        data = own_answer(
            status,
            head_only=head_only,
            close=not self.reusable,
            request_id=self.request_id,
            retry_after=retry_after or RETRY_SECONDS,
        )
        await self.send(data, patience=ANSWER_SECONDS)


def own_answer(
    status: int, *, head_only: bool, close: bool, request_id: bytes = b"", retry_after: int = RETRY_SECONDS
) -> bytes:
    """A complete answer of the proxy's own, with the fields that its status demands (RFC 9110 §15).

    `retry_after` is seconds, said in a 503 alone.
    """
    reason = http.HTTPStatus(status).phrase.encode("ascii")
    body = b"" if status == http.HTTPStatus.NO_CONTENT else b"%d %s\n" % (status, reason)
    fields = [date_field(int(time.time()))]
    fields += [make_field(name, value) for name, value in STATUS_FIELDS.get(status, ())]
    if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
        fields.append(make_field(b"Retry-After", b"%d" % retry_after))
    if body:
        fields.append(make_field(b"Content-Type", b"text/plain; charset=utf-8"))
        fields.append(make_field(b"Content-Length", b"%d" % len(body)))
    options = [b"upgrade"] * (status == http.HTTPStatus.UPGRADE_REQUIRED) + [b"close"] * close
    if request_id:
        fields.append(make_field(REQUEST_ID, request_id))
    if options:
        fields.append(make_field(b"Connection", b", ".join(options)))
    return response_head(status, reason, fields) + (b"" if head_only else body)
