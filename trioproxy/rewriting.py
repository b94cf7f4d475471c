"""The header fields a message has behind the proxy: what its sender sent, less what is hop-by-hop, plus what we say.

Pure. What is hop-by-hop, and the X-Forwarded family, are `wire.headers`' knowledge; the path is rewritten in `routing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trioproxy.wire.headers import Headers, add_forwarded, add_via, end_to_end

if TYPE_CHECKING:
    from trioproxy.config import RouteConfig
    from trioproxy.wire.http1 import RequestHead, ResponseHead


def upstream_fields(
    head: RequestHead, route: RouteConfig, *, client: str, scheme: str, trusted: bool, via: str, upstream: str
) -> Headers:
    """The fields of `head` as `upstream` (its address) shall see them, without Connection, Upgrade and body framing.

    `client` is the peer's IP address, `trusted` whether its own X-Forwarded-* are believed. Removing comes before
    adding, so that a Connection token cannot remove what the proxy adds (CVE-2024-45410).
    """
    fields = end_to_end(head.headers)
    if head.version == b"1.0":
        fields.remove(b"Expect")  # a 1.0 client waits for no 100, so nobody shall be asked for one (RFC 9110 §10.1.1)
    host = upstream_host(head.host, route.host_header, upstream)
    if b"host" not in fields.keys:  # a 1.0 client need not name one; a 1.1 request must (RFC 9112 §3.2)
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


def client_fields(head: ResponseHead, *, close: bool) -> Headers:
    """The fields of an upstream's answer as the client shall see them, without body framing for chunks.

    `close` says that no other answer follows on this connection.
    """
    fields = end_to_end(head.headers)
    if head.status < 200 or head.status == 204:  # noqa: PLR2004
        fields.remove(b"Content-Length")  # there is no body, whatever it says (RFC 9110 §8.6)
    options = [b"close"] * close
    if head.status == 426:  # noqa: PLR2004
        # It must say to what (RFC 9110 §15.5.22), and that concerns the two ends although the field is hop-by-hop.
        for value in head.headers.get_all(b"Upgrade"):
            fields.append(b"Upgrade", value)
        options.insert(0, b"upgrade")
    if options:
        fields.append(b"Connection", b", ".join(options))
    return fields


def upstream_host(host: bytes, rule: str, upstream: str) -> bytes:
    """The Host field under `host_header = rule`; a client that named none gets the upstream's address."""
    if rule.startswith("literal:"):
        return rule.removeprefix("literal:").encode("ascii")
    if rule == "upstream" or not host:
        return b"localhost" if upstream.startswith("unix:") else upstream.encode("ascii")
    if rule == "strip-port":
        return without_port(host)
    return host


def without_port(host: bytes) -> bytes:
    """`example.com:8080` → `example.com`, `[::1]:8080` → `[::1]`."""
    name, colon, port = host.rpartition(b":")
    return name if colon and b"]" not in port else host
