"""The scanner against wsproto's frame decoder: the same frames up to the end or the refusal.

A stream is what a well-behaved endpoint sends. In some, one byte of one header is then changed, or the end is missing.
Only headers are compared: what is wrong with a payload (UTF-8, the reason in a Close) is no business of a proxy, and
neither of the two looks at it here.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, frame
from support.fuzz import FACTOR, examples
from wsproto.frame_protocol import FrameDecoder, ParseFailed

from trioproxy.wire.websocket import FrameScanner

STREAMS = 20_000 * min(FACTOR, 5)  # 100,000 where there is time

OPCODES = [TEXT, BINARY, BINARY, PING, PONG, CLOSE]
SIZES = [0, 1, 2, 3, 125, 126, 127, 300, 65535, 65536]


def stream(pieces, mask, change):
    """`pieces` are (opcode, size, fin); `change` is (which frame, which byte of it, what to XOR) or None."""
    data, inside = bytearray(), False
    for number, (opcode, size, fin) in enumerate(pieces):
        if opcode >= CLOSE:
            sent = frame(opcode, bytes(min(size, 125)), mask=mask)
        else:
            sent = frame(CONTINUATION if inside else opcode, bytes(size), fin=fin, mask=mask)
            inside = not fin
        start = len(data)
        data += sent
        if change and change[0] == number:
            data[start + min(change[1], len(sent) - 1)] ^= change[2]
    return bytes(data)


def by_scanner(data, *, masked):
    """(opcode, offset behind it) of all complete frames up to the first Close, what breaks the next, bytes held then."""
    it = FrameScanner(masked=masked, strict=True, extensions=False)
    found, held, at, before, opcode = [], b"", 0, [0] * 16, None
    while at < len(data) and not it.finished:
        size = max(it.left, 1)  # so that no two frames end in one call
        buffer, at = held + data[at : at + size], at + size
        held = buffer[it.scan(buffer, 0, len(buffer)) :]
        if it.traffic.frames != before:
            opcode = next(each for each in range(16) if it.traffic.frames[each] > before[each])
            before = list(it.traffic.frames)
        if opcode is not None and not it.left and not held:
            found.append((opcode, min(at, len(data))))
            opcode = None
    return found, it, len(held)


def by_wsproto(data, *, masked):
    """The same; wsproto's frame decoder leaves it to another class to see that messages are continued."""
    decoder = FrameDecoder(client=not masked, extensions=[])
    found, begun, inside, at, size = [], None, False, 0, 0
    decoder.receive_bytes(data)
    try:
        while not (found and found[-1][0] == CLOSE) and (part := decoder.process_buffer()) is not None:
            size += len(part.payload)
            if begun is None:
                begun = int(part.opcode)
                if begun < CLOSE:
                    if inside != (begun == CONTINUATION):
                        raise ParseFailed("continuation")
                    inside = not part.message_finished
            if part.frame_finished:
                at += size + (2 if size < 126 else 4 if size < 65536 else 10) + (4 if masked else 0)
                found.append((begun, at))
                begun, size = None, 0
    except ParseFailed as refused:
        return found, str(refused)
    return found, ""


def is_part_of_header(held):
    """Whether the scanner waits for more of a header; a length is judged when the mask behind it is there."""
    lengths = {126: 2, 127: 8}
    return 2 <= len(held) < 2 + lengths.get(held[1] & 127, 0) + (4 if held[1] & 128 else 0)


def assert_agreement(data, *, masked):
    """Returns whether all of the stream was valid."""
    frames, it, held = by_scanner(data, masked=masked)
    expected, refused = by_wsproto(data, masked=masked)
    assert frames == expected
    if refused:  # of a stream cut inside a header, perhaps for a length that stands before the cut
        assert it.breach or is_part_of_header(data[len(data) - held :])
    elif it.breach:  # it need not wait for the whole header
        assert held < 14
    at_once = FrameScanner(masked=masked, strict=True, extensions=False)
    at_once.scan(data, 0, len(data))
    assert at_once.traffic.cells == it.traffic.cells
    assert sum(it.traffic.frames) == it.frames
    for name in ("messages", "left", "close_code", "breach", "finished"):
        assert getattr(at_once, name) == getattr(it, name), name
    return not it.breach


PIECES = st.lists(st.tuples(st.sampled_from(OPCODES), st.sampled_from(SIZES), st.booleans()), max_size=8)
CHANGES = st.none() | st.tuples(st.integers(0, 7), st.integers(0, 13), st.integers(1, 255))


@given(pieces=PIECES, change=CHANGES, masked=st.booleans())
@examples(500)
def test_it_agrees_with_wsproto_on_frames_and_refusals(pieces, change, masked):
    assert_agreement(stream(pieces, MASK if masked else None, change), masked=masked)


@pytest.mark.slow
def test_it_agrees_with_wsproto_on_very_many_streams():
    seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")  # noqa: T201 -- shown with a failure; SEED repeats it
    chance, valid = random.Random(seed), 0
    weights = [9, 9, 9, 9, 9, 9, 9, 9, 1, 1]  # the two large ones cost the most and say the same each time
    for number in range(STREAMS):
        count = chance.randint(1, 8)
        pieces = list(
            zip(
                chance.choices(OPCODES[: 6 if chance.random() < 0.3 else 5], k=count),
                chance.choices(SIZES, weights, k=count),
                chance.choices([True, False], k=count),
                strict=True,
            )
        )
        change = (chance.randrange(count), chance.choice((0, 0, 1, 1, chance.randint(2, 13))), 1 << chance.randrange(8))
        masked = chance.random() < 0.5
        data = stream(pieces, MASK if masked else None, change if number % 2 else None)
        if chance.random() < 0.2:
            data = data[: chance.randrange(len(data))]
        try:
            valid += assert_agreement(data, masked=masked)
        except AssertionError:
            print(f"stream {number}: {pieces} {change} masked={masked} {len(data)} bytes")  # noqa: T201
            raise
    print(f"{STREAMS} streams, {valid} valid to their end")  # noqa: T201
    assert valid >= STREAMS / 2
