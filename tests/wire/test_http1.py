import pytest
from support.http_parsing import bytewise, read_answer, read_requests

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.headers import Headers
from trioproxy.wire.heads import MAX_REMEMBERED_HEAD
from trioproxy.wire.http1 import (
    MAX_EMPTY_LINES,
    MAX_INTERIM,
    Data,
    EndOfMessage,
    RequestHead,
    RequestParser,
    ResponseParser,
)
from trioproxy.wire.requests import remembered_request
from trioproxy.wire.responses import remembered_response

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
UPGRADE = b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
END = EndOfMessage(Headers())


def requests(**limits):
    return RequestParser(**{"max_head_bytes": 1000, "max_headers": 10, **limits})


def answer(method=b"GET"):
    return ResponseParser(method=method, max_head_bytes=1000, max_headers=10)


def targets(outcome):
    return [head.target for head in outcome.heads]


# Requests


def test_a_request_is_a_head_its_data_and_an_end():
    parser = requests()
    assert parser.next_event() is None
    parser.receive_data(POST)
    assert isinstance(parser.next_event(), RequestHead)
    assert parser.next_event() == Data(b"hello")
    assert parser.next_event() == END
    assert parser.next_event() is None


@pytest.mark.parametrize(
    ("raw", "refused"),
    [
        (b"HEAD / HTTP/1.1\r\n\r\n", True),
        (b"HEAD / HTTP/1.1\r\nX:\0", True),
        (b"GET / HTTP/1.1\r\n\r\n", False),
        (b"HEADS / HTTP/1.1\r\n\r\n", False),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", False),
    ],
)
def test_it_is_known_whether_a_head_that_was_refused_is_that_of_a_head(raw, refused):
    parser = requests()
    parser.receive_data(raw)
    with pytest.raises(ProxyError):
        list(iter(parser.next_event, None))
    assert parser.refused_head == refused


def test_pipelined_requests_come_one_behind_the_other():
    outcome = read_requests([GET + POST + b"\r\n" + GET])
    assert targets(outcome) == [b"/", b"/p", b"/"]
    assert outcome.complete == 3


@pytest.mark.parametrize("padding", [0, MAX_REMEMBERED_HEAD])
def test_a_head_that_was_seen_before_is_read_as_the_first_time(padding):
    head = GET.replace(b"Host: a", b"Host: a\r\nA: " + b"b" * padding)
    outcome = read_requests([head * 3])
    assert outcome.heads == [outcome.heads[0]] * 3
    raw = ANSWER.replace(b"\r\n\r\n", b"\r\nA: " + b"b" * padding + b"\r\n\r\n")
    assert read_answer([raw]) == read_answer([raw])
    assert read_answer([raw], method=b"HEAD").body == b"", "the same head says another thing to another method"


def test_neither_a_first_request_nor_a_long_head_nor_a_101_is_remembered():
    long = GET.replace(b"Host: a", b"Host: a\r\nA: " + b"b" * MAX_REMEMBERED_HEAD)
    asked, answered = remembered_request.cache_info(), remembered_response.cache_info()
    read_requests([GET + long])
    read_answer([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"])
    read_answer([ANSWER.replace(b"\r\n\r\n", b"\r\nA: " + b"b" * MAX_REMEMBERED_HEAD + b"\r\n\r\n")])
    assert (asked, answered) == (remembered_request.cache_info(), remembered_response.cache_info())
    read_requests([GET + GET])
    assert asked != remembered_request.cache_info()


def test_a_refused_head_is_refused_again():
    bad = b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
    for _ in range(2):
        assert read_requests([GET + bad]).status == 400
        assert read_requests([GET * 2], max_headers=0).status == 431


def test_an_error_waits_for_its_place_and_stays():
    parser = requests()
    parser.receive_data(GET + b"\x00")
    assert parser.next_event().target == b"/"
    assert parser.next_event() == END
    for _ in range(2):
        with pytest.raises(ProxyError) as caught:
            parser.next_event()
        assert caught.value.status == 400
        parser.receive_data(GET)


def test_a_fault_in_a_body_is_one_of_the_request_phase():
    parser = requests()
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
    parser.next_event()
    with pytest.raises(ProxyError) as caught:
        parser.next_event()
    assert (caught.value.source, caught.value.phase) == (Source.CLIENT, Phase.REQUEST)


def test_what_follows_a_request_with_close_is_ignored():
    for pieces in ([CLOSE + GET + b"\x00"], [CLOSE, GET, b"\x00"], bytewise(CLOSE + b"\x00")):
        outcome = read_requests(pieces)
        assert targets(outcome) == [b"/last"]
        assert (outcome.complete, outcome.status) == (1, None)


def test_the_body_of_a_request_with_close_is_still_read():
    raw = POST.replace(b"Host: a", b"Host: a\r\nConnection: close")
    for pieces in ([raw + GET], bytewise(raw + GET)):
        outcome = read_requests(pieces)
        assert (outcome.body, outcome.complete) == (b"hello", 1)


def test_a_1_0_request_is_the_last_unless_it_asks_otherwise():
    assert targets(read_requests([b"GET /1 HTTP/1.0\r\n\r\n" + GET])) == [b"/1"]
    assert targets(read_requests([b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET])) == [b"/1", b"/"]


def test_what_is_behind_an_upgrade_is_handed_out_once():
    parser = requests()
    parser.receive_data(UPGRADE + b"\x81")
    assert parser.take_rest() == b""
    assert parser.next_event().upgrade
    assert parser.next_event() is None
    assert parser.buffered
    assert parser.take_rest() == b"\x81"
    parser.receive_data(b"\x85")
    assert parser.next_event() is None
    assert parser.take_rest() == b"\x85"
    assert parser.take_rest() == b""
    assert not parser.buffered


def test_nothing_is_handed_out_behind_another_request():
    parser = requests()
    parser.receive_data(GET + GET)
    parser.next_event()
    assert parser.take_rest() == b""
    assert parser.next_event() == END
    assert isinstance(parser.next_event(), RequestHead)


@pytest.mark.parametrize("upgrade", [b"h2c", b"x", b"foo, h2c", b"h2c\r\nUpgrade: foo"])
def test_another_upgrade_is_an_ordinary_request_body_and_next_one_too(upgrade):
    fields = b"Host: a\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + b"\r\n"
    length = b"POST /1 HTTP/1.1\r\n" + fields + b"Content-Length: 5\r\n\r\nhello"
    chunks = b"POST /2 HTTP/1.1\r\n" + fields + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    outcome = read_requests([length + chunks + GET])
    assert targets(outcome) == [b"/1", b"/2", b"/"]
    assert outcome.body == b"hellohello"
    assert read_requests(bytewise(length + chunks + GET)) == outcome


def test_empty_lines_before_a_request_are_ignored_within_a_limit():
    for pieces in ([b"\r\n" * MAX_EMPTY_LINES + GET] * 3, bytewise((b"\r\n" * MAX_EMPTY_LINES + GET) * 3)):
        assert read_requests(pieces).complete == 3
    assert read_requests([b"\r\n" * (MAX_EMPTY_LINES + 1) + GET]).status == 400
    assert read_requests(bytewise(b"\r\n" * (MAX_EMPTY_LINES + 1) + GET)).status == 400


@pytest.mark.parametrize("raw", [b"\n" + GET, b"\r" + GET, b"\r\r\n" + GET, b"\r\n\n" + GET])
def test_half_an_empty_line_is_refused(raw):
    assert read_requests([raw]).status == 400
    assert read_requests(bytewise(raw)).status == 400


def test_a_head_has_started_with_its_first_byte_and_not_with_an_empty_line():
    parser = requests()
    assert not parser.head_started
    for piece in (b"\r", b"\n", b"\r"):
        parser.receive_data(piece)
        assert not parser.head_started
        assert parser.next_event() is None
        assert not parser.head_started
    parser.receive_data(b"\nG")
    assert parser.head_started
    assert parser.next_event() is None
    assert parser.head_started
    parser.receive_data(GET[1:])
    assert isinstance(parser.next_event(), RequestHead)
    assert not parser.head_started
    assert parser.next_event() == END
    assert not parser.head_started


def test_a_pipelined_head_has_started_when_the_request_before_it_ends():
    parser = requests()
    parser.receive_data(GET + b"G")
    parser.next_event()
    assert parser.next_event() == END
    assert parser.head_started


def test_buffered_says_whether_anything_waits():
    parser = requests()
    assert not parser.buffered
    parser.receive_data(GET)
    assert parser.buffered
    parser.next_event()
    assert parser.buffered  # the end
    parser.next_event()
    assert not parser.buffered
    parser.receive_data(CLOSE + GET)
    parser.next_event()
    parser.next_event()
    assert not parser.buffered


@pytest.mark.rule("huge-head", "limits")
def test_a_2_gb_header_is_refused_at_the_limit():
    pieces = (b"a" * 4096 if index else b"GET / HTTP/1.1\r\nHost: a\r\nX: " for index in range(2**31 // 4096))
    outcome = read_requests(pieces, max_head_bytes=32768)
    assert (outcome.events, outcome.status) == ((), 431)
    assert 2**31 // 4096 - sum(1 for _ in pieces) == 9  # the start and 32 KiB: no more were taken


def test_limits_hold_for_every_request_of_a_connection():
    long = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 11 + b"\r\n"
    outcome = read_requests([GET + long], max_headers=10)
    assert (outcome.complete, outcome.status) == (1, 431)
    assert read_requests([GET + POST], max_head_bytes=len(GET)).status == 431


# Answers


def test_an_answer_is_a_head_its_data_and_an_end():
    parser = answer()
    assert not parser.started
    parser.receive_data(ANSWER)
    assert parser.started
    assert parser.next_event().status == 200
    assert parser.next_event() == Data(b"hello")
    assert parser.next_event() == END
    assert parser.next_event() is None
    parser.receive_eof()
    assert parser.next_event() is None
    assert parser.take_rest() == b""


def test_interim_answers_come_before_the_final_one_within_a_limit():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    outcome = read_answer([interim + ANSWER])
    assert [head.status for head in outcome.heads] == [100, 103, 200]
    assert read_answer(bytewise(interim + ANSWER)) == outcome
    many = b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM
    assert len(read_answer([many + ANSWER]).heads) == MAX_INTERIM + 1
    assert read_answer([many + many[:27] + ANSWER]).status == 502


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(method, head):
    outcome = read_answer([head + b"HTTP/1.1 200 OK\r\n\r\n"], method=method)
    assert (len(outcome.heads), outcome.complete, outcome.body) == (1, 1, b"")
    assert outcome.rest == b"HTTP/1.1 200 OK\r\n\r\n"


def test_bytes_behind_an_answer_can_be_seen_and_are_no_answer():
    parser = answer()
    parser.receive_data(ANSWER + ANSWER)
    assert parser.next_event().status == 200
    assert parser.take_rest() == b""
    assert (parser.next_event(), parser.next_event(), parser.next_event()) == (Data(b"hello"), END, None)
    assert parser.take_rest() == ANSWER
    parser.receive_data(b"x")
    assert parser.next_event() is None
    assert parser.take_rest() == b"x"


def test_bytes_behind_a_101_are_the_tunnel_s():
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    for pieces in ([raw + b"\x81\x00"], bytewise(raw + b"\x81\x00")):
        outcome = read_answer(pieces)
        assert (outcome.heads[0].status, outcome.complete, outcome.rest) == (101, 0, b"\x81\x00")


def test_a_200_with_upgrade_is_a_plain_answer():
    raw = ANSWER.replace(b"OK\r\n", b"OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    outcome = read_answer([raw + b"x"])
    assert (outcome.body, outcome.complete, outcome.rest) == (b"hello", 1, b"x")


def test_a_close_delimited_body_ends_with_the_connection():
    raw = b"HTTP/1.1 200 OK\r\n\r\n"
    outcome = read_answer([raw, b"hel", b"lo"], eof=True)
    assert (outcome.body, outcome.complete) == (b"hello", 1)
    assert read_answer([raw, b"hel"]).complete == 0
    assert read_answer([raw], eof=True).complete == 1


def test_a_chunked_answer_is_held_to_the_same_rules():
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
    outcome = read_answer([raw + b"x"])
    assert (outcome.body, outcome.rest) == (b"hello", b"x")
    assert outcome.events[-1] == EndOfMessage(Headers.from_pairs([(b"X", b"y")]))
    assert read_answer([raw.replace(b"5;", b"0x5;")]).status == 502


@pytest.mark.parametrize(
    ("raw", "retryable"),
    [
        (b"", True),
        (b"H", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (ANSWER[:-1], False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", False),
    ],
)
def test_an_upstream_that_closes_too_early_may_be_replaced_if_it_said_nothing(raw, retryable):
    parser = answer()
    parser.receive_data(raw)
    parser.receive_eof()
    with pytest.raises(ProxyError) as caught:
        list(iter(parser.next_event, None))
    error = caught.value
    assert (error.source, error.phase, error.reason, error.status) == (
        Source.UPSTREAM,
        Phase.RESPONSE,
        Reason.CLOSED,
        502,
    )
    assert error.retryable is retryable
    with pytest.raises(ProxyError):
        parser.next_event()


def test_what_came_before_the_end_is_read_before_it():
    parser = answer()
    parser.receive_data(ANSWER[:-1])
    parser.receive_eof()
    assert parser.next_event().status == 200
    assert parser.next_event() == Data(b"hell")
    with pytest.raises(ProxyError):
        parser.next_event()


def test_an_answer_s_head_is_bounded():
    assert read_answer([b"HTTP/1.1 200 OK\r\nA: " + b"a" * 40000]).status == 502
    assert read_answer([b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n"]).status == 502
    assert read_answer([b"HTTP/1.1 200 " + b"a" * 40000]).status == 502


@pytest.mark.rule("incomplete")
def test_an_end_that_may_be_an_attackers_ends_no_body_rfc_9112_9_8():
    parser = ResponseParser(method=b"GET", max_head_bytes=1000, max_headers=10)
    parser.receive_data(b"HTTP/1.1 200 OK\r\n\r\nperhaps not all")
    parser.receive_eof(truncated=True)
    assert parser.next_event().status == 200
    assert parser.next_event() == Data(b"perhaps not all")
    for _ in range(2):
        with pytest.raises(ProxyError, match="closed inside the answer"):
            parser.next_event()
