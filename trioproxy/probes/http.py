"""The probe `http`: a GET is answered with one of the expected statuses.

The body is left unread: the connection is closed behind the head. Framing is `wire.http1`'s work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.probes.result import ProbeFailed, ProbeResult
from trioproxy.wire.headers import put
from trioproxy.wire.http1 import ResponseHead, ResponseParser, request_head

if TYPE_CHECKING:
    import trio

    from trioproxy.config import HealthConfig
    from trioproxy.wire.headers import Field

MAX_HEAD_BYTES = 32 * 1024  # the defaults of `limits`: what a client could get to see through the proxy
MAX_HEADERS = 100
READ_BYTES = 16 * 1024


async def probe_http(stream: trio.abc.Stream, health: HealthConfig, host: str) -> None:
    """Ask for `health.path`; raises ProbeFailed for a status that is not expected, ProxyError for an invalid answer."""
    said = {"Host": host, "User-Agent": "trioproxy", "Accept": "*/*", **health.headers, "Connection": "close"}
    fields: list[Field] = []
    for name, value in said.items():
        put(fields, name.encode(), value.encode())
    await stream.send_all(request_head(b"GET", health.path.encode(), fields))
    status = await _status(stream)
    if status not in health.expect:
        raise ProbeFailed(ProbeResult.STATUS, f"answered {status}")


async def _status(stream: trio.abc.Stream) -> int:
    parser = ResponseParser(method=b"GET", max_head_bytes=MAX_HEAD_BYTES, max_headers=MAX_HEADERS)
    while True:  # bounded by the parser: it refuses a head, or a row of interim ones, that is too long
        event = parser.next_event()
        if isinstance(event, ResponseHead):
            if not event.interim:
                return event.status
        elif data := await stream.receive_some(READ_BYTES):
            parser.receive_data(bytes(data))
        else:
            parser.receive_eof()
