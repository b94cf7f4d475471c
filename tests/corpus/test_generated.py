"""Whatever is sent, and however it is cut: generated messages, mutated cases of the corpus, and h11 for a second opinion."""

import h11
from hypothesis import example, given
from hypothesis import strategies as st
from support.corpus import load_cases
from support.fuzz import examples
from support.http_messages import TCHAR, cut, mutated
from support.http_parsing import bytewise, read_answer, read_requests

from trioproxy.wire.headers import Headers
from trioproxy.wire.http1 import LAST_CHUNK, BodyKind, Data, chunk, request_head, response_head

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

SPECIAL = {b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"}


def octets(allowed, **sizes):
    return st.lists(st.sampled_from(sorted(allowed)), **sizes).map(bytes)


names = octets(TCHAR, min_size=1, max_size=12).filter(lambda name: name.lower() not in SPECIAL)
values = octets({0x09, *range(0x20, 0x7F), *range(0x80, 0x100)}, max_size=20).map(lambda value: value.strip(b" \t"))
field_lists = st.lists(st.tuples(names, values), max_size=8)
url_octets = octets(set(range(0x21, 0x7F)) - {ord("#")}, max_size=20)
bodies = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.lists(st.binary(min_size=1, max_size=20), max_size=5),
)  # no body, a length, chunks


def framed(body):
    if body is None:
        return [], b""
    if isinstance(body, bytes):
        return [(b"Content-Length", b"%d" % len(body))], body
    return [(b"Transfer-Encoding", b"chunked")], b"".join(map(chunk, body)) + LAST_CHUNK


def plain(body):
    return body or b"" if not isinstance(body, list) else b"".join(body)


@given(st.data(), st.sampled_from([b"GET", b"POST", b"PROPFIND"]), url_octets, field_lists, bodies)
@examples(150)
def test_every_valid_request_is_read_as_it_was_meant(data, method, path, fields, body):
    framing, content = framed(body)
    lines = [(b"Host", b"a.test"), *fields, *framing]
    raw = request_head(method, b"/" + path, Headers.from_pairs(lines).fields) + content
    outcome = read_requests(data.draw(cut(raw + GET)))
    assert outcome.status is None
    first, second = outcome.heads
    assert (first.method, first.target, list(first.headers)) == (method, b"/" + path, lines)
    assert (outcome.body, outcome.complete) == (plain(body), 2)
    assert second.target == b"/"


@given(st.data(), st.integers(200, 599), values, field_lists, bodies)
@examples(150)
def test_every_valid_answer_is_read_as_it_was_meant(data, status, reason, fields, body):
    framing, content = framed(body)
    raw = response_head(status, reason, Headers.from_pairs([*fields, *framing]).fields) + content
    outcome = read_answer(data.draw(cut(raw)), eof=True)
    assert outcome.status is None
    (head,) = outcome.heads
    assert (head.status, head.reason, list(head.headers)) == (status, reason, [*fields, *framing])
    assert outcome.complete == 1
    if status in {204, 304}:
        assert head.body is BodyKind.NONE
    else:
        assert outcome.body == plain(body)


def read_by_h11(raw):
    """The first request as h11 reads it, or None if it does not take it or misses something."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    reader.receive_data(raw)
    body = b""
    try:
        request = reader.next_event()
        if not isinstance(request, h11.Request):
            return None
        while isinstance(event := reader.next_event(), h11.Data):
            body += bytes(event.data)
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.EndOfMessage):
        return None
    fields = [(name.lower(), value) for name, value in request.headers.raw_items()]
    return request.method, request.target, fields, body


def read_by_us(raw):
    """The same by our parser, and the error's status if there was one first."""
    outcome = read_requests([raw])
    if not outcome.complete:
        return None
    head, body = outcome.heads[0], b""
    if isinstance(outcome.events[1], Data):
        body = outcome.events[1].data
    fields = [(name.lower(), value) for name, value in head.headers]
    fields = [(name, b"chunked" if name == b"transfer-encoding" else value) for name, value in fields]  # as h11 has it
    return head.method, head.target, fields, body


PLAIN = [case.raw for case in load_cases() if len(case.raw) < 1000 and b"://" not in case.raw]  # origin-form


@given(st.one_of(st.sampled_from(PLAIN), mutated(PLAIN)))
@examples(300)
def test_what_we_and_h11_both_take_is_read_alike(raw):
    ours, theirs = read_by_us(raw), read_by_h11(raw)
    assert ours is None or theirs is None or ours == theirs


@given(st.data(), mutated(PLAIN))
@examples(300)
@example(None, b"")
def test_a_mutated_request_is_read_or_refused_in_the_same_way_however_it_is_cut(data, raw):
    whole = read_requests([raw])
    assert whole.status is None or 400 <= whole.status < 600
    assert read_requests(bytewise(raw)) == whole
    if data is not None:
        assert read_requests(data.draw(cut(raw))) == whole


ANSWERS = [
    ANSWER,
    b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00",
]


@given(st.data(), mutated(ANSWERS), st.sampled_from([b"GET", b"HEAD"]))
@examples(300)
def test_a_mutated_answer_is_read_or_refused_in_the_same_way_however_it_is_cut(data, raw, method):
    whole = read_answer([raw], method=method, eof=True)
    assert whole.status in {None, 502}
    assert read_answer(bytewise(raw), method=method, eof=True) == whole
    assert read_answer(data.draw(cut(raw)), method=method, eof=True) == whole
