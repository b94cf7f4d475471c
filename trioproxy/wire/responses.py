"""Answer heads: the status line, and whether a body follows.

Reading heads off the connection is `heads`' and `http1`'s work; what a 101 must carry is judged in `websocket`.
"""

from __future__ import annotations

import re
from functools import lru_cache

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.events import BodyKind, ResponseHead
from trioproxy.wire.heads import parse_fields, parse_framing, wants_keep_alive

STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
"""The space before an empty reason phrase is missing from many servers' answers; llhttp and we let it pass."""


def refuse_answer(status: int, detail: str) -> ProxyError:  # noqa: ARG001  # the shape of `heads.Refuse`
    """The error of an invalid answer: 502 to the client, whatever the same fault of a client would get."""
    return ProxyError(Source.UPSTREAM, Phase.RESPONSE, Reason.INVALID, 502, detail)


def parse_status_line(head: bytes) -> tuple[bytes, int, bytes]:
    """Version, status and reason of bytes that begin with a complete status line. Raises ProxyError."""
    match = STATUS_LINE.match(head)
    if match is None:
        raise refuse_answer(502, "no valid status line")
    version, status, reason = match.groups(b"")
    return version, int(status), reason


def parse_response(head: bytes, method: bytes, max_headers: int) -> ResponseHead:
    """The meaning of one complete head, with its blank line, as an answer to `method`. Raises ProxyError."""
    version, status, reason = parse_status_line(head)
    headers = parse_fields(head, max_headers=max_headers, refuse=refuse_answer)
    body, length = parse_framing(headers, version, refuse_answer)
    keep_alive = wants_keep_alive(headers.tokens(b"connection"), version)
    if method == b"HEAD" or status < 200 or status in {204, 304}:  # noqa: PLR2004
        body = BodyKind.NONE
    elif body is BodyKind.NONE:
        body = BodyKind.UNTIL_CLOSE
        keep_alive = False
    return ResponseHead(status, reason, version, headers, body, length, keep_alive)


remembered_response = lru_cache(maxsize=128)(parse_response)
"""The same for heads of at most `MAX_REMEMBERED_HEAD` bytes: many answers say the same, but for Date."""
