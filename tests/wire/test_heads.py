import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioproxy.errors import ProxyError
from trioproxy.wire.buffer import Buffer
from trioproxy.wire.events import BodyKind
from trioproxy.wire.headers import MAX_REMEMBERED, Headers
from trioproxy.wire.heads import HeadReader, parse_fields, parse_framing, read_field, wants_keep_alive
from trioproxy.wire.requests import parse_request_line, refuse_head

LIMIT = 100


def reader():
    return HeadReader(LIMIT, refuse_head, parse_request_line)


def feed(*pieces):
    """The first head found and the bytes still waiting, or the status of the error."""
    heads, buffer = reader(), Buffer()
    for piece in pieces:
        buffer.add(piece)
        try:
            head = heads.read(buffer)
        except ProxyError as error:
            return error.status
        if head is not None:
            return head, buffer.take(len(buffer))
    return None


def fields_of(head, max_headers=10):
    return parse_fields(head, max_headers=max_headers, refuse=refuse_head)


def status_of(head, max_headers=10):
    with pytest.raises(ProxyError) as caught:
        fields_of(head, max_headers)
    return caught.value.status


def test_a_head_ends_with_its_blank_line_and_not_a_byte_later():
    assert feed(b"GET / HTTP/1.1\r\nA: b\r\n\r\nbody") == (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", b"body")


def test_a_first_word_that_is_not_ascii_is_not_waited_for():
    assert feed(b"\xff") == 400
    assert feed(b"GE", b"T\x80") == 400
    assert feed(b"GET /\xe4") is None, "what is behind the first word is judged when the line is complete"


@given(st.integers(1, 23), st.integers(1, 23))
def test_a_head_is_found_wherever_it_is_cut(first, second):
    raw = b"GET / HTTP/1.1\r\nA: b\r\n\r\n"
    assert len(raw) == 24
    first, second = sorted((first, second))
    assert feed(raw[:first], raw[first:second], raw[second:] + b"x") == (raw, b"x")


def test_a_second_head_is_searched_from_its_own_beginning():
    heads, buffer = reader(), Buffer()
    raw = b"GET / HTTP/1.1\r\nA: b\r\n\r\n"
    buffer.add(raw[:-1])
    assert heads.read(buffer) is None
    buffer.add(raw[-1:] + raw[:20])
    assert heads.read(buffer) == raw
    assert heads.read(buffer) is None
    buffer.add(raw[20:])
    assert heads.read(buffer) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01",  # TLS
        b"SSH-2.0-OpenSSH_9\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nA: b\r\n\n",
        b"GET / HTTP/1.1\r\nA: b\x00",
        b"GET / HTTP/1.1\r\nA: b\rC",
    ],
)
def test_what_can_never_become_a_head_is_not_waited_for(raw):
    assert feed(raw) == 400
    assert feed(*[raw[index : index + 1] for index in range(len(raw))]) == 400


def test_the_start_line_is_judged_when_it_is_there():
    assert feed(b"BREW / HTTP/1.1\r") is None
    assert feed(b"BREW / HTTP/1.1\r", b"\n") == 501
    assert feed(b"BREW / HTTP/1.1\r\nA: \x00") == 501


def test_a_head_may_be_as_long_as_the_limit_and_no_longer():
    start, end = b"GET / HTTP/1.1\r\nA: ", b"\r\n\r\n"
    fits = start + b"a" * (LIMIT - len(start) - len(end)) + end
    assert feed(fits) == (fits, b"")
    assert feed(fits[:-4] + b"a" + end) == 431
    assert feed(fits[:-4], b"a" + end[:-1], end[-1:]) == 431


def test_an_endless_line_is_refused_at_the_limit():
    assert feed(b"GET / HTTP/1.1\r\nA: " + b"a" * LIMIT) == 431
    assert feed(b"GET /" + b"a" * LIMIT) == 414
    assert feed(b"G" * (LIMIT + 1)) == 400
    assert feed(b"G" * LIMIT) is None


def test_an_octet_behind_the_limit_is_not_looked_at():
    assert feed(b"GET / HTTP/1.1\r\nA: ".ljust(LIMIT, b"a") + b"\x00") == 431
    assert feed(b"GET / HTTP/1.1\r\nA: ".ljust(LIMIT - 1, b"a") + b"\x00") == 400


def test_fields_come_in_order_with_their_case_and_without_the_whitespace_around():
    head = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \t b c \t \r\nx-a:\r\nY:1\t\r\n\r\n"
    assert list(fields_of(head)) == [(b"Host", b"a"), (b"X-A", b"b c"), (b"x-a", b""), (b"Y", b"1")]


def test_too_many_fields_are_refused():
    assert len(fields_of(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10 + b"\r\n")) == 10
    assert status_of(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 11 + b"\r\n") == 431


@pytest.mark.parametrize(
    "line",
    [
        b"A : b",
        b"A b: c",
        b": b",
        b"A",
        b" A: b",
        b"\tA: b",
        b"A: b\r\n c",
        b"A\xe9: b",
        b"A[]: b",
        b"A: \x7f",
        b"A: \x0bb",
        b"A: b\nC: d",
        b"A: b\rC: d",
        b"A: b\r\r",
    ],
)
def test_lines_that_are_no_fields_are_refused(line):
    assert status_of(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n") == 400


def test_a_long_line_of_blanks_is_refused_without_trying_it_in_every_way():
    # In time that grows with the square of its length this would take minutes.
    assert by_us(b"A:" + b" " * 500_000 + b"\0") is None


def test_every_line_must_have_become_a_field():
    assert status_of(b"GET / HTTP/1.1\r\n\r\n\r\n") == 400


def test_any_upgrade_leaves_the_head_as_it_is():
    head = b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
    assert list(fields_of(head)) == [(b"Upgrade", b"h2c"), (b"Connection", b"Upgrade")]


class Collected(list):
    def on_header(self, name, value):
        self.append((name, value.strip(b" \t")))


def by_llhttp(line):
    """The fields of a head with that line as llhttp reads them, or None if it does not take it."""
    collected = Collected()
    try:
        httptools.HttpRequestParser(collected).feed_data(b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n")
    except httptools.HttpParserError:
        return None
    return list(collected)


def by_us(line):
    try:
        field = read_field(line)
    except ValueError:
        return None
    return [(field.name, field.value)]


octets = st.one_of(st.sampled_from(b'aZ09: \t-_"(),/=@[]{}~\x00\x0b\x7f\x80\xff\r\n'), st.integers(0, 255))


@given(st.lists(octets, max_size=12).map(bytes))
@example(b"A\t: b")
@example(b"A: \t")
def test_a_field_is_what_llhttp_takes_for_one_as_it_reads_it(line):
    assert by_us(line) == (by_llhttp(line) or None)


def test_a_field_is_the_same_whether_it_was_seen_before_or_is_too_long_to_remember():
    for line in (b"A:  b", b"A: " + b"b" * MAX_REMEMBERED):
        head = b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n"
        assert fields_of(head) == fields_of(head) == Headers([read_field(line)])


def framing(*fields, version=b"1.1"):
    try:
        return parse_framing(Headers.from_pairs(fields), version, refuse_head)
    except ProxyError as error:
        return error.status


@pytest.mark.parametrize(
    ("value", "length"), [(b"0", 0), (b"5", 5), (b"4294967301", 4294967301), (b"9" * 18, 10**18 - 1)]
)
def test_a_content_length_frames_the_body(value, length):
    assert framing((b"Content-Length", value)) == (BodyKind.LENGTH, length)


@pytest.mark.parametrize(
    "value",
    [b"", b"00", b"05", b"+5", b"-5", b"5,5", b"5, 5", b"5 5", b"0x5", b"5.0", b"1_0", b"\xb2", b"9" * 19],
)
def test_an_odd_content_length_is_refused(value):
    assert framing((b"Content-Length", value)) == 400


def test_two_content_lengths_are_refused_even_if_equal():
    assert framing((b"Content-Length", b"5"), (b"content-length", b"5")) == 400


def test_without_framing_fields_there_is_no_body():
    assert framing((b"A", b"b")) == (BodyKind.NONE, None)


@pytest.mark.parametrize("value", [b"chunked", b"CHUNKED", b"Chunked"])
def test_chunked_frames_the_body_in_any_case(value):
    assert framing((b"Transfer-Encoding", value)) == (BodyKind.CHUNKED, None)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([b"gzip"], 400),
        ([b"identity"], 400),
        ([b""], 400),
        ([b"xchunked"], 400),
        ([b"chunked;q=1"], 400),
        ([b"chunked, gzip"], 400),
        ([b"chunked, chunked"], 400),
        ([b"chunked", b"chunked"], 400),
        ([b"chunked,"], 400),
        ([b",chunked"], 400),
        ([b"gzip, chunked"], 501),
        ([b"gzip", b"chunked"], 501),
    ],
)
def test_any_other_transfer_coding_is_refused(values, status):
    assert framing(*[(b"Transfer-Encoding", value) for value in values]) == status


def test_both_framings_at_once_and_chunks_in_1_0_are_refused():
    assert framing((b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")) == 400
    assert framing((b"Transfer-Encoding", b"chunked"), version=b"1.0") == 400


@pytest.mark.parametrize(
    ("connection", "version", "keeps"),
    [
        ([], b"1.1", True),
        ([], b"1.0", False),
        ([b"keep-alive"], b"1.0", True),
        ([b"x", b"close"], b"1.1", False),
        ([b"keep-alive", b"close"], b"1.0", False),
    ],
)
def test_close_wins_over_keep_alive_and_1_0_must_ask(connection, version, keeps):
    assert wants_keep_alive(connection, version) is keeps
