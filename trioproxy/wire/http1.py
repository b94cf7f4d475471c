"""HTTP/1.1, sans I/O: a parser per client connection, a parser per answer; all of `wire` that others need for HTTP.

Heads are read in `requests`, `responses` and `heads`; chunks by llhttp (httptools), under stricter checks, in `bodies`.
Which requests to forward, and with which fields, is decided elsewhere.
"""

from __future__ import annotations

import re
from copy import copy

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.bodies import END, Body, UntilCloseBody, make_body
from trioproxy.wire.buffer import Buffer
from trioproxy.wire.events import BodyKind, Data, EndOfMessage, RequestHead, ResponseHead
from trioproxy.wire.heads import MAX_REMEMBERED_HEAD, HeadReader
from trioproxy.wire.requests import parse_request, parse_request_line, refuse_body, refuse_head, remembered_request
from trioproxy.wire.responses import parse_response, parse_status_line, refuse_answer, remembered_response
from trioproxy.wire.writing import (
    CHUNKED,
    LAST_CHUNK,
    TRAILERS_WELCOME,
    chunk,
    last_chunk,
    request_head,
    response_head,
)

__all__ = [
    "CHUNKED",
    "LAST_CHUNK",
    "TRAILERS_WELCOME",
    "BodyKind",
    "Data",
    "EndOfMessage",
    "RequestHead",
    "RequestParser",
    "ResponseHead",
    "ResponseParser",
    "chunk",
    "last_chunk",
    "request_head",
    "response_head",
]

MAX_EMPTY_LINES = 4
"""Before a request line; RFC 9112 §2.2 wants one at least to be ignored."""

MAX_INTERIM = 32
"""1xx heads before the final one."""

_NO_LINE_END = re.compile(rb"[^\r\n]")


class RequestParser:
    """The requests of one client connection, in order.

    Nothing is parsed before `next_event` asks for it, so an error is raised in its place, behind the events of the
    requests before it; from then on every call raises it again. How much is read ahead is the caller's to bound
    (`buffered`). Errors are ProxyErrors by the client, in phase HEAD or REQUEST, with the status to answer.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_empty_lines",
        "_error",
        "_heads",
        "_keep_alive",
        "_kept",
        "_max_headers",
        "_upgraded",
        "refused_head",
    )

    refused_head: bool
    """Whether what was refused before its head was understood is a HEAD: an answer to it has no content."""

    def __init__(self, *, max_head_bytes: int, max_headers: int) -> None:
        self.refused_head = False
        self._buffer = Buffer()
        self._heads = HeadReader(max_head_bytes, refuse_head, parse_request_line)
        self._max_headers = max_headers
        self._body: Body | None = None
        self._empty_lines = 0
        self._kept = False
        self._keep_alive = True
        self._upgraded = False
        self._error: ProxyError | None = None

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the client. They are ignored behind an error and behind a request with close."""
        if self._error is None and (self._keep_alive or self._body is not None):
            self._buffer.add(data)

    def next_event(self) -> RequestHead | Data | EndOfMessage | None:
        """The next event, or None: needs more data, or nothing follows (upgrade, close). Raises ProxyError."""
        if self._error is not None:
            raise copy(self._error)
        data, start = self._buffer.data, self._buffer.start
        try:
            return self._next_head() if self._body is None else self._next_of_body(self._body)
        except ProxyError as error:
            self._error = copy(error)  # without the traceback, whose frames hold this parser
            self.refused_head = self._body is None and data[start:].lstrip(b"\r\n").startswith(b"HEAD ")
            raise

    def take_rest(self) -> bytes:
        """The bytes behind the head of an upgrade, each but once; before one there are none."""
        return self._buffer.take(len(self._buffer)) if self._upgraded else b""

    @property
    def head_started(self) -> bool:
        """Whether a byte of the next head has come; empty lines before it do not count."""
        data, start = self._buffer.data, self._buffer.start
        return self._body is None and start < len(data) and _NO_LINE_END.search(data, start) is not None

    @property
    def buffered(self) -> bool:
        """Whether bytes, or events that need no further byte, wait."""
        buffer, body = self._buffer, self._body
        return buffer.start < len(buffer.data) or (body is not None and body.pending)

    def _next_head(self) -> RequestHead | None:
        if self._upgraded or not self._keep_alive:
            return None
        buffer = self._buffer
        if buffer.data.startswith(b"\r\n", buffer.start):
            self._skip_empty_lines()
        block = self._heads.read(buffer) if buffer.data else None
        if block is None:
            return None
        # A connection's first request is mostly its only one: its head will not be seen again.
        parse = remembered_request if self._kept and len(block) <= MAX_REMEMBERED_HEAD else parse_request
        head = parse(block, self._max_headers)
        self._kept = True
        self._empty_lines = 0
        if head.upgrade:
            self._upgraded = True
            return head
        self._keep_alive = head.keep_alive
        self._body = make_body(head.body, head.content_length, self._heads.limit, self._max_headers, refuse_body)
        return head

    def _next_of_body(self, body: Body) -> Data | EndOfMessage | None:
        event = body.read(self._buffer)
        if isinstance(event, EndOfMessage):
            self._body = None
            if not self._keep_alive:
                self._buffer = Buffer()
        return event

    def _skip_empty_lines(self) -> None:
        while self._buffer.data.startswith(b"\r\n", self._buffer.start):
            self._buffer.skip(2)
            self._empty_lines += 1
            if self._empty_lines > MAX_EMPTY_LINES:
                raise refuse_head(400, "empty lines instead of a request")


class ResponseParser:
    """One upstream's answer to one request: any interim heads, the final head, its body, its end.

    Errors are ProxyErrors by the upstream, in phase RESPONSE, with status 502: INVALID, or CLOSED for a connection that
    ended first; retryable only if no byte came. After an error every call raises it again.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_done",
        "_eof",
        "_error",
        "_heads",
        "_interim",
        "_max_headers",
        "_method",
        "_truncated",
        "started",
    )

    started: bool
    """Whether any byte of the answer has come."""

    def __init__(self, *, method: bytes, max_head_bytes: int, max_headers: int) -> None:
        self.started = False
        self._method = method
        self._buffer = Buffer()
        self._heads = HeadReader(max_head_bytes, refuse_answer, parse_status_line)
        self._max_headers = max_headers
        self._body: Body | None = None
        self._interim = 0
        self._eof = False
        self._truncated = False
        self._done = False
        self._error: ProxyError | None = None

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the upstream."""
        if data:
            self.started = True
            self._buffer.add(data)

    def receive_eof(self, *, truncated: bool = False) -> None:
        """Take note that the upstream sends no more; `truncated`: that this end cannot be told from an attacker's.

        With TLS the end of the connection alone ends no body (RFC 9112 §9.8).
        """
        self._eof = True
        self._truncated = truncated

    def next_event(self) -> ResponseHead | Data | EndOfMessage | None:
        """The next event, or None: needs more data, or nothing follows (a 101, the end). Raises ProxyError."""
        if self._error is not None:
            raise copy(self._error)
        if self._done:
            return None
        try:
            event = self._next_head() if self._body is None else self._next_of_body(self._body)
            if event is None and self._eof:
                raise self._closed()
        except ProxyError as error:
            self._error = copy(error)  # without the traceback, whose frames hold this parser
            raise
        return event

    def take_rest(self) -> bytes:
        """The bytes behind a 101 or behind the end of the answer, each but once; before that there are none.

        Behind an end they are never the answer to anything: the connection must not be used again.
        """
        return self._buffer.take(len(self._buffer)) if self._done else b""

    def _next_head(self) -> ResponseHead | None:
        block = self._heads.read(self._buffer) if self._buffer.data else None
        if block is None:
            return None
        # No 101 is like another: it answers one key.
        usual = len(block) <= MAX_REMEMBERED_HEAD and not block.startswith(b"HTTP/1.1 101")
        parse = remembered_response if usual else parse_response
        head = parse(block, self._method, self._max_headers)
        if head.status >= 200:  # noqa: PLR2004
            self._body = make_body(head.body, head.content_length, self._heads.limit, self._max_headers, refuse_answer)
        elif head.status == 101:  # noqa: PLR2004
            self._done = True
        else:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise refuse_answer(502, f"more than {MAX_INTERIM} interim answers")
        return head

    def _next_of_body(self, body: Body) -> Data | EndOfMessage | None:
        event = body.read(self._buffer)
        if event is None and self._eof and not self._truncated and isinstance(body, UntilCloseBody):
            event = END
        if isinstance(event, EndOfMessage):
            self._done = True
        return event

    def _closed(self) -> ProxyError:
        detail = "closed inside the answer" if self.started else "closed without an answer"
        return ProxyError(Source.UPSTREAM, Phase.RESPONSE, Reason.CLOSED, 502, detail, retryable=not self.started)
