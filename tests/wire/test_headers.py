import pytest

from trioproxy.wire.headers import Headers, add_forwarded, add_via, end_to_end

FORWARDED = {"client": "192.0.2.7", "scheme": "https", "host": b"a.test"}


def fields(*lines):
    return Headers(tuple(part.strip() for part in line.split(b":", 1)) for line in lines)


def test_names_keep_their_case_and_are_found_in_any():
    headers = fields(b"X-Thing: 1")
    assert list(headers) == [(b"X-Thing", b"1")]
    assert b"x-THING" in headers
    assert headers.get(b"x-tHing") == b"1"
    assert "X-Thing" not in headers


def test_get_returns_the_first_line_or_the_default():
    headers = fields(b"A: 1", b"a: 2")
    assert headers.get(b"a") == b"1"
    assert headers.get(b"b") is None
    assert headers.get(b"b", b"none") == b"none"


def test_lines_of_one_name_stay_apart_and_in_order():
    headers = fields(b"Set-Cookie: a=1", b"X: 0", b"set-cookie: b=2")
    assert headers.get_all(b"SET-COOKIE") == [b"a=1", b"b=2"]
    assert headers.get_all(b"Y") == []
    assert len(headers) == 3


def test_tokens_are_lower_case_over_all_lines_without_empty_ones():
    headers = fields(b"Connection: Keep-Alive, ,Upgrade", b"connection:", b"CONNECTION: X\t,")
    assert headers.tokens(b"connection") == [b"keep-alive", b"upgrade", b"x"]


def test_set_replaces_the_first_line_in_its_place_and_drops_the_others():
    headers = fields(b"A: 1", b"B: 2", b"a: 3", b"C: 4")
    headers.set(b"a", b"5")
    assert list(headers) == [(b"a", b"5"), (b"B", b"2"), (b"C", b"4")]
    assert headers.get(b"C") == b"4"


def test_set_appends_what_is_new():
    headers = fields(b"A: 1")
    headers.set(b"B", b"2")
    assert list(headers) == [(b"A", b"1"), (b"B", b"2")]


def test_remove_takes_every_line_of_a_name_and_forgives_none():
    headers = fields(b"A: 1", b"B: 2", b"a: 3")
    headers.remove(b"A")
    headers.remove(b"nothing")
    assert list(headers) == [(b"B", b"2")]
    assert b"a" not in headers


def test_a_copy_changes_alone():
    headers = fields(b"A: 1")
    copy = headers.copy()
    copy.append(b"B", b"2")
    assert b"b" in copy and b"b" not in headers


def test_equal_means_the_same_lines_in_the_same_order_whatever_the_case_of_names():
    assert fields(b"A: 1", b"B: 2") == fields(b"a: 1", b"b: 2")
    assert fields(b"A: 1", b"B: 2") != fields(b"B: 2", b"A: 1")
    assert fields(b"A: 1") != fields(b"A: 2")
    assert fields(b"A: 1") != [(b"A", b"1")]
    with pytest.raises(TypeError):
        hash(fields())


def test_repr_shows_the_lines():
    assert repr(fields(b"A: 1")) == "Headers([(b'A', b'1')])"


def test_what_concerns_one_connection_stays_there():
    hop_by_hop = (
        b"Connection: upgrade",
        b"Keep-Alive: 1",
        b"Proxy-Connection: x",
        b"TE: trailers",
        b"Trailer: x",
        b"Transfer-Encoding: chunked",
        b"Upgrade: h2c",
        b"Proxy-Authenticate: x",
        b"Proxy-Authorization: x",
        b"HTTP2-Settings: x",
    )
    headers = fields(b"Host: a", *hop_by_hop, b"Date: now")
    assert list(end_to_end(headers)) == [(b"Host", b"a"), (b"Date", b"now")]
    assert len(headers) == 12
    assert list(end_to_end(fields(b"Keep-Alive: 5", b"A: 1"))) == [(b"A", b"1")]


def test_what_connection_names_stays_there_too_over_all_its_lines():
    headers = fields(b"X-Hop: 1", b"Connection: close, x-hop", b"Connection: Cookie", b"Cookie: a=1", b"X-End: 1")
    assert list(end_to_end(headers)) == [(b"X-End", b"1")]


def test_connection_cannot_name_routing_or_framing_away():
    headers = fields(b"Connection: host, content-length", b"Host: a", b"Content-Length: 5")
    assert list(end_to_end(headers)) == [(b"Host", b"a"), (b"Content-Length", b"5")]


def test_a_client_cannot_name_away_what_is_added_afterwards():
    headers = end_to_end(fields(b"Connection: close, X-Forwarded-For", b"X-Forwarded-For: 9.9.9.9"))
    add_forwarded(headers, trusted=False, **FORWARDED)
    assert headers.get_all(b"X-Forwarded-For") == [b"192.0.2.7"]


def test_a_stranger_says_nothing_about_where_a_request_came_from():
    headers = fields(
        b"X-Forwarded-For: 1.1.1.1",
        b"x-forwarded-for: 2.2.2.2",
        b"X-Forwarded-Proto: gopher",
        b"X-Forwarded-Host: evil",
        b"X-Real-IP: 3.3.3.3",
        b"Forwarded: for=4.4.4.4",
        b"A: 1",
    )
    add_forwarded(headers, trusted=False, **FORWARDED)
    assert list(headers) == [
        (b"A", b"1"),
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"a.test"),
        (b"X-Real-IP", b"192.0.2.7"),
    ]


def test_a_trusted_proxy_is_believed_and_its_address_appended():
    headers = fields(
        b"X-Forwarded-For: 1.1.1.1",
        b"X-Forwarded-For: 2.2.2.2",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: b.test",
        b"X-Real-IP: 1.1.1.1",
        b"Forwarded: for=1.1.1.1",
    )
    add_forwarded(headers, trusted=True, **FORWARDED)
    assert list(headers) == [
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"b.test"),
        (b"X-Real-IP", b"1.1.1.1"),
        (b"Forwarded", b"for=1.1.1.1"),
    ]


def test_a_trusted_proxy_that_says_nothing_is_described_itself():
    headers = fields()
    add_forwarded(headers, trusted=True, **FORWARDED)
    assert headers.get(b"X-Forwarded-For") == b"192.0.2.7"
    assert headers.get(b"X-Real-IP") == b"192.0.2.7"


def test_without_an_address_or_a_host_nothing_is_said_of_them():
    headers = fields()
    add_forwarded(headers, client="", scheme="http", host=b"", trusted=False)
    assert list(headers) == [(b"X-Forwarded-Proto", b"http")]


def test_via_is_appended_with_the_version_received():
    headers = fields(b"Via: 1.1 edge")
    add_via(headers, b"1.0", "trioproxy")
    assert headers.get_all(b"via") == [b"1.1 edge", b"1.0 trioproxy"]


def test_a_trusted_peer_without_an_address_starts_no_chain():
    headers = Headers([(b"X-Forwarded-Proto", b"https")])
    add_forwarded(headers, client="", scheme="http", host=b"a.test", trusted=True)
    assert list(headers) == [(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"a.test")]


def test_setting_the_only_line_of_a_name_changes_it_in_its_place():
    headers = Headers([(b"Host", b"a"), (b"X", b"1"), (b"Y", b"2")])
    headers.set(b"x", b"3")
    assert list(headers) == [(b"Host", b"a"), (b"x", b"3"), (b"Y", b"2")]


def test_a_copy_without_what_is_not_there_is_a_copy():
    headers = Headers([(b"A", b"1")])
    other = headers.without(frozenset({b"b"}))
    other.append(b"C", b"2")
    assert list(headers) == [(b"A", b"1")] and list(other) == [(b"A", b"1"), (b"C", b"2")]
