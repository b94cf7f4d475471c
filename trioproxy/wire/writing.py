"""Writing heads and chunks.

What stands in them is decided by `forward` and `upgrade`; this only puts bytes together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trioproxy.wire.headers import Headers

LAST_CHUNK = b"0\r\n\r\n"
"""Ends a chunked body, without trailers."""


def request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    """An HTTP/1.1 request head with its blank line. Raises ValueError if a part of it holds a line end."""
    return _head(b"%b %b HTTP/1.1\r\n" % (method, target), headers)


def response_head(status: int, reason: bytes, headers: Headers) -> bytes:
    """An HTTP/1.1 answer head with its blank line. Raises ValueError if a part of it holds a line end."""
    return _head(b"HTTP/1.1 %d %b\r\n" % (status, reason), headers)


def chunk(data: bytes) -> bytes:
    """One chunk of a body; nothing for no data, as an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _head(start_line: bytes, headers: Headers) -> bytes:
    head = start_line + b"".join([b"%b: %b\r\n" % field for field in headers]) + b"\r\n"
    lines = len(headers) + 2
    if head.count(b"\n") != lines or head.count(b"\r") != lines:
        raise ValueError("line end inside a head")  # values from a configuration file or a bug: never on the wire
    return head
