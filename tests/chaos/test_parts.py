"""What passes a hop, cut where a fault may act."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, MASK, PING, PONG, TEXT, frame

from trioproxy.chaos.parts import MOST_HEAD, Kind, Part, Splitter

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def parts(chunks, *, upgraded=True):
    """What a splitter makes of these reads and the end behind them."""
    splitter = Splitter()
    found = []
    for chunk in chunks:
        for part in splitter.split(chunk):
            if part.kind is Kind.HEAD:
                splitter.upgraded = upgraded
            found.append(part)
    return [*found, *splitter.rest()]


def test_a_head_then_frames_then_the_end():
    hello, ping, close = frame(TEXT, b"hello"), frame(PING, b"p"), frame(CLOSE, b"\x03\xe8")
    assert parts([HEAD + hello + ping + close]) == [
        Part(Kind.HEAD, HEAD),
        Part(Kind.FRAME, hello, TEXT, starts=True, ends=True),
        Part(Kind.FRAME, ping, PING, starts=True, ends=True),
        Part(Kind.FRAME, close, CLOSE, starts=True, ends=True),
        Part(Kind.END),
    ]


def test_a_long_frame_passes_as_it_comes():
    long = frame(BINARY, bytes(70_000))
    found = parts([HEAD, long[:5], long[5:20], long[20:]])[1:-1]
    assert [(len(part.data), part.starts, part.ends) for part in found] == [
        (20, True, False),  # not before its header is complete
        (len(long) - 20, False, True),
    ]
    assert {part.opcode for part in found} == {BINARY}


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
def test_a_control_frame_passes_in_one(opcode):
    whole = frame(opcode, b"x" * 100, mask=MASK)
    assert parts([HEAD, whole[:3], whole[3:50], whole[50:]])[1:-1] == [
        Part(Kind.FRAME, whole, opcode, starts=True, ends=True)
    ]


def test_without_an_upgrade_all_behind_the_head_is_body():
    assert parts([HEAD + b"abc", b"def"], upgraded=False)[1:] == [
        Part(Kind.BODY, b"abc"),
        Part(Kind.BODY, b"def"),
        Part(Kind.END),
    ]


def test_an_endless_head_passes_as_it_is():
    head = b"GET /".ljust(MOST_HEAD, b"x")
    found = parts([head, b"x"], upgraded=False)
    assert found == [Part(Kind.BODY, head + b"x"), Part(Kind.END)]


@pytest.mark.parametrize("data", [b"PING", b"get key\r\n", b"GET key\r\n", b"220 ready\r\n", b"\x16\x03\x01", b"\n"])
def test_what_is_not_http_does_not_wait_for_a_blank_line(data):
    assert list(Splitter().split(data)) == [Part(Kind.BODY, data)]


@pytest.mark.parametrize("head", [HEAD, b"OPTIONS * HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_is_one_whatever_the_reads(head):
    splitter = Splitter()
    found = [part for byte in head for part in splitter.split(bytes([byte]))]
    assert found == [Part(Kind.HEAD, head)]


def test_what_came_no_further_passes_before_the_end():
    assert parts([HEAD, frame(PING, b"abc")[:3]])[1:] == [Part(Kind.BODY, frame(PING, b"abc")[:3]), Part(Kind.END)]


@pytest.mark.parametrize(("status", "opens"), [(b"101", True), (b"200", False), (b"503", False)])
def test_an_upgrade_is_told_by_its_status(status, opens):
    assert Part(Kind.HEAD, b"HTTP/1.1 %s Words\r\n\r\n" % status).is_upgrade is opens
    assert not Part(Kind.BODY, HEAD).is_upgrade


@given(st.data())
def test_nothing_is_lost_whatever_the_reads_and_boundaries_are_between_frames(data):
    sizes = st.sampled_from([0, 1, 125, 126, 200, 65_535, 65_536])
    opcodes = st.sampled_from([TEXT, BINARY, 0])
    masks = st.sampled_from([None, MASK])
    frames = data.draw(
        st.lists(st.builds(lambda o, n, m: frame(o, bytes(n), mask=m), opcodes, sizes, masks), max_size=4)
    )
    whole = HEAD + b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    splitter, passed, ends = Splitter(), b"", set()
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        for part in splitter.split(whole[start:stop]):
            splitter.upgraded = True
            passed += part.data
            if splitter.boundary:
                ends.add(len(passed))
    assert passed == whole
    assert splitter.boundary
    assert ends == {len(HEAD) + sum(map(len, frames[:count])) for count in range(len(frames) + 1)}
