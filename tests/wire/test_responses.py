import pytest

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.events import BodyKind
from trioproxy.wire.responses import parse_response


def answer(start=b"HTTP/1.1 200 OK", *lines, method=b"GET"):
    return parse_response(b"".join(part + b"\r\n" for part in (start, *lines, b"")), method, 20)


@pytest.mark.parametrize(
    ("line", "version", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", b"1.1", 200, b"OK"),
        (b"HTTP/1.0 404 Not  Found\t", b"1.0", 404, b"Not  Found\t"),
        (b"HTTP/1.1 299 ", b"1.1", 299, b""),
        (b"HTTP/1.1 999", b"1.1", 999, b""),
        (b"HTTP/1.1 200 caf\xe9", b"1.1", 200, b"caf\xe9"),
    ],
)
def test_a_status_line_is_version_status_and_any_reason(line, version, status, reason):
    head = answer(line)
    assert (head.version, head.status, head.reason) == (version, status, reason)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"200 OK",
        b"HTTP/1.1",
        b"HTTP/1.1 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1 200OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b" HTTP/1.1 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 O\x01K",
        b"HTTP/1.1 200 O\rK",
        b"RTSP/1.0 200 OK",
    ],
)
def test_any_other_status_line_is_an_invalid_answer(line):
    with pytest.raises(ProxyError) as caught:
        answer(line)
    error = caught.value
    assert (error.source, error.phase, error.reason) == (Source.UPSTREAM, Phase.RESPONSE, Reason.INVALID)
    assert error.status == 502 and not error.retryable


@pytest.mark.parametrize(
    ("lines", "method", "start", "body", "length", "keeps"),
    [
        ([b"Content-Length: 5"], b"GET", b"HTTP/1.1 200 OK", BodyKind.LENGTH, 5, True),
        ([b"Transfer-Encoding: chunked"], b"GET", b"HTTP/1.1 200 OK", BodyKind.CHUNKED, None, True),
        ([], b"GET", b"HTTP/1.1 200 OK", BodyKind.UNTIL_CLOSE, None, False),
        ([b"Connection: keep-alive"], b"GET", b"HTTP/1.0 200 OK", BodyKind.UNTIL_CLOSE, None, False),
        ([b"Content-Length: 5", b"Connection: keep-alive"], b"GET", b"HTTP/1.0 200 OK", BodyKind.LENGTH, 5, True),
        ([b"Content-Length: 5"], b"GET", b"HTTP/1.0 200 OK", BodyKind.LENGTH, 5, False),
        ([b"Content-Length: 5", b"Connection: close"], b"GET", b"HTTP/1.1 200 OK", BodyKind.LENGTH, 5, False),
        ([b"Content-Length: 5"], b"HEAD", b"HTTP/1.1 200 OK", BodyKind.NONE, 5, True),
        ([b"Transfer-Encoding: chunked"], b"HEAD", b"HTTP/1.1 200 OK", BodyKind.NONE, None, True),
        ([b"Content-Length: 5"], b"GET", b"HTTP/1.1 304 Not Modified", BodyKind.NONE, 5, True),
        ([], b"GET", b"HTTP/1.1 204 No Content", BodyKind.NONE, None, True),
        ([], b"GET", b"HTTP/1.1 100 Continue", BodyKind.NONE, None, True),
        ([b"Upgrade: h2c", b"Connection: upgrade"], b"GET", b"HTTP/1.1 200 OK", BodyKind.UNTIL_CLOSE, None, False),
    ],
)
def test_the_body_follows_from_method_status_and_fields(lines, method, start, body, length, keeps):
    head = answer(start, *lines, method=method)
    assert (head.body, head.content_length, head.keep_alive) == (body, length, keeps)


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 5", b"Content-Length: 5"],
        [b"Content-Length: 5, 5"],
        [b"Transfer-Encoding: gzip"],
        [b"Transfer-Encoding: gzip, chunked"],
        [b"A : b"],
        [b"A: b\r\n c"],
        [b"A: b"] * 21,
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_what_could_be_read_in_two_ways_is_an_invalid_answer(lines, method):
    with pytest.raises(ProxyError) as caught:
        answer(b"HTTP/1.1 200 OK", *lines, method=method)
    assert caught.value.status == 502


def test_a_101_is_read_whatever_it_lacks():
    assert answer(b"HTTP/1.1 101 101 101").reason == b"101 101"
    head = answer(b"HTTP/1.1 101", b"Upgrade: websocket", b"Connection: Upgrade")
    assert (head.status, head.body) == (101, BodyKind.NONE)
    assert list(head.headers) == [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
