"""What request and answer heads have in common: finding the end within the limits, the fields, the body's framing.

The start lines are in `requests` and `responses`. A field is what llhttp takes for one (tests hold them together), read
here by its line alone, so that lines sent over and over need be read but once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

from trioproxy.errors import ProxyError
from trioproxy.wire.events import BodyKind
from trioproxy.wire.headers import MAX_REMEMBERED, Field, Headers

if TYPE_CHECKING:
    from trioproxy.wire.buffer import Buffer

Refuse = Callable[[int, str], ProxyError]
"""Makes the error of the side that sent the message, from a status and a detail for the log."""

ALLOWED = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""The octets of a head: no controls but HTAB and line ends (RFC 9110 §5.5)."""

BAD_OCTET = re.compile(rb"[^\t\n\r\x20-\x7e\x80-\xff]|\r[^\n]|[^\r]\n")
"""The first thing wrong with a piece of a head; a CR that ends the piece may still be right."""

FIRST_WORD = re.compile(rb"[!-~]*")
"""A method or version has ASCII alone (RFC 9112 §3, §4); further behind other octets may stand."""

FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[\t ]*+([\t\x20-\x7e\x80-\xff]*+)")
"""No space before the colon, no folded line, no control but HTAB. Nothing is tried twice: a line may be all blanks."""

CONTENT_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
"""Odd forms (leading zeros, `5, 5`) are legal or repairable, and read differently by others: refused. Below 2**63."""

MAX_REMEMBERED_HEAD = 1024
"""Bytes of a head that may stay in a cache, as those of a field."""

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""Fields that say where a body ends; lower case."""


@attrs.define(eq=False)
class HeadReader:
    """Finds complete heads in a buffer, each at most `limit` bytes with its blank line.

    What is wrong is said as soon as it is seen, so that a peer speaking another protocol is not waited for; and
    whatever pieces the bytes come in, the answer is the same: first the start line is judged, then the octets, then the
    size. `check_start` takes bytes that begin with a complete start line and raises if it is not to be served.
    """

    limit: int
    refuse: Refuse
    check_start: Callable[[bytes], object]
    _seen: int = 0  # bytes of the waiting head that were looked at already
    _word: int = 0  # bytes of its first word, as far as they have come
    _start_checked: bool = False

    def read(self, buffer: Buffer) -> bytes | None:
        """The next head with its blank line, taken from the buffer, or None if it is not all there yet. May raise."""
        start = buffer.start
        end = buffer.data.find(b"\r\n\r\n", start + max(self._seen - 3, 0), start + self.limit)
        if end < 0:
            if len(buffer) > self._seen:
                self._examine(buffer)
            return None
        self._seen = self._word = 0
        self._start_checked = False
        return buffer.take(end + 4 - start)

    def _examine(self, buffer: Buffer) -> None:
        """Judge a head that is not complete, or not within the limit."""
        end = min(buffer.start + self.limit, len(buffer.data))
        if not self._start_checked:
            line_end = buffer.data.find(b"\r\n", buffer.start + max(self._seen - 1, 0), end)
            if line_end >= 0:
                self.check_start(bytes(buffer.data[buffer.start : line_end + 2]))
                self._start_checked = True
            else:
                self._check_first_word(buffer, end)
        if BAD_OCTET.search(buffer.data, buffer.start + max(self._seen - 1, 0), end):
            raise self.refuse(400, "invalid octet in the head")
        self._seen = end - buffer.start
        if len(buffer) > self.limit:
            if self._start_checked:
                raise self.refuse(431, f"head of more than {self.limit} bytes")
            long_target = buffer.data.find(b" ", buffer.start, end) >= 0
            raise self.refuse(414 if long_target else 400, f"start line of more than {self.limit} bytes")

    def _check_first_word(self, buffer: Buffer, end: int) -> None:
        match = FIRST_WORD.match(buffer.data, buffer.start + self._word, end)  # each of its bytes is read but once
        word_end = match.end() if match else end
        if word_end < end and buffer.data[word_end] >= 0x80:  # noqa: PLR2004 (no ASCII)
            raise self.refuse(400, "no valid start line")
        self._word = word_end - buffer.start


def parse_fields(head: bytes, *, max_headers: int, refuse: Refuse) -> Headers:
    """The fields of one complete head, its start line checked before.

    Raises ProxyError: 431 for too many, 400 for invalid octets and for lines that are no fields.
    """
    lines = head.split(b"\r\n")[1:-2]
    if len(lines) > max_headers:
        raise _fault(head, max_headers, refuse)
    try:
        fields = [remembered_field(line) if len(line) <= MAX_REMEMBERED else read_field(line) for line in lines]
    except ValueError:
        raise _fault(head, max_headers, refuse) from None
    return Headers(fields)


def read_field(line: bytes) -> Field:
    """The field of one line without its end; ValueError if it is none (RFC 9110 §5.1, §5.5; RFC 9112 §5.1, §5.2)."""
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        raise ValueError("no field")
    name, value = match.groups()
    value = value.rstrip(b" \t")
    return Field(name.lower(), name, value, b"%b: %b\r\n" % (name, value))


remembered_field = lru_cache(maxsize=512)(read_field)
"""The same for lines of at most `MAX_REMEMBERED` bytes: most are sent over and over, by the same peer and by others."""


def _fault(head: bytes, max_headers: int, refuse: Refuse) -> ProxyError:
    """What is wrong with a head, in the order in which it would show if the head came byte by byte."""
    lines = head.count(b"\r\n")
    if head.count(b"\n") != lines or head.count(b"\r") != lines or head.translate(None, ALLOWED):
        return refuse(400, "invalid octet in the head")
    if lines - 2 > max_headers:
        return refuse(431, f"more than {max_headers} fields")
    return refuse(400, "a line that is no field")


def parse_framing(headers: Headers, version: bytes, refuse: Refuse) -> tuple[BodyKind, int | None]:
    """How the fields frame the body, and Content-Length's number: the strict reading of RFC 9112 §6.

    Raises ProxyError: 400 for what could be read in two ways, 501 for transfer codings besides chunked.
    """
    if FRAMING.isdisjoint(headers.keys):  # most requests
        return BodyKind.NONE, None
    lengths = headers.get_all(b"content-length")
    if b"transfer-encoding" in headers.keys:
        if lengths:
            raise refuse(400, "Content-Length with Transfer-Encoding")
        if version != b"1.1":
            raise refuse(400, "Transfer-Encoding in HTTP/1.0")
        _check_codings(headers.get_all(b"transfer-encoding"), refuse)
        return BodyKind.CHUNKED, None
    if len(lengths) > 1 or not CONTENT_LENGTH.fullmatch(lengths[0]):
        raise refuse(400, "invalid Content-Length")
    return BodyKind.LENGTH, int(lengths[0])


def _check_codings(lines: list[bytes], refuse: Refuse) -> None:
    value = b",".join(lines).lower()
    if value == b"chunked":
        return
    *others, last = (coding.strip(b" \t") for coding in value.split(b","))
    if last == b"chunked" and b"chunked" not in others and all(others):
        raise refuse(501, "transfer coding besides chunked")
    raise refuse(400, "Transfer-Encoding is not chunked")


def wants_keep_alive(connection: Sequence[bytes], version: bytes) -> bool:
    """Whether the sender keeps the connection open behind this message (RFC 9112 §9.3); `connection`: its tokens."""
    if b"close" in connection:
        return False
    return version == b"1.1" or b"keep-alive" in connection
