from __future__ import annotations

import attrs
import pytest

from trioproxy.errors import ProxyError
from trioproxy.wire.handshake import accept_key, check_request, check_response, has_extensions
from trioproxy.wire.headers import Headers
from trioproxy.wire.http1 import BodyKind, RequestHead, ResponseHead

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3

ASKED = [
    (b"Host", b"a"),
    (b"Upgrade", b"websocket"),
    (b"Connection", b"keep-alive, Upgrade"),
    (b"Sec-WebSocket-Key", KEY),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Protocol", b"Chat, superchat"),
    (b"sec-websocket-protocol", b"mqtt"),
    (b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits, x-mux"),
]
ANSWERED = [(b"upgrade", b"WebSocket"), (b"connection", b"upgrade"), (b"Sec-WebSocket-Accept", ACCEPT)]


def request(*fields, without=(), **changes):
    headers = Headers.from_pairs([(name, value) for name, value in ASKED if name not in without] + list(fields))
    head = RequestHead(
        method=b"GET",
        target=b"/",
        version=b"1.1",
        headers=headers,
        host=b"a",
        body=BodyKind.NONE,
        content_length=None,
        keep_alive=True,
        upgrade=True,
    )
    return attrs.evolve(head, **changes)


def response(*fields, without=()):
    headers = Headers.from_pairs([(name, value) for name, value in ANSWERED if name not in without] + list(fields))
    return ResponseHead(101, b"", b"1.1", headers, BodyKind.NONE, content_length=None, keep_alive=False)


def test_the_accept_key_is_that_of_the_rfc():
    assert accept_key(KEY) == ACCEPT


def test_a_proper_request_passes_also_with_an_empty_body():
    check_request(request())
    check_request(request((b"Content-Length", b"0"), body=BodyKind.LENGTH, content_length=0))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (request(method=b"POST"), 400),
        (request(body=BodyKind.LENGTH, content_length=3), 400),
        (request((b"Transfer-Encoding", b"chunked"), body=BodyKind.CHUNKED), 400),
        (request(without=[b"Sec-WebSocket-Key"]), 400),
        (request((b"Sec-WebSocket-Key", KEY)), 400),
        (request((b"Sec-WebSocket-Key", b"c2hvcnQ="), without=[b"Sec-WebSocket-Key"]), 400),
        (request((b"Sec-WebSocket-Key", b"no base64 at all!"), without=[b"Sec-WebSocket-Key"]), 400),
        (request(without=[b"Sec-WebSocket-Version"]), 400),
        (request((b"Sec-WebSocket-Version", b"13")), 400),
        (request((b"Sec-WebSocket-Version", b"777"), without=[b"Sec-WebSocket-Version"]), 426),
        (request((b"Sec-WebSocket-Version", b"8"), without=[b"Sec-WebSocket-Version"]), 426),
    ],
)
def test_an_improper_request_is_the_clients_mistake(head, status):
    with pytest.raises(ProxyError) as caught:
        check_request(head)
    assert (caught.value.source, caught.value.phase, caught.value.status) == ("client", "handshake", status)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Sec-WebSocket-Protocol", b"superchat")],
        [(b"Sec-WebSocket-Protocol", b"mqtt")],
        [(b"Sec-WebSocket-Extensions", b"Permessage-Deflate; server_no_context_takeover")],
    ],
)
def test_a_proper_101_passes(fields):
    check_response(response(*fields), request())


@pytest.mark.parametrize(
    "head",
    [
        response(without=[b"upgrade"]),
        response((b"Upgrade", b"h2c")),
        response(without=[b"connection"]),
        response(without=[b"Sec-WebSocket-Accept"]),
        response((b"Sec-WebSocket-Accept", ACCEPT)),
        response((b"Sec-WebSocket-Accept", accept_key(b"other")), without=[b"Sec-WebSocket-Accept"]),
        response((b"Sec-WebSocket-Protocol", b"chat")),  # subprotocols are case-sensitive
        response((b"Sec-WebSocket-Protocol", b"superchat, mqtt")),
        response((b"Sec-WebSocket-Protocol", b"mqtt"), (b"Sec-WebSocket-Protocol", b"mqtt")),
        response((b"Sec-WebSocket-Extensions", b"x-mux, x-other")),
    ],
)
def test_an_improper_101_is_the_upstreams_mistake(head):
    with pytest.raises(ProxyError) as caught:
        check_response(head, request())
    assert (caught.value.source, caught.value.reason, caught.value.status) == ("upstream", "invalid", 502)


def test_extensions_are_negotiated_only_where_the_101_names_one():
    assert has_extensions(response((b"Sec-WebSocket-Extensions", b"x-mux")))
    assert not has_extensions(response((b"Sec-WebSocket-Extensions", b" ")))
    assert not has_extensions(response())
