"""Writing heads and chunks.

What stands in them is decided elsewhere, in `rewriting` for the most part; this only puts bytes together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.wire.headers import make_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioproxy.wire.headers import Field

CHUNKED = (make_field(b"Transfer-Encoding", b"chunked"),)
"""The fields that announce a chunked body."""

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked body, without trailers."""

TRAILERS_WELCOME = (make_field(b"TE", b"trailers"), make_field(b"Connection", b"TE"))
"""The fields that ask for an answer's trailers (RFC 9110 §10.1.4)."""


def request_head(method: bytes, target: bytes, fields: Iterable[Field]) -> bytes:
    """An HTTP/1.1 request head with its blank line. Raises ValueError for a line end in its start line."""
    return _head(b"%b %b HTTP/1.1\r\n" % (method, target), fields)


def response_head(status: int, reason: bytes, fields: Iterable[Field]) -> bytes:
    """An HTTP/1.1 answer head with its blank line. Raises ValueError for a line end in its start line."""
    return _head(b"HTTP/1.1 %d %b\r\n" % (status, reason), fields)


def chunk(data: bytes) -> bytes:
    """One chunk of a body; nothing for no data, as an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Iterable[Field]) -> bytes:
    """The end of a chunked body, with its trailer section (RFC 9112 §7.1.2)."""
    return b"".join([b"0\r\n", *[field.line for field in trailers], b"\r\n"])


def _head(start_line: bytes, fields: Iterable[Field]) -> bytes:
    if start_line.count(b"\n") != 1 or start_line.count(b"\r") != 1:
        raise ValueError("line end inside a start line")  # a bug: never on the wire; fields hold none
    return b"".join([start_line, *[field.line for field in fields], b"\r\n"])
