from __future__ import annotations

import pytest
from support.frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, frame

from trioproxy.wire.traffic import MESSAGE_SIZES
from trioproxy.wire.websocket import (
    MAX_HELD,
    NO_CODE,
    TOO_LARGE,
    TOO_MANY,
    FrameScanner,
    close_frame,
    ping_frame,
)


def scanner(*, masked=True, strict=True, extensions=False):
    return FrameScanner(masked=masked, strict=strict, extensions=extensions)


def scan(it, data, chunk=1 << 30):
    """Feed it in chunks as a relay would; returns what it let pass."""
    passed, held = b"", b""
    while data:
        buffer, data = held + data[:chunk], data[chunk:]
        end = it.scan(buffer, 0, len(buffer))
        passed += buffer[:end]
        held = b"" if it.finished else buffer[end:]
        assert len(held) <= MAX_HELD
    return passed


CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 30])


@CHUNKS
@pytest.mark.parametrize("mask", [MASK, None])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536])
def test_frames_of_every_length_pass_and_count(mask, size, chunk):
    it = scanner(masked=bool(mask))
    sent = frame(BINARY, bytes(size), mask=mask) + frame(PING, b"?", mask=mask) + frame(TEXT, b"x", mask=mask)
    assert scan(it, sent, max(chunk, size // 100)) == sent
    assert (it.traffic.frames[BINARY], it.traffic.frames[PING], it.traffic.frames[TEXT], it.messages, it.left) == (
        1,
        1,
        1,
        2,
        0,
    )


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("mask", [MASK, None])
@pytest.mark.parametrize(
    "sent",
    [
        *((bytes([0x82, 126]) + size.to_bytes(2, "big"), size) for size in (126, 127, 1024, 1025)),
        (bytes([0x82, 126, 0, 125]), 125),  # could be said shorter
        (bytes([0x02, 126, 0, 200]), 200),  # not the last frame of its message
        (bytes([0x80, 126, 0, 200]), 200),  # a continuation of nothing
        (bytes([0x89, 126, 0, 200]), 200),  # a Ping
        (bytes([0xC2, 126, 0, 200]), 200),  # a reserved bit
    ],
    ids=lambda sent: f"{sent[0].hex()}",
)
def test_a_frame_counts_the_same_in_one_read_as_in_pieces(sent, mask, strict):
    head, size = sent
    if mask:
        head = bytes([head[0], head[1] | 0x80, *head[2:]]) + mask
    stream = frame(TEXT, b"x", mask=mask) + (head + bytes(size)) * 2
    for length in (*range(len(stream) - size - 6, len(stream) - size + 1), len(stream) - 1, len(stream)):
        whole, pieces = (scanner(masked=bool(mask), strict=strict) for _ in range(2))
        assert scan(whole, stream[:length]) == scan(pieces, stream[:length], 1)
        assert whole.traffic.cells == pieces.traffic.cells
        assert (whole.messages, whole.frames, whole.left, whole.breach) == (
            pieces.messages,
            pieces.frames,
            pieces.left,
            pieces.breach,
        )


@CHUNKS
def test_a_fragmented_message_is_one_message_and_may_hold_control_frames(chunk):
    it = scanner()
    sent = (
        frame(TEXT, b"a", fin=False, mask=MASK)
        + frame(PONG, b"", mask=MASK)
        + frame(CONTINUATION, b"b", fin=False, mask=MASK)
        + frame(CONTINUATION, b"c", mask=MASK)
        + frame(BINARY, b"d", mask=MASK)
    )
    assert scan(it, sent, chunk) == sent
    assert it.traffic.frames == [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert it.messages == 2


def test_a_frame_counts_with_its_header_and_a_message_with_its_last_byte():
    it, sent = scanner(), frame(TEXT, b"hello", mask=MASK)
    assert it.scan(sent, 0, 5) == 0
    assert it.traffic.frames[TEXT] == 0
    assert it.scan(sent, 0, 6) == 6
    assert (it.traffic.frames[TEXT], it.messages, it.left) == (1, 0, 5)
    assert it.scan(sent, 6, 10) == 10
    assert (it.messages, it.left) == (0, 1)
    assert it.scan(sent, 10, 11) == 11
    assert (it.messages, it.left) == (1, 0)


def test_a_caller_may_count_a_payload_down_by_itself():
    it, sent = scanner(masked=False), frame(BINARY, bytes(1000))
    assert it.scan(sent, 0, 10) == 10
    it.left -= 900
    assert it.scan(sent, 910, 1004) == 1004
    assert it.messages == 1


@CHUNKS
@pytest.mark.parametrize("mask", [MASK, None])
@pytest.mark.parametrize(
    ("payload", "code"), [(b"", NO_CODE), (b"\x03", NO_CODE), (b"\x03\xe8", 1000), (b"\x0f\xa0bye", 4000)]
)
def test_a_close_frame_passes_whole_with_its_code_and_ends_the_direction(mask, payload, code, chunk):
    it = scanner(masked=bool(mask))
    sent = frame(TEXT, b"x", mask=mask) + frame(CLOSE, payload, mask=mask)
    assert scan(it, sent + frame(TEXT, b"more", mask=mask) + b"\xff", chunk) == sent
    assert (it.close_code, it.traffic.frames[CLOSE], it.traffic.frames[TEXT], it.finished, it.breach) == (
        code,
        1,
        1,
        True,
        "",
    )


def test_an_incomplete_close_frame_counts_and_is_held():
    it, sent = scanner(), frame(CLOSE, b"\x03\xe8reason", mask=MASK)
    assert it.scan(sent, 0, 7) == it.scan(sent, 0, 9) == 0
    assert (it.traffic.frames[CLOSE], it.close_code, it.left) == (1, None, 0)
    assert it.scan(sent, 0, len(sent)) == len(sent)
    assert (it.traffic.frames[CLOSE], it.close_code) == (1, 1000)


BREACHES = [
    ("unmasked frame", frame(TEXT, b"x")),
    ("reserved bit set", frame(TEXT, b"x", rsv=1, mask=MASK)),
    ("unknown opcode 3", frame(3, mask=MASK)),
    ("unknown opcode 15", frame(15, mask=MASK)),
    ("fragmented control frame", frame(PING, fin=False, mask=MASK)),
    ("fragmented control frame", frame(CLOSE, fin=False, mask=MASK)),
    ("control frame above 125 bytes", frame(PONG, bytes(126), mask=MASK)),
    ("control frame above 125 bytes", frame(CLOSE, bytes(70000), mask=MASK)),
    ("length not minimal", b"\x82\xfe\0\x7d" + MASK),
    ("length not minimal", b"\x82\xff" + bytes(6) + b"\xff\xff" + MASK),
    ("length of 2^63 or more", b"\x82\xff\x80" + bytes(7) + MASK),
    ("continuation of no message", frame(CONTINUATION, mask=MASK)),
]


@CHUNKS
@pytest.mark.parametrize(("breach", "bad"), BREACHES)
@pytest.mark.rule("frames-strict")
def test_a_broken_rule_stops_at_the_frame_boundary(breach, bad, chunk):
    it, good = scanner(), frame(BINARY, b"fine", mask=MASK)
    assert scan(it, good + bad + good, chunk) == good
    assert (it.breach, it.finished, it.left) == (breach, True, 0)
    assert it.scan(good, 0, len(good)) == 0


def test_a_server_may_not_mask_nor_start_a_message_inside_a_message():
    it = scanner(masked=False)
    assert scan(it, frame(TEXT, mask=MASK)) == b""
    assert it.breach == "masked frame"
    it, good = scanner(masked=False), frame(TEXT, fin=False)
    assert scan(it, good + frame(BINARY)) == good
    assert it.breach == "new message inside a message"


def test_an_extension_may_use_the_reserved_bits():
    it, sent = scanner(extensions=True), frame(TEXT, b"x", rsv=4, fin=False, mask=MASK)
    sent += frame(CONTINUATION, b"y", rsv=3, mask=MASK)
    assert scan(it, sent) == sent
    assert it.messages == 1


@CHUNKS
def test_without_strict_only_the_lengths_matter(chunk):
    it = scanner(strict=False)
    sent = b"".join(bad for name, bad in BREACHES if "2^63" not in name)
    sent = sent.replace(b"\x82\xfe\0\x7d" + MASK, b"\x82\xfe\0\x7d" + MASK + bytes(125))
    sent = sent.replace(b"\xff\xff" + MASK, b"\xff\xff" + MASK + bytes(65535))
    sent += frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"behind") + frame(CLOSE, b"\x03\xe9", mask=MASK)
    assert scan(it, sent, max(chunk, 1)) == sent
    assert (it.breach, it.finished, it.left, it.close_code) == ("", False, 0, NO_CODE)  # that of the empty, odd one
    assert it.traffic.frames[CLOSE] == 4


@pytest.mark.rule("frame-length")
def test_a_length_of_2_to_the_63_allocates_nothing():
    it = scanner(strict=False)
    sent = b"\x82\xff" + b"\xff" * 8 + MASK
    assert it.scan(sent, 0, len(sent)) == len(sent)
    assert it.left == 2**64 - 1


@CHUNKS
@pytest.mark.parametrize("limit", [1, 30, 125, 126, 1000])
@pytest.mark.parametrize("strict", [True, False])
def test_a_message_above_the_limit_is_refused_from_headers_alone(limit, strict, chunk):
    good = frame(TEXT, bytes(limit), mask=MASK) + frame(PING, bytes(125), mask=MASK)
    good += frame(BINARY, bytes(limit - 1), fin=False, mask=MASK) + frame(PONG, b"?", mask=MASK)
    for bad in (frame(CONTINUATION, bytes(2), mask=MASK), frame(CONTINUATION, bytes(2), fin=False, mask=MASK)):
        it = FrameScanner(masked=True, strict=strict, extensions=False, limit=limit)
        assert scan(it, good + bad[:6], chunk) == good
        assert (it.breach, it.finished, it.messages, it.traffic.octets) == (TOO_LARGE, True, 1, limit)
    it = FrameScanner(masked=True, strict=strict, extensions=False, limit=limit)
    head = frame(TEXT, bytes(limit + 1), mask=MASK)[: 6 if limit < 125 else 8]
    assert scan(it, head, chunk) == b""
    assert it.breach == TOO_LARGE


class Tickets:
    def __init__(self, count):
        self.count = count
        self.seen = []

    def refill(self, now):
        self.count += now

    def take(self, opcode):
        self.seen.append(opcode)
        return len(self.seen) <= self.count


@CHUNKS
@pytest.mark.parametrize("last", [TEXT, PING, PONG])
@pytest.mark.parametrize("awaited", [(), (b"ours",)])
def test_an_allowance_is_asked_once_for_each_frame_but_close_and_our_pongs(chunk, last, awaited):
    tickets = Tickets(7)
    it = FrameScanner(masked=True, strict=True, extensions=False, allowance=tickets)
    it.awaited = awaited
    long = frame(BINARY, bytes(300), mask=MASK)
    parts = frame(TEXT, b"a", fin=False, mask=MASK) + frame(PING, mask=MASK) + frame(CONTINUATION, b"b", mask=MASK)
    good = long + parts + frame(TEXT, b"c", mask=MASK) * 2 + frame(PONG, b"theirs", mask=MASK)
    assert scan(it, good + frame(last, b"d", mask=MASK), chunk) == good
    assert (it.breach, it.messages) == (TOO_MANY, 4)
    assert tickets.seen == [BINARY, TEXT, PING, CONTINUATION, TEXT, TEXT, PONG, last]


@CHUNKS
def test_a_close_needs_no_allowance(chunk):
    it = FrameScanner(masked=True, strict=True, extensions=False, allowance=Tickets(0))
    close = frame(CLOSE, b"\x03\xe8", mask=MASK)
    assert scan(it, close, chunk) == close
    assert (it.breach, it.close_code) == ("", 1000)


@CHUNKS
def test_messages_count_by_size_when_they_are_complete(chunk):
    it = scanner(masked=False)
    sizes = [0, 125, 126, 1024, 1025, 4096, 4097, 16384, 65537]
    sent = b"".join(frame(BINARY, bytes(size)) for size in sizes)
    sent += frame(TEXT, bytes(100), fin=False) + frame(PING, bytes(99)) + frame(CONTINUATION, bytes(26))
    assert scan(it, sent + frame(BINARY, bytes(300))[:-1], max(chunk, 10)) == sent + frame(BINARY, bytes(300))[:-1]
    assert it.traffic.sizes == (2, 3, 2, 2, 0, 1, 0, 0, 0, 0, 0)
    assert (sum(it.traffic.sizes), it.traffic.octets) == (it.messages, sum(sizes) + 126)


@pytest.mark.parametrize("size", [0, 125, 126, 1023, 1024, 1025, *(4**n + d for n in range(6, 15) for d in (0, 1))])
def test_every_size_falls_between_its_bounds(size):
    it = scanner(masked=False)
    it._complete(size)
    longer = it.traffic.sizes[1:]
    above = longer.index(1) + 1 if any(longer) else 0
    assert above == sum(size > bound for bound in MESSAGE_SIZES)


@CHUNKS
@pytest.mark.parametrize("mask", [MASK, None])
@pytest.mark.rule("own-pings")
def test_an_awaited_pong_is_told_from_any_other(mask, chunk):
    it = scanner(masked=bool(mask))
    it.awaited = (b"12345678", b"abcdefgh")
    ours = frame(PONG, b"abcdefgh", mask=mask)
    before = frame(TEXT, b"x", mask=mask) + frame(PONG, b"abcdefg", mask=mask) + frame(PONG, mask=mask)
    rest, held, passed = before + ours, b"", b""
    while not it.pong:
        buffer, rest = held + rest[:chunk], rest[chunk:]
        end = it.scan(buffer, 0, len(buffer))
        passed, held = passed + buffer[:end], buffer[end:]
        assert len(held) <= MAX_HELD
    assert (passed, it.traffic.frames[PONG]) == (before, 2), "ours is not counted"
    assert it.take_pong() == (b"abcdefgh", len(ours))
    assert held[: len(ours)] == ours
    it.awaited = ()
    assert scan(it, ours, chunk) == ours
    assert it.traffic.frames[PONG] == 3


def test_a_pong_with_the_wrong_mask_answers_nothing():
    it = scanner(strict=False)
    it.awaited = (b"12345678",)
    sent = frame(PONG, b"12345678")
    assert it.scan(sent, 0, len(sent)) == len(sent)
    assert (it.pong, it.traffic.frames[PONG]) == (b"", 1)


@pytest.mark.rule("injection", "close-codes")
def test_frames_of_our_own_are_what_an_endpoint_expects():
    assert close_frame(1001) == frame(CLOSE, b"\x03\xe9")
    assert close_frame(1011, mask=MASK) == frame(CLOSE, b"\x03\xf3", mask=MASK)
    assert ping_frame(b"12345678") == frame(PING, b"12345678")
    assert ping_frame(b"12345678", mask=MASK) == frame(PING, b"12345678", mask=MASK)
