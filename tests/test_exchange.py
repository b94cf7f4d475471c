"""One request being served: its head as the upstream sees it."""

from __future__ import annotations

from support.http_client import get_request, parse_head
from support.scripted import REFUSED, make_context
from trio.testing import memory_stream_pair

from trioproxy.client import Client, Entrance
from trioproxy.exchange import Exchange
from trioproxy.record import Record
from trioproxy.waits import Wait
from trioproxy.wire.http1 import CHUNKED, RequestHead, RequestParser


def parsed(raw: bytes) -> RequestHead:
    parser = RequestParser(max_head_bytes=1000, max_headers=10)
    parser.receive_data(raw)
    head = parser.next_event()
    assert isinstance(head, RequestHead)
    return head


async def test_the_upstreams_head_is_rewritten_and_framed():
    context = make_context(
        [REFUSED],
        None,
        route={"path": "/app", "strip_prefix": True, "host_header": "literal:b.test", "set_headers": {"X-Env": "prod"}},
    )
    stream, _ = memory_stream_pair()
    parser = RequestParser(max_head_bytes=1, max_headers=1)
    entrance = Entrance(context.config.listeners[0])
    client = Client(stream, parser, "192.0.2.7", entrance, False, Wait(stream, context.waits))
    head = parsed(get_request("/app/x?y=1", "Connection: close", "A: b"))
    pool = context.pools["backend"]
    exchange = Exchange(context, client, head, context.config.routes[0], pool, Record())
    raw = exchange.upstream_head(pool.upstreams[0], framing=CHUNKED)
    assert raw.endswith(b"\r\n\r\n")
    sent = parse_head(raw[:-4])
    assert sent.start == b"GET /x?y=1 HTTP/1.1"
    assert sent.fields == (
        (b"Host", b"b.test"),
        (b"A", b"b"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"a.test"),
        (b"X-Real-IP", b"192.0.2.7"),
        (b"Via", b"1.1 trioproxy"),
        (b"X-Env", b"prod"),
        (b"Transfer-Encoding", b"chunked"),
    )


async def test_a_client_on_a_unix_socket_has_no_address_to_forward():
    context = make_context([REFUSED], None)
    stream, _ = memory_stream_pair()
    parser = RequestParser(max_head_bytes=1, max_headers=1)
    entrance = Entrance(context.config.listeners[0])
    client = Client(stream, parser, "unix", entrance, False, Wait(stream, context.waits))
    head, pool = parsed(get_request("/", "X-Real-IP: 192.0.2.1")), context.pools["backend"]
    exchange = Exchange(context, client, head, context.config.routes[0], pool, Record())
    sent = parse_head(exchange.upstream_head(pool.upstreams[0])[:-4])
    assert [name for name, _ in sent.fields] == [b"Host", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Via"]
