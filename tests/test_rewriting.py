"""What a head has behind the proxy: the rows of PROTOCOL.md §1 on hop-by-hop fields, Host, Via and forwarded fields."""

from __future__ import annotations

import pytest

from trioproxy.config import RouteConfig
from trioproxy.rewriting import (
    client_fields,
    client_trailers,
    kept_request_id,
    upstream_fields,
    upstream_host,
    without_port,
)
from trioproxy.wire.headers import Field, Headers, make_field
from trioproxy.wire.http1 import CHUNKED, BodyKind, RequestHead, ResponseHead


def pairs(fields: list[Field]) -> list[tuple[bytes, bytes]]:
    return [(field.name, field.value) for field in fields]


def fields(
    *lines: tuple[bytes, bytes],
    host: bytes = b"example.com:8080",
    version: bytes = b"1.1",
    trusted: bool = False,
    via: str = "",
    request_id: bytes = b"",
    **route,
) -> list[tuple[bytes, bytes]]:
    """The fields the upstream 10.0.0.1:3000 gets; X-Forwarded-* only where `forwarded` is asked for."""
    received = Headers.from_pairs([*([(b"Host", host)] if host else []), *lines])
    head = RequestHead(b"GET", b"/", version, received, host, BodyKind.NONE, None, True, False)
    config = RouteConfig(**{"path": "/", "pool": "backend", "forwarded": False, **route})
    made = upstream_fields(
        head,
        config,
        client="192.0.2.7",
        scheme="http",
        trusted=trusted,
        via=via,
        upstream="10.0.0.1:3000",
        request_id=request_id,
    )
    return pairs(made)


HOST = (b"Host", b"example.com:8080")
FORWARDED = [
    (b"X-Forwarded-For", b"192.0.2.7"),
    (b"X-Forwarded-Proto", b"http"),
    (b"X-Forwarded-Host", b"example.com:8080"),
    (b"X-Real-IP", b"192.0.2.7"),
]


def test_unknown_fields_pass_in_order_with_their_case_and_octets():
    lines = [(b"x-ODD", b"\xe9 \t;"), (b"Cookie", b"a=1"), (b"X-Odd", b"2"), (b"Cookie", b"b=2")]
    assert fields(*lines) == [HOST, *lines]


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Proxy-Authenticate",
        b"Proxy-Authorization",
        b"HTTP2-Settings",
    ],
)
def test_fields_of_one_connection_do_not_pass(name):
    assert fields((name, b"x")) == [HOST]


@pytest.mark.rule("hop-by-hop")
def test_what_connection_names_does_not_pass_over_all_its_lines():
    lines = [(b"Connection", b"close, X-One"), (b"connection", b",x-TWO ,"), (b"X-One", b"1"), (b"X-Two", b"2")]
    assert fields(*lines, (b"X-Three", b"3")) == [HOST, (b"X-Three", b"3")]


@pytest.mark.parametrize(
    "lines",
    [
        [(b"TE", b"trailers"), (b"Connection", b"close, TE")],
        [(b"Connection", b"TE"), (b"te", b"gzip;q=0.5"), (b"TE", b"x , TRAILERS")],
        [(b"TE", b"trailers")],
    ],
)
@pytest.mark.rule("hop-by-hop", "trailers")
def test_of_te_trailers_alone_pass_and_connection_names_it_anew(lines):
    wanted = [HOST, (b"A", b"b"), (b"TE", b"trailers"), (b"Connection", b"TE")]
    assert fields(*lines, (b"A", b"b")) == wanted
    assert fields(*lines, (b"A", b"b"), version=b"1.0") == wanted[:2]


@pytest.mark.rule("hop-by-hop", "nominated")
def test_a_connection_token_never_removes_what_the_proxy_says_cve_2024_45410_cve_2021_32813():
    tokens = b"close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP, Via, X-Env, Host, Cookie"
    made = fields(
        (b"Connection", tokens), (b"Cookie", b"a"), forwarded=True, via="trioproxy", set_headers={"X-Env": "prod"}
    )
    assert made == [HOST, *FORWARDED, (b"Via", b"1.1 trioproxy"), (b"X-Env", b"prod")]


def test_content_length_cannot_be_taken_away_by_a_connection_token():
    assert fields((b"Connection", b"Content-Length"), (b"Content-Length", b"3")) == [HOST, (b"Content-Length", b"3")]


@pytest.mark.rule("forwarded")
def test_a_peer_that_is_not_trusted_cannot_say_who_asked():
    lies = [(name, b"lie") for name, _ in FORWARDED]
    assert fields(*lies, (b"Forwarded", b"for=lie"), forwarded=True) == [HOST, *FORWARDED]


@pytest.mark.rule("forwarded")
def test_a_trusted_peers_chain_is_kept_and_continued():
    said = [
        (b"X-Forwarded-For", b"198.51.100.1"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"a.example"),
        (b"X-Real-IP", b"198.51.100.1"),
    ]
    made = fields(*said, trusted=True, forwarded=True)
    assert made == [HOST, (b"X-Forwarded-For", b"198.51.100.1, 192.0.2.7"), *said[1:]]


def test_forwarded_off_leaves_what_the_client_says_alone():
    said = (b"X-Forwarded-For", b"198.51.100.1")
    assert fields(said) == [HOST, said]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.rule("via")
def test_via_names_the_version_received_behind_those_before(version):
    made = fields((b"Via", b"1.1 a"), version=version, via="edge")
    assert made == [HOST, (b"Via", b"1.1 a"), (b"Via", version + b" edge")]


@pytest.mark.rule("via")
def test_no_via_where_it_is_turned_off():
    assert fields(via="") == [HOST]


def test_set_headers_replace_and_remove_whoever_said_it():
    made = fields(
        (b"x-env", b"dev"),
        (b"X-Env", b"dev2"),
        (b"Cookie", b"a"),
        forwarded=True,
        set_headers={"X-Env": "prod é", "Cookie": "", "X-Real-IP": ""},
    )
    assert made == [HOST, (b"X-Env", "prod é".encode()), *FORWARDED[:3]]


def test_a_changed_host_stands_where_the_clients_stood():
    head = RequestHead(
        b"GET",
        b"/",
        b"1.1",
        Headers.from_pairs([(b"A", b"b"), HOST, (b"C", b"d")]),
        HOST[1],
        BodyKind.NONE,
        None,
        True,
        False,
    )
    route = RouteConfig(path="/", pool="backend", forwarded=False, host_header="strip-port")
    made = upstream_fields(head, route, client="", scheme="http", trusted=False, via="", upstream="10.0.0.1:3000")
    assert pairs(made) == [(b"A", b"b"), (b"Host", b"example.com"), (b"C", b"d")]


def test_framing_stands_behind_all_else():
    head = ResponseHead(200, b"", b"1.1", Headers.from_pairs([(b"A", b"b")]), BodyKind.CHUNKED, None, True)
    made = client_fields(head, close=True, framing=CHUNKED)
    assert pairs(made) == [(b"A", b"b"), (b"Connection", b"close"), (b"Transfer-Encoding", b"chunked")]


@pytest.mark.rule("date")
def test_an_answer_without_a_date_gets_one_and_another_keeps_its_own_rfc_9110_6_6_1():
    for theirs, expected in (([], (b"Date", b"now")), ([(b"date", b"then")], (b"date", b"then"))):
        head = ResponseHead(200, b"", b"1.1", Headers.from_pairs([(b"A", b"b"), *theirs]), BodyKind.NONE, None, True)
        made = client_fields(head, close=False, date=make_field(b"Date", b"now"))
        assert pairs(made) == [(b"A", b"b"), expected]


def test_a_1_0_client_without_host_gets_one_in_front():
    assert fields((b"A", b"b"), host=b"", version=b"1.0") == [(b"Host", b"10.0.0.1:3000"), (b"A", b"b")]


def test_a_1_0_clients_expectation_goes_no_further_rfc_9110_10_1_1():
    expect = (b"Expect", b"100-continue")
    assert fields(expect, version=b"1.0") == [HOST]
    assert fields(expect) == [HOST, expect]


@pytest.mark.parametrize(
    ("rule", "host", "sent"),
    [
        ("keep", b"Example.com:8080", b"Example.com:8080"),
        ("keep", b"", b"10.0.0.1:3000"),
        ("strip-port", b"example.com:8080", b"example.com"),
        ("strip-port", b"example.com", b"example.com"),
        ("strip-port", b"", b"10.0.0.1:3000"),
        ("upstream", b"example.com", b"10.0.0.1:3000"),
        ("literal:chat.internal:80", b"example.com", b"chat.internal:80"),
        ("literal:chat.internal", b"", b"chat.internal"),
    ],
)
def test_host_header_says_what_becomes_of_host(rule, host, sent):
    assert upstream_host(host, rule, "10.0.0.1:3000") == sent


def test_a_unix_socket_is_called_localhost():
    assert upstream_host(b"", "keep", "unix:/run/app.sock") == b"localhost"
    assert upstream_host(b"a", "upstream", "unix:/run/app.sock") == b"localhost"


@pytest.mark.parametrize(
    ("host", "name"),
    [(b"a:1", b"a"), (b"a:", b"a"), (b"a", b"a"), (b"[::1]:80", b"[::1]"), (b"[::1]", b"[::1]")],
)
def test_only_a_port_is_cut_off(host, name):
    assert without_port(host) == name


def trailers(
    *lines: tuple[bytes, bytes], connection: bytes = b"", request_id: bytes = b""
) -> list[tuple[bytes, bytes]]:
    said = [(b"Connection", connection)] if connection else []
    head = ResponseHead(200, b"", b"1.1", Headers.from_pairs(said), BodyKind.CHUNKED, None, True)
    return pairs(client_trailers(head, Headers.from_pairs(lines), request_id=request_id))


@pytest.mark.rule("trailers")
def test_trailers_pass_in_order_with_their_case_and_octets():
    lines = [(b"X-suM", b"1"), (b"ETag", b'"e"'), (b"x-sum", b"\xff"), (b"grpc-status", b"0"), (b"Server-Timing", b"a")]
    assert trailers(*lines) == lines


@pytest.mark.parametrize(
    "names",
    [
        b"Content-Length Transfer-Encoding",
        b"Connection Keep-Alive Proxy-Connection TE Trailer Upgrade HTTP2-Settings",
        b"Host Via Max-Forwards X-Forwarded-For X_Forwarded_Proto x-forwarded-host X-Real-IP Forwarded",
        b"Cache-Control Expect Pragma Range If-Match If-None-Match If-Modified-Since If-Unmodified-Since If-Range",
        b"Authorization Proxy-Authorization Proxy-Authenticate WWW-Authenticate Cookie Set-Cookie SET-COOKIE",
        b"Age Date Expires Location Retry-After Vary Warning",
        b"Content-Encoding Content-Range Content-Type",
    ],
)
@pytest.mark.rule("trailers")
def test_what_must_stand_in_a_head_does_not_pass_as_a_trailer_cve_2013_5704(names):
    lines = [(name, b"x") for name in names.split()]
    assert trailers((b"A", b"1"), *lines, (b"B", b"2")) == [(b"A", b"1"), (b"B", b"2")]


def test_what_the_heads_connection_names_is_no_trailer_either():
    assert trailers((b"X-Hop", b"1"), (b"X-A", b"1"), connection=b"keep-alive, x-hop") == [(b"X-A", b"1")]


def test_a_trailer_does_not_say_another_id_than_the_head():
    said = (b"x-request-id", b"theirs")
    assert trailers(said) == [said]
    assert trailers(said, request_id=b"ours") == []


def answer(status: int, *lines: tuple[bytes, bytes], close: bool = False) -> list[tuple[bytes, bytes]]:
    head = ResponseHead(status, b"", b"1.1", Headers.from_pairs(lines), BodyKind.NONE, None, True)
    return pairs(client_fields(head, close=close))


def test_an_answer_loses_the_same_fields_and_keeps_its_cookies_apart():
    lines = [(b"Set-Cookie", b"a"), (b"Connection", b"keep-alive, X-Hop"), (b"X-Hop", b"1"), (b"Set-Cookie", b"b")]
    assert answer(200, *lines, (b"Transfer-Encoding", b"chunked")) == [(b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")]


def test_the_last_answer_of_a_connection_says_close():
    assert answer(200, (b"Content-Length", b"0"), close=True) == [(b"Content-Length", b"0"), (b"Connection", b"close")]


@pytest.mark.parametrize("status", [100, 101, 103, 204])
@pytest.mark.rule("no-body")
def test_no_length_stands_where_there_is_no_body_rfc_9110_8_6(status):
    assert answer(status, (b"Content-Length", b"5"), (b"A", b"b")) == [(b"A", b"b")]


@pytest.mark.parametrize("status", [200, 205, 304])
def test_other_answers_keep_their_length(status):
    assert answer(status, (b"Content-Length", b"5")) == [(b"Content-Length", b"5")]


@pytest.mark.parametrize(("close", "connection"), [(False, b"upgrade"), (True, b"upgrade, close")])
def test_a_426_still_says_to_what_rfc_9110_15_5_22(close, connection):
    lines = [(b"Sec-WebSocket-Version", b"13"), (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    assert answer(426, *lines, close=close) == [*lines[:2], (b"Connection", connection)]


def test_a_request_id_replaces_what_the_client_sent_even_one_it_called_hop_by_hop():
    lines = [(b"X-REQUEST-ID", b"theirs"), (b"A", b"b"), (b"x-request-id", b"again")]
    assert fields(*lines, request_id=b"ours") == [HOST, (b"X-Request-Id", b"ours"), (b"A", b"b")]
    nominated = [*lines, (b"Connection", b"x-request-id")]
    assert fields(*nominated, request_id=b"ours") == [HOST, (b"A", b"b"), (b"X-Request-Id", b"ours")]
    assert fields(request_id=b"ours", set_headers={"X-Request-Id": "fixed"}) == [HOST, (b"X-Request-Id", b"fixed")]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([b"5f3a9c-1"], b"5f3a9c-1"),
        ([b"a" * 128], b"a" * 128),
        ([b"a" * 129], b""),
        ([b"a", b"a"], b""),
        ([b"a b"], b""),
        ([b'"a"'], b""),
        ([b"\xe9"], b""),
        ([b""], b""),
        ([], b""),
    ],
)
def test_one_plain_word_is_kept_as_request_id(values, kept):
    received = Headers.from_pairs([(b"X-Request-Id", value) for value in values])
    assert kept_request_id(RequestHead(b"GET", b"/", b"1.1", received, b"", BodyKind.NONE, None, True, False)) == kept


def test_the_client_is_told_the_id_of_its_request_and_no_other():
    received = Headers.from_pairs([(b"X-Request-Id", b"theirs"), (b"A", b"b")])
    head = ResponseHead(200, b"OK", b"1.1", received, BodyKind.NONE, None, True)
    assert pairs(client_fields(head, close=False, request_id=b"ours")) == [(b"X-Request-Id", b"ours"), (b"A", b"b")]
    assert pairs(client_fields(head, close=False)) == [(b"X-Request-Id", b"theirs"), (b"A", b"b")]
