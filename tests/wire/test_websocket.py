from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, CONTINUATION, MASK, PING, PONG, TEXT, frame
from wsproto.frame_protocol import FrameDecoder, ParseFailed

from trioproxy.wire.websocket import MAX_HELD, NO_CODE, FrameScanner, close_frame, ping_frame


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
    assert (it.frames[BINARY], it.frames[PING], it.frames[TEXT], it.messages, it.left) == (1, 1, 1, 2, 0)


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
    assert it.frames == [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert it.messages == 2


def test_a_frame_counts_with_its_header_and_a_message_with_its_last_byte():
    it, sent = scanner(), frame(TEXT, b"hello", mask=MASK)
    assert it.scan(sent, 0, 5) == 0
    assert it.frames[TEXT] == 0
    assert it.scan(sent, 0, 6) == 6
    assert (it.frames[TEXT], it.messages, it.left) == (1, 0, 5)
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
    assert (it.close_code, it.frames[CLOSE], it.frames[TEXT], it.finished, it.breach) == (code, 1, 1, True, "")


def test_an_incomplete_close_frame_counts_and_is_held():
    it, sent = scanner(), frame(CLOSE, b"\x03\xe8reason", mask=MASK)
    assert it.scan(sent, 0, 7) == it.scan(sent, 0, 9) == 0
    assert (it.frames[CLOSE], it.close_code, it.left) == (1, None, 0)
    assert it.scan(sent, 0, len(sent)) == len(sent)
    assert (it.frames[CLOSE], it.close_code) == (1, 1000)


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
    assert it.frames[CLOSE] == 4


def test_a_length_of_2_to_the_63_allocates_nothing():
    it = scanner(strict=False)
    sent = b"\x82\xff" + b"\xff" * 8 + MASK
    assert it.scan(sent, 0, len(sent)) == len(sent)
    assert it.left == 2**64 - 1


def test_frames_of_our_own_are_what_an_endpoint_expects():
    assert close_frame(1001) == frame(CLOSE, b"\x03\xe9")
    assert close_frame(1011, mask=MASK) == frame(CLOSE, b"\x03\xf3", mask=MASK)
    assert ping_frame(b"12345678") == frame(PING, b"12345678")
    assert ping_frame(b"12345678", mask=MASK) == frame(PING, b"12345678", mask=MASK)


# Against another implementation. A stream is what a well-behaved endpoint sends; half of the time one byte of one header
# is then changed.

PIECES = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY, BINARY, PING, PONG, CLOSE]),
        st.sampled_from([0, 1, 2, 3, 125, 126, 127, 300, 65535, 65536]),
        st.booleans(),
    ),
    max_size=8,
)
CHANGES = st.none() | st.tuples(st.integers(0, 7), st.integers(0, 13), st.integers(1, 255))


def stream(pieces, mask, change):
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
    """The opcodes of all complete frames up to the first Close, and what is wrong with the next one."""
    it, found, held, at = scanner(masked=masked), [], b"", 0
    before = [0] * 16
    while at < len(data) and not it.finished:
        size = max(it.left, 1)  # so that no two frames end in one call
        buffer, at = held + data[at : at + size], at + size
        held = buffer[it.scan(buffer, 0, len(buffer)) :]
        found += [opcode for opcode in range(16) if it.frames[opcode] > before[opcode]]
        before = list(it.frames)
    complete = found if not it.left and (it.close_code is not None or CLOSE not in found) else found[:-1]
    return complete, it.breach, len(held)


def by_wsproto(data, *, masked):
    """The same; wsproto's frame decoder leaves it to another class to see that messages are continued."""
    decoder, found, begun, inside = FrameDecoder(client=not masked, extensions=[]), [], None, False
    decoder.receive_bytes(data)
    try:
        while CLOSE not in found and (part := decoder.process_buffer()) is not None:
            if begun is None:
                begun = int(part.opcode)
                if begun < CLOSE:
                    if inside != (begun == CONTINUATION):
                        raise ParseFailed("continuation")
                    inside = not part.message_finished
            if part.frame_finished:
                found.append(begun)
                begun = None
    except ParseFailed as refused:
        return found, str(refused)
    return found, ""


@given(pieces=PIECES, change=CHANGES, masked=st.booleans())
@settings(max_examples=500, deadline=None)
def test_it_agrees_with_wsproto_on_frames_and_refusals(pieces, change, masked):
    data = stream(pieces, MASK if masked else None, change)
    frames, breach, held = by_scanner(data, masked=masked)
    expected, refused = by_wsproto(data, masked=masked)
    assert frames == expected
    if refused:
        assert breach
    elif breach:  # it need not wait for the whole header
        assert held < 14
