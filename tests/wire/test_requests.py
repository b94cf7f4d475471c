import httptools
import pytest

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.events import BodyKind
from trioproxy.wire.requests import MAX_TARGET, METHODS, parse_request, parse_request_line, refuse_body


def line(text):
    try:
        return parse_request_line(text + b"\r\n")
    except ProxyError as error:
        return error.status


def request(start=b"GET / HTTP/1.1", *lines, host=b"a.test"):
    return parse_request(b"".join(part + b"\r\n" for part in (start, b"Host: " + host, *lines, b"")), 20)


def refused(*args, **kwargs):
    with pytest.raises(ProxyError) as caught:
        request(*args, **kwargs)
    assert (caught.value.source, caught.value.phase) == (Source.CLIENT, Phase.HEAD)
    return caught.value.status


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (b"GET / HTTP/1.1", (b"GET", b"/", b"1.1")),
        (b"M-SEARCH * HTTP/1.0", (b"M-SEARCH", b"*", b"1.0")),
        (b'GET /a|b"c{}^`\\?x<>%zz HTTP/1.1', (b"GET", b'/a|b"c{}^`\\?x<>%zz', b"1.1")),
    ],
)
def test_a_request_line_is_method_target_version_one_space_apart(text, reading):
    assert line(text) == reading


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET / HTTP/1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/01.1",
        b"GET / http/1.1",
        b"GET / HTTP/1.1 ",
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b"GET\x0b/\x0bHTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /caf\xe9 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"GET / RTSP/1.0",
        b"SOURCE / ICE/1.0",
    ],
)
def test_what_is_no_request_line_gets_400(text):
    assert line(text) == 400


@pytest.mark.parametrize("version", [b"0.9", b"1.2", b"2.0", b"3.0", b"9.9"])
def test_other_versions_get_505(version):
    assert line(b"GET / HTTP/" + version) == 505
    assert line(b"BREW / HTTP/" + version) == 505


def test_an_http_2_preface_is_named_in_its_refusal():
    with pytest.raises(ProxyError, match="HTTP/2 with prior knowledge") as caught:
        parse_request_line(b"PRI * HTTP/2.0\r\n")
    assert (caught.value.status, caught.value.reason) == (505, Reason.UNSUPPORTED)


def test_the_methods_are_those_of_llhttp():
    for method in METHODS - {b"CONNECT"}:
        httptools.HttpRequestParser(object()).feed_data(method + b" / HTTP/1.1\r\n\r\n")
    for method in (b"DESCRIBE", b"PRI", b"FLUSH", b"get", b"GETT", b"BREW"):
        assert line(method + b" / HTTP/1.1") == 501


def test_connect_and_trace_are_not_served():
    assert line(b"CONNECT a:1 HTTP/1.1") == 405
    assert line(b"TRACE / HTTP/1.1") == 405


def test_a_target_may_be_as_long_as_the_limit():
    assert line(b"GET /" + b"a" * (MAX_TARGET - 1) + b" HTTP/1.1")[1] == b"/" + b"a" * (MAX_TARGET - 1)
    assert line(b"GET /" + b"a" * MAX_TARGET + b" HTTP/1.1") == 414


def test_a_target_is_kept_as_it_came():
    assert request(b"GET /a/../b//%2F;p?q=/?c HTTP/1.1").target == b"/a/../b//%2F;p?q=/?c"


@pytest.mark.parametrize(
    ("start", "target", "host"),
    [
        (b"GET http://b.test/x?y HTTP/1.1", b"/x?y", b"b.test"),
        (b"GET HTTPS://b.test:8443 HTTP/1.1", b"/", b"b.test:8443"),
        (b"GET http://b.test?y HTTP/1.1", b"/?y", b"b.test"),
        (b"GET http://[::1]:80/ HTTP/1.1", b"/", b"[::1]:80"),
        (b"OPTIONS http://b.test HTTP/1.1", b"*", b"b.test"),
        (b"OPTIONS http://b.test/ HTTP/1.1", b"/", b"b.test"),
        (b"OPTIONS * HTTP/1.1", b"*", b"a.test"),
    ],
)
def test_an_absolute_target_overrides_host(start, target, host):
    head = request(start)
    assert (head.target, head.host) == (target, host)
    assert head.headers.get_all(b"host") == [host]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"*", 400),
        (b"a.test:80", 400),
        (b"x", 400),
        (b"?x", 400),
        (b"http:/x", 400),
        (b"http://", 400),
        (b"http:///x", 400),
        (b"http://u:p@b.test/", 400),
        (b"http://b.test:x/", 400),
        (b"http://b.test/#x", 400),
        (b"/#x", 400),
        (b"ftp://b.test/", 421),
        (b"ws://b.test/", 421),
        (b"z39.50r://b.test/", 421),  # a scheme has more than letters (RFC 3986 §3.1)
    ],
)
def test_other_targets_are_refused(target, status):
    assert refused(b"GET " + target + b" HTTP/1.1") == status


def test_options_takes_a_star_alone():
    assert refused(b"OPTIONS */x HTTP/1.1") == 400


@pytest.mark.parametrize(
    "host",
    [
        b"a",
        b"A.TEST:80",
        b"a_b.test",
        b"127.0.0.1",
        b"[::1]",
        b"[::ffff:1.2.3.4]:65535",
        b"a:",
        b"a%20b",
        b"a!$&'()*+,;=~",
    ],
)
def test_a_valid_host_is_kept_as_it_came(host):
    assert request(host=host).host == host


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a b",
        b"a, b",
        b"a/b",
        b"a?b",
        b"a#b",
        b"u@a",
        b"a:b",
        b"a:80:80",
        b"a:65536",
        b"a:000080",
        b"caf\xe9",
        b"a%2",
        b":80",
        b"[::1",
        b"::1",
        b"[::1]x",
        b"[1.2.3.4]",
        b"[:::]",
        b"[v1.a]",
        b"[fe80::1%25eth0]",
        b"[]",
        b'a"',
        b"a\\b",
    ],
)
def test_an_invalid_host_is_refused(host):
    assert refused(host=host) == 400


def test_1_1_needs_one_host_and_1_0_takes_none():
    assert parse_request(b"GET / HTTP/1.0\r\n\r\n", 5).host == b""
    for raw in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"):
        with pytest.raises(ProxyError, match="Host fields"):
            parse_request(raw, 5)


def test_an_absolute_target_gives_a_1_0_request_its_host():
    head = parse_request(b"GET http://b.test/ HTTP/1.0\r\nA: b\r\n\r\n", 5)
    assert list(head.headers) == [(b"A", b"b"), (b"Host", b"b.test")]


def test_only_100_continue_can_be_expected():
    assert request(b"PUT / HTTP/1.1", b"Expect: 100-Continue").method == b"PUT"
    assert request(b"PUT / HTTP/1.0", b"Expect: a-miracle").method == b"PUT"
    for value in (b"a-miracle", b"100-continue, a-miracle", b"100-continue;q=1", b""):
        assert refused(b"PUT / HTTP/1.1", b"Expect: " + value) == 417


def test_framing_and_keep_alive_are_read_from_the_head():
    head = request(b"POST / HTTP/1.1", b"Content-Length: 5", b"Connection: Close")
    assert (head.body, head.content_length, head.keep_alive) == (BodyKind.LENGTH, 5, False)
    head = request(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked")
    assert (head.body, head.content_length, head.keep_alive) == (BodyKind.CHUNKED, None, True)


@pytest.mark.parametrize(
    ("start", "lines", "upgrade"),
    [
        (b"GET / HTTP/1.1", [b"Upgrade: WebSocket", b"Connection: keep-alive, uPgRaDe"], True),
        (b"GET / HTTP/1.1", [b"Upgrade: h2c", b"Upgrade: websocket", b"Connection: x", b"connection: upgrade"], True),
        (b"GET / HTTP/1.0", [b"Upgrade: websocket", b"Connection: upgrade"], False),
        (b"GET / HTTP/1.1", [b"Upgrade: websocket"], False),
        (b"GET / HTTP/1.1", [b"Connection: upgrade"], False),
        (b"GET / HTTP/1.1", [b"Upgrade: h2c", b"Connection: upgrade"], False),
        (b"GET / HTTP/1.1", [b"Upgrade: websocket2", b"Connection: upgrade"], False),
    ],
)
def test_an_upgrade_is_1_1_for_websocket_and_named_in_connection(start, lines, upgrade):
    assert request(start, *lines).upgrade is upgrade


def test_a_fault_of_the_body_is_one_of_the_request():
    error = refuse_body(400, "why")
    assert (error.phase, error.reason, error.status, error.detail) == (Phase.REQUEST, Reason.INVALID, 400, "why")
