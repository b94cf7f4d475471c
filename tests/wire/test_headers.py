import pytest

from trioproxy.wire.headers import (
    MAX_REMEMBERED,
    Field,
    Headers,
    add_forwarded,
    date_field,
    make_field,
    put,
    via_field,
    without,
)

FORWARDED = {"client": "192.0.2.7", "scheme": "https", "host": b"a.test"}


def fields(*lines):
    return Headers.from_pairs(tuple(part.strip() for part in line.split(b":", 1)) for line in lines)


def pairs(fields):
    return [(field.name, field.value) for field in fields]


def end_to_end_of(headers):
    return pairs(headers.end_to_end())


def forwarded(headers, *, trusted, **said):
    return pairs(add_forwarded([*headers.fields], **{**FORWARDED, **said}, trusted=trusted))


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
    assert headers.tokens(b"connection") == (b"keep-alive", b"upgrade", b"x")
    assert headers.tokens(b"upgrade") == ()
    assert fields(b"TE: " + b"a," * MAX_REMEMBERED).tokens(b"te") == (b"a",) * MAX_REMEMBERED


def put_into(headers, name, value):
    made = [*headers.fields]
    put(made, name, value)
    return pairs(made)


def test_put_replaces_the_first_line_in_its_place_and_drops_the_others():
    headers = fields(b"A: 1", b"B: 2", b"a: 3", b"C: 4")
    assert put_into(headers, b"a", b"5") == [(b"a", b"5"), (b"B", b"2"), (b"C", b"4")]
    assert put_into(headers, b"b", b"5") == [(b"A", b"1"), (b"b", b"5"), (b"a", b"3"), (b"C", b"4")]


def test_put_appends_what_is_new():
    assert put_into(fields(b"A: 1"), b"B", b"2") == [(b"A", b"1"), (b"B", b"2")]


def test_without_takes_every_line_of_a_name_and_forgives_none():
    headers = fields(b"A: 1", b"B: 2", b"a: 3")
    assert pairs(without(headers.fields, {b"a", b"nothing"})) == [(b"B", b"2")]


def test_headers_made_of_fields_are_those_made_of_their_pairs():
    headers = fields(b"A: 1", b"b: 2")
    assert Headers(headers.fields) == headers
    assert Headers(iter(headers.fields)).keys == {b"a": headers.fields[0], b"b": headers.fields[1]}


@pytest.mark.parametrize("evil", [b"a\r\nb: c", b"a\n", b"\ra"])
def test_no_field_holds_a_line_end(evil):
    for pair in ((b"A", evil), (evil, b"b")):
        with pytest.raises(ValueError, match="line end"):
            make_field(*pair)


def test_a_field_knows_its_line_and_how_it_compares():
    assert make_field(b"X-A", b"b c") == Field(b"x-a", b"X-A", b"b c", b"X-A: b c\r\n")


def test_equal_means_the_same_lines_in_the_same_order_whatever_the_case_of_names():
    assert fields(b"A: 1", b"B: 2") == fields(b"a: 1", b"b: 2")
    assert fields(b"A: 1", b"B: 2") != fields(b"B: 2", b"A: 1")
    assert fields(b"A: 1") != fields(b"A: 2")
    assert fields(b"A: 1") != [(b"A", b"1")]
    with pytest.raises(TypeError):
        hash(fields())


def test_repr_shows_the_lines():
    assert repr(fields(b"A: 1")) == "Headers.from_pairs([(b'A', b'1')])"


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
    assert end_to_end_of(headers) == [(b"Host", b"a"), (b"Date", b"now")]
    assert len(headers) == 12
    assert end_to_end_of(fields(b"Keep-Alive: 5", b"A: 1")) == [(b"A", b"1")]


def test_what_connection_names_stays_there_too_over_all_its_lines():
    headers = fields(b"X-Hop: 1", b"Connection: close, x-hop", b"Connection: Cookie", b"Cookie: a=1", b"X-End: 1")
    assert end_to_end_of(headers) == [(b"X-End", b"1")]


def test_connection_cannot_name_routing_or_framing_away():
    headers = fields(b"Connection: host, content-length", b"Host: a", b"Content-Length: 5")
    assert end_to_end_of(headers) == [(b"Host", b"a"), (b"Content-Length", b"5")]


def test_a_client_cannot_name_away_what_is_added_afterwards():
    headers = fields(b"Connection: close, X-Forwarded-For", b"X-Forwarded-For: 9.9.9.9")
    made = add_forwarded([*headers.end_to_end()], trusted=False, **FORWARDED)
    assert [field.value for field in made if field.key == b"x-forwarded-for"] == [b"192.0.2.7"]


def test_a_stranger_says_nothing_about_where_a_request_came_from():
    headers = fields(
        b"X-Forwarded-For: 1.1.1.1",
        b"x-forwarded-for: 2.2.2.2",
        b"X-Forwarded-Proto: gopher",
        b"X-Forwarded-Host: evil",
        b"X-Real-IP: 3.3.3.3",
        b"Forwarded: for=4.4.4.4",
        b"X_Forwarded_For: 5.5.5.5",  # the same to CGI
        b"x-forwarded_HOST: evil",
        b"X_Real-IP: 5.5.5.5",
        b"A: 1",
        b"X_A: 1",
    )
    assert forwarded(headers, trusted=False) == [
        (b"A", b"1"),
        (b"X_A", b"1"),
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
    assert forwarded(headers, trusted=True) == [
        (b"X-Forwarded-For", b"1.1.1.1, 2.2.2.2, 192.0.2.7"),
        (b"X-Forwarded-Proto", b"http"),
        (b"X-Forwarded-Host", b"b.test"),
        (b"X-Real-IP", b"1.1.1.1"),
        (b"Forwarded", b"for=1.1.1.1"),
    ]


def test_a_trusted_proxy_that_says_nothing_is_described_itself():
    assert forwarded(fields(), trusted=True) == forwarded(fields(), trusted=False)
    assert (b"X-Forwarded-For", b"192.0.2.7") in forwarded(fields(), trusted=True)


def test_without_an_address_or_a_host_nothing_is_said_of_them():
    assert forwarded(fields(), client="", scheme="http", host=b"", trusted=False) == [(b"X-Forwarded-Proto", b"http")]


def test_a_host_of_any_length_is_told():
    host = b"a" * (MAX_REMEMBERED + 1)
    assert (b"X-Forwarded-Host", host) in forwarded(fields(), host=host, trusted=False)


def test_a_date_is_in_the_form_of_rfc_9110_5_6_7():
    assert date_field(784111777).line == b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"


def test_via_says_the_version_received():
    assert via_field(b"1.0", "trioproxy").line == b"Via: 1.0 trioproxy\r\n"
    assert via_field(b"1.1", "edge").line == b"Via: 1.1 edge\r\n"


def test_who_a_trusted_proxy_saw_is_the_real_client_unless_it_says_so_itself():
    said, own = b"X-Forwarded-For: 198.51.100.1", b"X-Real-IP: 203.0.113.5"
    real = (b"X-Real-IP", b"198.51.100.1")
    assert forwarded(fields(said), trusted=True, real_client="198.51.100.1").count(real) == 1
    assert real not in forwarded(fields(said, own), trusted=True, real_client="198.51.100.1")


def test_a_trusted_peer_without_an_address_starts_no_chain():
    said = (b"X-Forwarded-Proto", b"https")
    assert forwarded(Headers.from_pairs([said]), client="", trusted=True) == [said, (b"X-Forwarded-Host", b"a.test")]


def test_what_goes_on_is_found_once():
    for headers in (fields(b"A: 1", b"Connection: close"), fields(b"A: 1")):
        assert pairs(headers.end_to_end()) == [(b"A", b"1")]
        assert headers.end_to_end() is headers.end_to_end()
