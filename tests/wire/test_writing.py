import h11
import pytest

from trioproxy.wire.headers import make_field
from trioproxy.wire.writing import LAST_CHUNK, chunk, last_chunk, request_head, response_head


def fields(*pairs):
    return [make_field(name, value) for name, value in pairs]


def test_a_request_head_is_read_by_others_as_it_was_meant():
    head = request_head(b"GET", b"/a?b", fields((b"Host", b"a.test"), (b"X-Empty", b""), (b"X", b"1")))
    assert head == b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nX-Empty: \r\nX: 1\r\n\r\n"
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(head)
    event = reader.next_event()
    assert (event.method, event.target) == (b"GET", b"/a?b")
    assert event.headers.raw_items() == [(b"Host", b"a.test"), (b"X-Empty", b""), (b"X", b"1")]


def test_an_answer_head_keeps_the_space_before_an_empty_reason():
    assert response_head(200, b"OK", fields((b"A", b"1"))) == b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\n"
    assert response_head(499, b"", fields()) == b"HTTP/1.1 499 \r\n\r\n"


@pytest.mark.parametrize("evil", [b"a\r\nX: 1", b"a\nX: 1", b"a\r", b"a\r\n\r\nGET / HTTP/1.1"])
def test_a_line_end_inside_a_part_never_reaches_the_wire(evil):
    with pytest.raises(ValueError, match="line end"):
        fields((b"A", evil))
    with pytest.raises(ValueError, match="line end"):
        fields((evil, b"b"))
    with pytest.raises(ValueError, match="line end"):
        request_head(b"GET", evil, fields())
    with pytest.raises(ValueError, match="line end"):
        response_head(200, evil, fields())


def test_a_chunk_is_its_size_and_its_data():
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"


def test_no_data_is_no_chunk_as_an_empty_one_would_end_the_body():
    assert chunk(b"") == b""
    assert LAST_CHUNK == b"0\r\n\r\n"


def test_trailers_stand_behind_the_last_chunk_and_are_read_by_others_as_they_were_meant():
    end = last_chunk(fields((b"X-Sum", b"1"), (b"x-sum", b"\xff")))
    assert end == b"0\r\nX-Sum: 1\r\nx-sum: \xff\r\n\r\n"
    assert last_chunk(()) == LAST_CHUNK
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"abc") + end)
    events = [reader.next_event() for _ in range(3)]
    assert events[-1].headers.raw_items() == [(b"X-Sum", b"1"), (b"x-sum", b"\xff")]
