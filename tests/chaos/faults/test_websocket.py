"""Faults of upstreams that speak WebSocket, as they change what passes; `test_hop` has them over sockets."""

import pytest
from support.chaos import ANSWER, RecordingLink, RecordingWay, frame_part
from support.frames import PING, PONG, TEXT, frame
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.faults.websocket import Malformed
from trioproxy.chaos.parts import Cut, Kind, Part

HEAD = Part(Kind.HEAD, ANSWER)
TO_UPSTREAM, TO_CLIENT = RecordingWay(to_client=False), RecordingWay()


def passing(name, part, way=TO_CLIENT, **settings):
    return list(FAULTS[name](**settings).passing(way, part))


def put_in(name, **settings):
    """What a fault puts into an open tunnel, and the link it was."""
    link = RecordingLink()
    FAULTS[name](**settings).strike(link)
    assert not link.ways[0].parts
    return link.ways[1].parts, link


def frames(parts):
    """As a client reads them with wsproto, which raises where one is broken."""
    protocol = FrameProtocol(client=True, extensions=[])
    for part in parts:
        protocol.receive_bytes(part.data)
    return [(frame.opcode, frame.payload) for frame in protocol.received_frames()]


def test_an_upgrade_is_refused_with_a_status():
    (part,) = passing("refuse-upgrade", HEAD, status=503)
    assert part.data.startswith(b"HTTP/1.1 503 ")
    assert part.data.endswith(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert part.cut is Cut.CLOSE


@pytest.mark.parametrize("name", ["refuse-upgrade", "wrong-accept"])
def test_nothing_but_the_answer_to_an_upgrade_is_changed(name):
    other = Part(Kind.HEAD, b"HTTP/1.1 200 OK\r\nSec-WebSocket-Accept: right\r\n\r\n")
    hello = frame_part(frame(TEXT, b"hello"))
    assert [passing(name, part) for part in (other, hello)] == [[other], [hello]]
    assert passing(name, HEAD, TO_UPSTREAM) == [HEAD]


def test_a_wrong_accept_stands_in_place_of_the_right_one():
    (part,) = passing("wrong-accept", HEAD)
    assert part.data == ANSWER.replace(b"right", b"A" * 27 + b"=")


def test_a_silent_upstream_sends_its_101_and_no_frame_either_way():
    hello = frame_part(frame(TEXT, b"hello"))
    assert passing("silent", HEAD) == [HEAD]
    assert passing("silent", hello) == passing("silent", hello, TO_UPSTREAM) == []
    link = RecordingLink()
    FAULTS["silent"]().release(link)
    assert link.resets == 1


def test_without_pongs_all_else_passes():
    ping, pong = frame_part(frame(PING, b"x")), frame_part(frame(PONG, b"x"))
    assert passing("no-pongs", pong) == []
    assert passing("no-pongs", ping) == [ping]
    assert passing("no-pongs", pong, TO_UPSTREAM) == [pong]


def test_a_close_has_its_code_and_is_the_last_word():
    parts, link = put_in("close", code=4321)
    assert frames(parts) == [(Opcode.CLOSE, (4321, ""))]
    assert link.ways[1].done == ["mute"]


def test_a_cut_in_a_frame_comes_before_the_end_of_one():
    (part,), _ = put_in("cut-in-frame")
    assert part.cut is Cut.RESET
    assert 0 < len(part.data) < 2 + part.data[1]


@pytest.mark.parametrize(
    "kind",
    [
        "reserved-bit",
        "reserved-opcode",
        "masked",
        "fragmented-control",
        "long-control",
        "length-not-minimal",
        "length-above-63-bits",
    ],
)
def test_a_malformed_frame_breaks_a_rule(kind):
    parts, _ = put_in("malformed", kind=kind)
    with pytest.raises(ParseFailed):
        frames(parts)


def test_a_continuation_of_nothing_is_one():
    ((part,), _) = put_in("malformed", kind="continuation-of-nothing")
    assert part.data[0] & 15 == 0
    assert Malformed().kind == "reserved-bit"


def test_an_oversized_message_is_as_long_as_it_says():
    parts, _ = put_in("oversized", size=300_000)
    (found,) = frames(parts)
    assert found == (Opcode.BINARY, bytes(300_000))


def test_a_flood_is_many_messages():
    parts, _ = put_in("flood", messages=1000, size=7)
    assert frames(parts) == [(Opcode.BINARY, bytes(7))] * 1000
