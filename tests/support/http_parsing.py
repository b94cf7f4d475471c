"""Driving the HTTP parsers: any delivery of the same bytes must give the same events.

Adjacent pieces of a body are joined, as where they are cut is nobody's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioproxy.errors import ProxyError
from trioproxy.wire.http1 import Data, EndOfMessage, RequestHead, RequestParser, ResponseHead, ResponseParser

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Event = RequestHead | ResponseHead | Data | EndOfMessage

MAX_HEAD_BYTES = 32768
MAX_HEADERS = 100
LONG = 10_000  # bytes


@attrs.frozen
class Outcome:
    """What a parser made of some bytes; `status` is that of its error, `rest` what stands behind."""

    events: tuple[Event, ...]
    status: int | None
    rest: bytes

    @property
    def heads(self) -> list[RequestHead | ResponseHead]:
        return [event for event in self.events if isinstance(event, RequestHead | ResponseHead)]

    @property
    def body(self) -> bytes:
        """The body of the only message."""
        return b"".join(event.data for event in self.events if isinstance(event, Data))

    @property
    def complete(self) -> int:
        """How many messages have ended."""
        return sum(isinstance(event, EndOfMessage) for event in self.events)


def read_requests(pieces: Iterable[bytes], *, max_head_bytes: int = MAX_HEAD_BYTES, max_headers: int = MAX_HEADERS):
    return _drive(RequestParser(max_head_bytes=max_head_bytes, max_headers=max_headers), pieces)


def read_answer(
    pieces: Iterable[bytes],
    *,
    method: bytes = b"GET",
    eof: bool = False,
    max_head_bytes: int = MAX_HEAD_BYTES,
    max_headers: int = MAX_HEADERS,
):
    parser = ResponseParser(method=method, max_head_bytes=max_head_bytes, max_headers=max_headers)
    return _drive(parser, pieces, eof=eof)


def bytewise(raw: bytes) -> list[bytes]:
    return [raw[index : index + 1] for index in range(len(raw))]


def every_cut(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """In two pieces, at every place; of what is longer than any usual head (it repeats itself), at a hundred."""
    return ((raw[:place], raw[place:]) for place in range(1, len(raw), 1 if len(raw) < LONG else len(raw) // 100))


def _drive(parser: RequestParser | ResponseParser, pieces: Iterable[bytes], *, eof: bool = False) -> Outcome:
    events: list[Event] = []
    rest = b""
    try:
        for piece in pieces:
            parser.receive_data(piece)
            _drain(parser, events)
            rest += parser.take_rest()
        if eof:
            parser.receive_eof()
            _drain(parser, events)
    except ProxyError as error:
        return Outcome(tuple(events), error.status, rest)
    return Outcome(tuple(events), None, rest)


def _drain(parser: RequestParser | ResponseParser, events: list[Event]) -> None:
    while (event := parser.next_event()) is not None:
        if isinstance(event, Data) and events and isinstance(events[-1], Data):
            event = Data(events.pop().data + event.data)
        events.append(event)
