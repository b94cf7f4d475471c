"""What h11 and llhttp make of bytes, in the words of `strict_http`; each knows nothing of the others.

llhttp is asked through httptools. Both are more lenient than the strict reading here and there: that is why they are asked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import h11
import httptools

if TYPE_CHECKING:
    from support.strict_http import Fields

BIG = 1_000_000


def h11_requests(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of the whole requests h11 finds, up to the first thing it does not take."""
    found = []
    while raw:
        reader = h11.Connection(h11.SERVER, max_incomplete_event_size=BIG)
        reader.receive_data(raw)
        body = b""
        try:
            request = reader.next_event()
            if not isinstance(request, h11.Request):
                break
            while isinstance(event := reader.next_event(), h11.Data):
                body += bytes(event.data)
        except h11.RemoteProtocolError:
            break
        if not isinstance(event, h11.EndOfMessage):
            break
        found.append((request.method, request.target, body))
        raw = bytes(reader.trailing_data[0])
    return found


def h11_response(raw: bytes, method: bytes) -> tuple[int, bytes, Fields] | None:
    """Status, body and trailers of the final answer, `raw` being all that came before the end; None if h11 does not take it."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=BIG)
    reader.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(raw)
    if not reader.trailing_data[1]:
        reader.receive_data(b"")
    status, body = 0, b""
    try:
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return None
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    return status, body, tuple((bytes(name), bytes(value)) for name, value in event.headers.raw_items())


class _Messages:
    """Collects what llhttp reports."""

    def __init__(self) -> None:
        self.parser: httptools.HttpRequestParser | httptools.HttpResponseParser | None = None
        self.target = self.body = b""
        self.in_head = True
        self.trailers: list[tuple[bytes, bytes]] = []
        self.found: list[tuple] = []

    def on_message_begin(self) -> None:
        self.target = self.body = b""
        self.in_head = True
        self.trailers.clear()

    def on_headers_complete(self) -> None:
        self.in_head = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            self.trailers.append((name, value))

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        if isinstance(self.parser, httptools.HttpRequestParser):
            self.found.append((self.parser.get_method(), self.target, self.body))
        else:
            self.found.append((self.parser.get_status_code(), self.body, tuple(self.trailers)))


def llhttp_requests(raw: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of the whole requests llhttp finds, up to the first thing it does not take."""
    messages = _Messages()
    messages.parser = httptools.HttpRequestParser(messages)
    with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        messages.parser.feed_data(raw)
    return messages.found


def llhttp_responses(raw: bytes) -> list[tuple[int, bytes, Fields]]:
    """Status, body and trailers of the whole answers llhttp finds, interim ones too; none of those that only a close ends."""
    messages = _Messages()
    messages.parser = httptools.HttpResponseParser(messages)
    with suppress(httptools.HttpParserError, httptools.HttpParserUpgrade):
        messages.parser.feed_data(raw)
    return messages.found
