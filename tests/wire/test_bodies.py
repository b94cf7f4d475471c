import pytest

from trioproxy.errors import ProxyError
from trioproxy.wire.bodies import MAX_CHUNK_LINE, MAX_EXTENSION_BYTES, make_body
from trioproxy.wire.buffer import Buffer
from trioproxy.wire.events import BodyKind, Data, EndOfMessage
from trioproxy.wire.headers import Headers
from trioproxy.wire.requests import refuse_body

TRAILER_BYTES = 100
TRAILERS = 3


def body_of(kind, length=None):
    return make_body(kind, length, TRAILER_BYTES, TRAILERS, refuse_body)


def events_of(body, buffer):
    events = []
    while event := body.read(buffer):
        events.append(event)
        if isinstance(event, EndOfMessage):
            break
    return events


def chunked(*pieces):
    """The data, the trailers (None: no end yet) and the rest; or the data and the status of the error."""
    body, buffer = body_of(BodyKind.CHUNKED), Buffer()
    data, trailers = b"", None
    for piece in pieces:
        buffer.add(piece)
        try:
            while trailers is None and (event := body.read(buffer)) is not None:
                if isinstance(event, Data):
                    data += event.data
                else:
                    trailers = list(event.trailers)
        except ProxyError as error:
            return data, error.status
    return data, trailers, buffer.take(len(buffer))


def in_every_way(raw):
    outcome = chunked(raw)
    assert chunked(*[raw[index : index + 1] for index in range(len(raw))]) == outcome
    for cut in range(1, min(len(raw), 200)):
        assert chunked(raw[:cut], raw[cut:]) == outcome
    return outcome


@pytest.mark.parametrize("kind", [BodyKind.NONE, BodyKind.LENGTH])
def test_a_message_without_a_body_ends_at_once(kind):
    body = body_of(kind, 5 if kind is BodyKind.NONE else 0)  # an answer to HEAD may announce what does not come
    assert body.pending
    assert events_of(body, Buffer(b"next")) == [EndOfMessage(Headers())]


def test_a_length_ends_the_body_and_leaves_the_rest():
    body, buffer = body_of(BodyKind.LENGTH, 5), Buffer()
    assert body.read(buffer) is None
    buffer.add(b"hel")
    assert events_of(body, buffer) == [Data(b"hel")]
    assert not body.pending
    buffer.add(b"lonext")
    assert events_of(body, buffer) == [Data(b"lo"), EndOfMessage(Headers())]
    assert buffer.take(9) == b"next"


def test_the_data_of_a_long_body_is_not_copied():
    body, buffer, data = body_of(BodyKind.LENGTH, 10**12), Buffer(), bytes(65536)
    buffer.add(data)
    assert body.read(buffer).data is data


def test_a_body_until_close_is_all_that_comes():
    body, buffer, data = body_of(BodyKind.UNTIL_CLOSE), Buffer(), bytes(65536)
    assert body.read(buffer) is None
    assert not body.pending
    buffer.add(data)
    assert body.read(buffer).data is data
    assert body.read(buffer) is None


def test_chunks_end_with_the_last_and_leave_the_rest():
    assert in_every_way(b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\nnext") == (b"hello0123456789", [], b"next")


def test_line_ends_in_the_data_are_data():
    assert in_every_way(b"9\r\n0\r\n\r\n\r\n\r\n\r\n0\r\n\r\n") == (b"0\r\n\r\n\r\n\r\n", [], b"")


def test_small_chunks_that_came_together_go_on_together():
    body, buffer = body_of(BodyKind.CHUNKED), Buffer()
    buffer.add(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    assert body.read(buffer) == Data(b"ab")
    assert body.pending
    assert body.read(buffer) == EndOfMessage(Headers())


def test_data_goes_on_before_the_fault_behind_it():
    body, buffer = body_of(BodyKind.CHUNKED), Buffer()
    buffer.add(b"1\r\na\r\nx")
    assert body.read(buffer) == Data(b"a")
    buffer.add(b"\r\n")
    for _ in range(2):
        with pytest.raises(ProxyError):
            body.read(buffer)


def test_the_data_of_a_long_chunk_is_not_copied():
    body, buffer, data = body_of(BodyKind.CHUNKED), Buffer(), bytes(65536)
    buffer.add(b"FFFFFF\r\n")
    assert body.read(buffer) is None
    buffer.add(data)
    assert body.read(buffer).data is data


def test_extensions_are_dropped():
    assert in_every_way(b'5;a;b=c;d="e\\"f;\xff"\r\nhello\r\n0;x\r\n\r\n') == (b"hello", [], b"")


@pytest.mark.parametrize(
    "size",
    [
        b"",
        b"x",
        b"+5",
        b"-5",
        b"0x5",
        b"1_0",
        b" 5",
        b"5 ",
        b"5\t",
        b"5 ;a",
        b"5\x00",
        b"5,5",
        b"5\r",
        b"5\n",
        b"1" + b"0" * 15,
        b"5;",
        b"5;;",
        b"5; a",
        b"5;a\rX",
        b"5;a\nX",
        b'5;a="b',
        b"5;a=\x01",
        b"5;a=\x00",
        b'5;a="\x7f"',
    ],
)
def test_any_other_chunk_size_is_refused(size):
    assert in_every_way(size + b"\r\nhello\r\n0\r\n\r\n") == (b"", 400)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"XY", b"X\r\n", b"\r\r\n", b" \r\n"])
def test_data_must_end_with_its_chunk(end):
    data, status = in_every_way(b"5\r\nhello" + end + b"0\r\n\r\n\r\n")
    assert (data, status) == (b"hello", 400)


def test_a_bare_line_feed_ends_no_chunk_size():
    assert in_every_way(b"5\nhello\r\n0\r\n\r\n") == (b"", 400)


def test_a_huge_size_waits_and_allocates_nothing():
    assert chunked(b"FFFFFFFFFFFFFFF\r\nhello") == (b"hello", None, b"")


def test_a_chunk_line_is_bounded():
    longest = b"5;a=".ljust(MAX_CHUNK_LINE - 2, b"x") + b"\r\n"
    assert in_every_way(longest + b"hello\r\n0\r\n\r\n")[0] == b"hello"
    assert in_every_way(b"5;a=" + b"x" * MAX_CHUNK_LINE) == (b"", 400)
    assert chunked(b"0" * MAX_CHUNK_LINE) == (b"", 400)


def test_all_extensions_together_are_bounded():
    line = b"1;a=".ljust(MAX_CHUNK_LINE - 2, b"x") + b"\r\n"
    fits = MAX_EXTENSION_BYTES // (len(line) - 3)
    assert chunked((line + b"a\r\n") * fits + b"0\r\n\r\n") == (b"a" * fits, [], b"")
    assert chunked((line + b"a\r\n") * (fits + 1) + b"0\r\n\r\n") == (b"a" * fits, 400)


def test_trailers_are_kept_apart_in_order_and_trimmed():
    raw = b"0\r\nX-A: 1 \t\r\nHost: evil\r\nx-a:2\r\n\r\nnext"
    assert in_every_way(raw) == (b"", [(b"X-A", b"1"), (b"Host", b"evil"), (b"x-a", b"2")], b"next")


def test_trailers_are_read_as_fields_are():
    assert in_every_way(b"0\r\nX-suM:\t \xff \r\nx-sum:\r\n\r\n")[1] == [(b"X-suM", b"\xff"), (b"x-sum", b"")]


@pytest.mark.parametrize("name", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"transfer-encoding: gzip"])
def test_framing_behind_the_body_is_refused(name):
    assert in_every_way(b"0\r\n" + name + b"\r\n\r\n") == (b"", 400)


def test_trailers_are_bounded_in_number_and_bytes():
    assert in_every_way(b"0\r\n" + b"A: b\r\n" * TRAILERS + b"\r\n")[1] == [(b"A", b"b")] * TRAILERS
    assert in_every_way(b"0\r\n" + b"A: b\r\n" * (TRAILERS + 1) + b"\r\n") == (b"", 400)
    assert in_every_way(b"0\r\nA: ".ljust(TRAILER_BYTES + 1, b"b") + b"\r\n\r\n")[1] is not None
    assert in_every_way(b"0\r\nA: ".ljust(TRAILER_BYTES + 4, b"b") + b"\r\n\r\n") == (b"", 400)
    assert chunked(b"0\r\n" + b"A" * TRAILER_BYTES) == (b"", 400)


@pytest.mark.parametrize(
    "trailer",
    [
        b"A",
        b"A : b",
        b"A: b\n",
        b"A: b\r\n c",
        b" A: b",
        b"A: \x00",
        b"A: b\rC: d",
        b"GET /smuggled HTTP/1.1",
        b"Content-Length: 5",
        b"Transfer-Encoding: gzip",
    ],
)
def test_lines_that_are_no_trailers_are_refused(trailer):
    assert in_every_way(b"0\r\n" + trailer + b"\r\n\r\n") == (b"", 400)


@pytest.mark.parametrize("trailer", [b"Connection: close", b"Upgrade: x\r\nConnection: upgrade"])
def test_trailers_about_the_connection_mean_nothing(trailer):
    assert in_every_way(b"0\r\n" + trailer + b"\r\n\r\nnext")[2] == b"next"
