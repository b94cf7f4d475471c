"""Writing heads and chunks.

What stands in them is decided by `forward` and `upgrade`; this only puts bytes together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.wire.headers import make_field

if TYPE_CHECKING:
    from collections.abc import Collection

    from trioproxy.wire.headers import Field

CHUNKED = (make_field(b"Transfer-Encoding", b"chunked"),)
"""The fields that announce a chunked body."""

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked body, without trailers."""


def request_head(method: bytes, target: bytes, fields: Collection[Field]) -> bytes:
    """An HTTP/1.1 request head with its blank line. Raises ValueError if a part of it holds a line end."""
    return _head(b"%b %b HTTP/1.1\r\n" % (method, target), fields)


def response_head(status: int, reason: bytes, fields: Collection[Field]) -> bytes:
    """An HTTP/1.1 answer head with its blank line. Raises ValueError if a part of it holds a line end."""
    return _head(b"HTTP/1.1 %d %b\r\n" % (status, reason), fields)


def chunk(data: bytes) -> bytes:
    """One chunk of a body; nothing for no data, as an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _head(start_line: bytes, fields: Collection[Field]) -> bytes:
    head = b"".join([start_line, *[field.line for field in fields], b"\r\n"])
    lines = len(fields) + 2
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise ValueError("line end inside a head")  # values from a configuration file or a bug: never on the wire
    return head
