"""The WebSocket upgrade, checked on both sides: the client's request and the upstream's 101.

Parsing and rewriting heads is `wire.http1`'s and `upgrade`'s work; frames are in `wire.websocket`.
"""

from __future__ import annotations

import binascii
import hashlib
from typing import TYPE_CHECKING, Final

from trioproxy.errors import Phase, ProxyError, Reason, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioproxy.wire.headers import Headers
    from trioproxy.wire.http1 import RequestHead, ResponseHead

VERSION: Final = b"13"  # RFC 6455 §4.1; there is no other

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_KEY_BYTES: Final = 16  # RFC 6455 §4.1, before base64


def accept_key(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return binascii.b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)


def check_request(head: RequestHead) -> None:
    """Refuse an upgrade that RFC 6455 §4.2.1 does not allow; `head.upgrade` is True.

    Raises ProxyError with status 426 for a version other than 13 (the answer carries `Sec-WebSocket-Version: 13`),
    else 400.
    """
    headers = head.headers
    if head.method != b"GET":
        raise _bad_request("upgrade with a method other than GET")
    # A body would be read as frames by one end and skipped by the other (CVE-2026-58055).
    if head.content_length or b"Transfer-Encoding" in headers:
        raise _bad_request("upgrade with a body")
    keys = headers.get_all(b"Sec-WebSocket-Key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _bad_request("Sec-WebSocket-Key must be one field of 16 bytes in base64")
    versions = headers.get_all(b"Sec-WebSocket-Version")
    if len(versions) != 1:
        raise _bad_request("Sec-WebSocket-Version must be one field")
    if versions[0].strip() != VERSION:
        raise _bad_request("unknown Sec-WebSocket-Version", status=426)


def check_response(head: ResponseHead, request: RequestHead) -> None:
    """Refuse a 101 that RFC 6455 §4.1 tells a client to fail on, judged by the request as it went to the upstream.

    Raises ProxyError with status 502.
    """
    headers = head.headers
    if headers.tokens(b"Upgrade") != (b"websocket",):
        raise _bad_response("101 without Upgrade: websocket")
    if b"upgrade" not in headers.tokens(b"Connection"):
        raise _bad_response("101 without Connection: Upgrade")
    key = request.headers.get(b"Sec-WebSocket-Key", b"") or b""
    if headers.get_all(b"Sec-WebSocket-Accept") != [accept_key(key.strip())]:
        raise _bad_response("101 with a wrong Sec-WebSocket-Accept")
    chosen = headers.get_all(b"Sec-WebSocket-Protocol")
    if chosen:
        offered = _elements(request.headers.get_all(b"Sec-WebSocket-Protocol"))
        if len(chosen) > 1 or chosen[0].strip() not in offered:
            raise _bad_response("101 with a subprotocol that was not offered")
    if not _extension_names(headers) <= _extension_names(request.headers):
        raise _bad_response("101 with an extension that was not offered")


def has_extensions(head: ResponseHead) -> bool:
    """Whether a 101 negotiated any extension, so that frames may carry reserved bits."""
    return bool(_extension_names(head.headers))


def _is_key(value: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(value.strip(), strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _elements(values: Iterable[bytes]) -> list[bytes]:
    """The comma-separated elements of all lines of a field, in their own case."""
    return [element for value in values for part in value.split(b",") if (element := part.strip())]


def _extension_names(headers: Headers) -> set[bytes]:
    """Names without parameters (RFC 6455 §9.1). A comma inside quotes would only add a name, never hide one."""
    lines = headers.get_all(b"Sec-WebSocket-Extensions")
    if not lines:
        return set()
    return {item.split(b";")[0].strip().lower() for item in _elements(lines)}


def _bad_request(detail: str, status: int = 400) -> ProxyError:
    return ProxyError(Source.CLIENT, Phase.HANDSHAKE, Reason.INVALID, status, detail)


def _bad_response(detail: str) -> ProxyError:
    return ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.INVALID, 502, detail)
