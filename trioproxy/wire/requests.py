"""Request heads: request line, Host, expectations; strict where RFC 9112 leaves a choice.

Reading heads off the connection is `heads`' and `http1`'s work; what an upgrade must carry is judged in `websocket`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.events import RequestHead
from trioproxy.wire.headers import MAX_REMEMBERED, Headers, put
from trioproxy.wire.heads import parse_fields, parse_framing, wants_keep_alive

MAX_TARGET = 8192
"""Bytes of a request target; RFC 9112 §3 wants 8,000 at least."""

METHODS = frozenset(
    b"ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY"
    b" OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK"
    b" UNLOCK UNSUBSCRIBE".split()
)
"""The methods llhttp takes in HTTP."""

REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/([0-9]\.[0-9])\r\n")
ABSOLUTE_FORM = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?]*)(.*)")
AUTHORITY = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]++|%[0-9A-Fa-f]{2})++|\[([0-9A-Fa-f:.]+)\])(?::([0-9]*))?"
)  # RFC 3986 §3.2 without userinfo; of the IP literals only IPv6

_REASONS: Final = {400: Reason.INVALID, 414: Reason.TOO_LARGE, 431: Reason.TOO_LARGE}


def refuse_head(status: int, detail: str) -> ProxyError:
    """The error of a request head that gets this answer."""
    return ProxyError(Source.CLIENT, Phase.HEAD, _REASONS.get(status, Reason.UNSUPPORTED), status, detail)


def refuse_body(status: int, detail: str) -> ProxyError:
    """The error of a request body that gets this answer."""
    return ProxyError(Source.CLIENT, Phase.REQUEST, _REASONS.get(status, Reason.UNSUPPORTED), status, detail)


def parse_request_line(head: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and version (`b"1.1"`) of bytes that begin with a complete request line.

    Raises ProxyError: 400 no request, 505 another version, 501 a method llhttp does not know, 405 CONNECT or TRACE,
    414 a long target.
    """
    match = REQUEST_LINE.match(head)
    if match is None:
        raise refuse_head(400, "no valid request line")
    method, target, version = match.groups()
    if version not in {b"1.1", b"1.0"}:
        if head.startswith(b"PRI * HTTP/2.0\r\n"):
            raise refuse_head(505, "HTTP/2 with prior knowledge")
        raise refuse_head(505, f"version {version.decode()}")
    if method not in METHODS:
        raise refuse_head(501, "unknown method")
    if method in {b"CONNECT", b"TRACE"}:
        raise refuse_head(405, "method not served by this proxy")
    if len(target) > MAX_TARGET:
        raise refuse_head(414, f"target of more than {MAX_TARGET} bytes")
    return method, target, version


def parse_request(head: bytes, max_headers: int) -> RequestHead:
    """The meaning of one complete head, with its blank line. Raises ProxyError."""
    method, target, version = parse_request_line(head)
    headers = parse_fields(head, max_headers=max_headers, refuse=refuse_head)
    host = _parse_host(headers, version)
    if not target.startswith(b"/"):
        target, authority = _parse_target(method, target)
        if authority:
            host = authority
            fields = [*headers.fields]
            put(fields, b"Host", host)
            headers = Headers(fields)
    elif b"#" in target:
        raise refuse_head(400, "fragment in the target")
    body, length = parse_framing(headers, version, refuse_head)
    if b"expect" in headers.keys and version == b"1.1" and set(headers.tokens(b"expect")) != {b"100-continue"}:
        raise refuse_head(417, "unknown expectation")
    connection = headers.tokens(b"connection")
    upgrade = b"upgrade" in connection and version == b"1.1" and b"websocket" in headers.tokens(b"upgrade")
    keep_alive = wants_keep_alive(connection, version)
    return RequestHead(method, target, version, headers, host, body, length, keep_alive, upgrade)


remembered_request = lru_cache(maxsize=128)(parse_request)
"""The same for heads of at most `MAX_REMEMBERED_HEAD` bytes: clients of APIs send one over and over."""


def _parse_host(headers: Headers, version: bytes) -> bytes:
    """Host's value: one valid line (RFC 9112 §3.2), or in HTTP/1.0 none."""
    hosts = headers.get_all(b"host")
    if len(hosts) != 1:
        if not hosts and version == b"1.0":
            return b""
        raise refuse_head(400, f"{len(hosts)} Host fields")
    host = hosts[0]
    (_remembered_check if len(host) <= MAX_REMEMBERED else _check_authority)(host)
    return host


def _check_authority(authority: bytes) -> None:
    match = AUTHORITY.fullmatch(authority)
    if match is None:
        raise refuse_head(400, "invalid authority")
    address, port = match.groups()
    if port and (len(port) > 5 or int(port) > 65535):  # noqa: PLR2004
        raise refuse_head(400, "no such port")
    if address:
        try:
            IPv6Address(address.decode())
        except AddressValueError:
            raise refuse_head(400, "invalid IPv6 address") from None


_remembered_check = lru_cache(maxsize=256)(_check_authority)


def _parse_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """A target that is not in origin-form: the one to forward, and its authority or nothing (RFC 9112 §3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    match = ABSOLUTE_FORM.fullmatch(target)
    if match is None or b"#" in target:
        raise refuse_head(400, "target in no form this method allows")
    scheme, authority, rest = match.groups()
    if scheme.lower() not in {b"http", b"https"}:
        raise refuse_head(421, "target with a scheme that is not served here")
    _check_authority(authority)
    if not rest and method == b"OPTIONS":
        return b"*", authority  # RFC 9112 §3.2.4
    return (rest if rest.startswith(b"/") else b"/" + rest), authority
