"""What the parsers of `http1` yield: heads, pieces of bodies, ends.

Values only; how they are read from bytes is in `requests`, `responses` and `bodies`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from trioproxy.wire.headers import Headers


class BodyKind(Enum):
    """How the end of a body is found (RFC 9112 §6.3)."""

    NONE = auto()  # there is none, and no field announces one
    LENGTH = auto()  # Content-Length, also of 0
    CHUNKED = auto()  # Transfer-Encoding: chunked
    UNTIL_CLOSE = auto()  # all up to the FIN; answers only


@attrs.frozen
class RequestHead:
    """A valid request head.

    `target` is in origin-form, as it came, or `b"*"`; an absolute-form target was taken apart: its authority stands in
    `host` and in `headers` instead of what Host said (RFC 9112 §3.2.2). `host` is empty for a 1.0 request without Host.
    `headers` are as received, hop-by-hop fields too. `keep_alive` is what the client's version and Connection ask for.
    `upgrade` is an HTTP/1.1 request for `websocket`, nominated in Connection.
    """

    method: bytes
    target: bytes
    version: bytes
    headers: Headers
    host: bytes
    body: BodyKind
    content_length: int | None
    keep_alive: bool
    upgrade: bool

    has_body: bool = attrs.field(init=False)
    """Whether anything of the request follows its head; `Content-Length: 0` announces nothing."""

    @has_body.default
    def _has_body(self) -> bool:
        return self.body is not BodyKind.NONE and self.content_length != 0

    @property
    def wants_trailers(self) -> bool:
        """Whether the answer's trailers may go to its sender: `trailers` is a member of TE (RFC 9110 §10.1.4).

        Not of an HTTP/1.0 client, which knows no chunks, nor on an upgrade. Whether Connection names TE, as it must,
        says nothing about what the client reads.
        """
        if b"te" not in self.headers.keys or self.version != b"1.1" or self.upgrade:  # nearly always the first
            return False
        return b"trailers" in self.headers.tokens(b"te")


@attrs.frozen
class ResponseHead:
    """A valid answer's head.

    `content_length` is what the field says, so it is set in an answer to HEAD too, whose `body` is NONE. `keep_alive`
    is whether the upstream will take another request on this connection.
    """

    status: int
    reason: bytes
    version: bytes
    headers: Headers
    body: BodyKind
    content_length: int | None
    keep_alive: bool

    @property
    def interim(self) -> bool:
        """Whether another head follows: 1xx but 101 (RFC 9110 §15.2)."""
        return self.status < 200 and self.status != 101  # noqa: PLR2004


@attrs.frozen
class Data:
    """A piece of a body, never empty, without its framing."""

    data: bytes


@attrs.frozen
class EndOfMessage:
    """The message is complete. Trailers were checked and bounded; they are never merged into the head's fields."""

    trailers: Headers
