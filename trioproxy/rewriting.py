"""The header fields a request has behind the proxy: what the client sent, less what is hop-by-hop, plus what we say.

Pure. What is hop-by-hop, and the X-Forwarded family, are `wire.headers`' knowledge; the path is rewritten in `routing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.wire.headers import Headers, add_forwarded, add_via, end_to_end

if TYPE_CHECKING:
    from trioproxy.config import RouteConfig
    from trioproxy.wire.http1 import RequestHead


def upstream_fields(
    head: RequestHead, route: RouteConfig, *, client: str, scheme: str, trusted: bool, via: str, upstream: str
) -> Headers:
    """The fields of `head` as `upstream` (its address) shall see them, without Connection, Upgrade and body framing.

    `client` is the peer's IP address, `trusted` whether its own X-Forwarded-* are believed. Removing comes before
    adding, so that a Connection token cannot remove what the proxy adds (CVE-2024-45410).
    """
    fields = end_to_end(head.headers)
    host = upstream_host(head.host, route.host_header, upstream)
    if fields.get(b"Host") is None:  # a 1.0 client need not name one; a 1.1 request must (RFC 9112 §3.2)
        fields = Headers([(b"Host", host), *fields])
    else:
        fields.set(b"Host", host)
    if route.forwarded:
        add_forwarded(fields, client=client, scheme=scheme, host=head.host, trusted=trusted)
    if via:
        add_via(fields, head.version, via)
    for name, value in route.set_headers.items():
        if value:
            fields.set(name.encode("ascii"), value.encode("utf-8"))
        else:
            fields.remove(name.encode("ascii"))
    return fields


def upstream_host(host: bytes, rule: str, upstream: str) -> bytes:
    """The Host field under `host_header = rule`; a client that named none gets the upstream's address."""
    own = (
        b"localhost" if upstream.startswith("unix:") else upstream.encode("idna" if not upstream.isascii() else "ascii")
    )
    if rule.startswith("literal:"):
        return rule.removeprefix("literal:").encode("utf-8")
    if rule == "upstream" or not host:
        return own
    if rule == "strip-port":
        return without_port(host)
    return host


def without_port(host: bytes) -> bytes:
    """`example.com:8080` → `example.com`, `[::1]:8080` → `[::1]`."""
    name, colon, port = host.rpartition(b":")
    return name if colon and b"]" not in port else host
