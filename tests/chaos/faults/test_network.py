"""Faults of the network, one by one, as they change what passes; `test_hop` has them over sockets."""

import pytest
from support.chaos import RecordingLink, RecordingWay, frame_part

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.faults.base import Opening
from trioproxy.chaos.parts import Cut, Kind, Part

HELLO = b"\x81\x05hello"


def passing(name, part, way=None, **settings):
    return list(FAULTS[name](**settings).passing(way or RecordingWay(), part))


def test_latency_delays_everything_by_as_much_as_it_says_and_jitter_more_or_less():
    assert passing("latency", frame_part(HELLO), delay=0.25) == [frame_part(HELLO, lag=0.25)]
    way = RecordingWay()
    lags = {passing("latency", Part(Kind.END), way, delay=0.1, jitter=0.2)[0].lag for _ in range(100)}
    assert len(lags) > 50
    assert min(lags) == 0
    assert 0.25 < max(lags) <= 0.3


def test_bandwidth_is_a_gap_for_every_byte():
    assert passing("bandwidth", frame_part(HELLO), rate=70) == [frame_part(HELLO, gap=0.1)]


def test_the_slicer_cuts_into_pieces_that_are_together_the_same():
    pieces = passing("slicer", frame_part(HELLO, cut=Cut.RESET, gap=0.5), size=3, gap=0.1)
    assert [(p.data, p.starts, p.ends, p.gap, p.cut) for p in pieces] == [
        (HELLO[:3], True, False, 0.5, None),
        (HELLO[3:6], False, False, 0.1, None),
        (HELLO[6:], False, True, 0.1, Cut.RESET),
    ]
    assert passing("slicer", Part(Kind.END)) == [Part(Kind.END)]


def test_the_slicer_has_a_bound():
    pieces = passing("slicer", Part(Kind.BODY, bytes(65_536)), size=1)
    assert len(pieces) == 1024
    assert sum(len(piece.data) for piece in pieces) == 65_536


def test_a_blackhole_holds_back_what_passes_while_it_is_on():
    fault = FAULTS["blackhole"]()
    (held,) = fault.passing(RecordingWay(), frame_part(HELLO))
    assert held.held_by == (fault,)


def test_a_machine_that_vanished_loses_everything_and_knows_nothing_when_it_is_back():
    assert passing("half-open", frame_part(HELLO)) == passing("half-open", Part(Kind.END)) == []
    link = RecordingLink()
    FAULTS["half-open"]().release(link)
    assert link.resets == 1


def test_a_reset_hits_what_is_open_and_what_comes():
    link = RecordingLink()
    fault = FAULTS["reset"]()
    fault.strike(link)
    assert link.resets == 1
    assert fault.opening is Opening.RESET


def test_refusing_is_for_what_comes_alone():
    link = RecordingLink()
    fault = FAULTS["refuse"]()
    fault.strike(link)
    assert link.resets == 0
    assert (fault.opening, fault.harms) == (Opening.REFUSE, False)


def test_a_slow_close_delays_the_end_and_nothing_else():
    assert passing("slow-close", Part(Kind.END), delay=3) == [Part(Kind.END, lag=3)]
    assert passing("slow-close", frame_part(HELLO), delay=3) == [frame_part(HELLO)]


def test_a_half_close_ends_the_way_to_the_client():
    link = RecordingLink()
    FAULTS["half-close"]().strike(link)
    assert [way.done for way in link.ways] == [[], ["finish"]]


@pytest.mark.parametrize(("chance", "hit"), [(0, False), (1, True)])
def test_corruption_flips_one_bit_where_chance_has_it(chance, hit):
    (part,) = passing("corrupt", frame_part(HELLO), chance=chance)
    flipped = int.from_bytes(part.data, "big") ^ int.from_bytes(HELLO, "big")
    assert flipped.bit_count() == hit
    assert len(part.data) == len(HELLO)


def test_corruption_leaves_heads_alone_unless_it_is_told_otherwise():
    head = Part(Kind.HEAD, b"HTTP/1.1 101 x\r\n\r\n")
    assert passing("corrupt", head, chance=1) == [head]
    assert passing("corrupt", head, chance=1, heads=True) != [head]
    assert passing("corrupt", Part(Kind.END), chance=1, heads=True) == [Part(Kind.END)]
