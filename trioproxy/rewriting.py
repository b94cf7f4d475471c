"""The header fields a message has behind the proxy: what its sender sent, less what is hop-by-hop, plus what we say.

Pure. What is hop-by-hop, and the X-Forwarded family, are `wire.headers`' knowledge; the path is rewritten in `routing`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from trioproxy.wire.headers import NEVER_IN_TRAILERS, add_forwarded, make_field, put, via_field, without
from trioproxy.wire.http1 import TRAILERS_WELCOME

if TYPE_CHECKING:
    from collections.abc import Collection

    from trioproxy.config import RouteConfig
    from trioproxy.wire.headers import Field, Headers
    from trioproxy.wire.http1 import RequestHead, ResponseHead

REQUEST_ID: Final = b"X-Request-Id"
# UUIDs, ULIDs, base64 and the like; nothing that quotes, ends a field or a log's line.
_KEPT: Final = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}")


def upstream_fields(
    head: RequestHead,
    route: RouteConfig,
    *,
    client: str,
    scheme: str,
    trusted: bool,
    via: str,
    upstream: str,
    real_client: str = "",
    request_id: bytes = b"",
    framing: Collection[Field] = (),
) -> list[Field]:
    """The fields of `head` as `upstream` (its address) shall see them; hop-by-hop: `framing`, perhaps `TE: trailers`.

    `client` is the peer's IP address, `trusted` whether its own X-Forwarded-* are believed, `real_client` whom the
    request came from first by what trusted ones say; "" is the peer. Removing comes before
    adding, so that a Connection token cannot remove what the proxy adds (CVE-2024-45410).
    """
    fields = [*head.headers.end_to_end()]
    if head.version == b"1.0":  # its client waits for no 100, so nobody shall be asked for one (RFC 9110 §10.1.1)
        fields = without(fields, (b"expect",))
    host = upstream_host(head.host, route.host_header, upstream)
    if not head.host:  # a 1.0 client need not name one; a 1.1 request must (RFC 9112 §3.2)
        fields.insert(0, make_field(b"Host", host))
    elif host != head.host:
        put(fields, b"Host", host)
    if route.forwarded:
        fields = add_forwarded(
            fields, client=client, scheme=scheme, host=head.host, trusted=trusted, real_client=real_client or client
        )
    if via:
        fields.append(via_field(head.version, via))
    if request_id:
        put(fields, REQUEST_ID, request_id)
    for name, value in route.set_headers.items():
        if value:
            put(fields, name.encode("ascii"), value.encode("utf-8"))
        else:
            fields = without(fields, (name.lower().encode("ascii"),))
    if head.wants_trailers:  # what else it says of TE is about codings, which are this connection's alone
        fields += TRAILERS_WELCOME
    fields += framing
    return fields


def kept_request_id(head: RequestHead) -> bytes:
    """The X-Request-Id a client sent, if it is one and can stand in any log: letters, digits, some signs; else b""."""
    values = head.headers.get_all(REQUEST_ID)
    return values[0] if len(values) == 1 and _KEPT.fullmatch(values[0]) else b""


def client_fields(
    head: ResponseHead,
    *,
    close: bool,
    request_id: bytes = b"",
    date: Field | None = None,
    framing: Collection[Field] = (),
) -> list[Field]:
    """The fields of an upstream's answer as the client shall see them: of hop-by-hop ones, `framing`, and Connection.

    `close` says that no other answer follows on this connection; `request_id` replaces the upstream's, if any. `date`
    is when it came: who has a clock must say so for an upstream that does not (RFC 9110 §6.6.1).
    """
    fields = [*head.headers.end_to_end()]
    if date is not None and b"date" not in head.headers.keys:
        fields.append(date)
    if head.status < 200 or head.status == 204:  # noqa: PLR2004
        fields = without(fields, (b"content-length",))  # there is no body, whatever it says (RFC 9110 §8.6)
    if request_id:
        put(fields, REQUEST_ID, request_id)
    options = [b"close"] if close else []
    if head.status == 426:  # noqa: PLR2004
        # It must say to what (RFC 9110 §15.5.22), and that concerns the two ends although the field is hop-by-hop.
        fields += [make_field(b"Upgrade", value) for value in head.headers.get_all(b"Upgrade")]
        options.insert(0, b"upgrade")
    if options:
        fields.append(make_field(b"Connection", b", ".join(options)))
    fields += framing
    return fields


def client_trailers(head: ResponseHead, trailers: Headers, *, request_id: bytes = b"") -> list[Field]:
    """Those of the answer's trailers that may go to a client that asked for them, in order, as they came.

    Nothing that must stand in a head, nothing that `head` keeps to its connection, and nothing that `request_id`
    replaced there.
    """
    dropped = NEVER_IN_TRAILERS.union(head.headers.tokens(b"connection"), (REQUEST_ID.lower(),) if request_id else ())
    return without(trailers.fields, dropped)


def upstream_host(host: bytes, rule: str, upstream: str) -> bytes:
    """The Host field under `host_header = rule`; a client that named none gets the upstream's address."""
    if host and rule == "keep":
        return host
    if host and rule == "strip-port":
        return without_port(host)
    if rule.startswith("literal:"):
        return rule.removeprefix("literal:").encode("ascii")
    return b"localhost" if upstream.startswith("unix:") else upstream.encode("ascii")


def without_port(host: bytes) -> bytes:
    """`example.com:8080` → `example.com`, `[::1]:8080` → `[::1]`."""
    name, colon, port = host.rpartition(b":")
    return name if colon and b"]" not in port else host
