"""The shared counts: what follows from the cells, and that round trips do not pile up."""

from __future__ import annotations

from trioproxy.wire.traffic import (
    BYTES,
    INJECTED,
    LONGER,
    MESSAGE_SIZES,
    OCTETS,
    UNFINISHED,
    UNREAD,
    Traffic,
    UpstreamTraffic,
)


def test_a_new_tally_has_counted_nothing():
    traffic = Traffic()
    assert (traffic.frames, traffic.injected) == ([0] * 16, [0] * 16)
    assert (traffic.messages, traffic.octets, traffic.bytes) == (0, 0, 0)
    assert traffic.sizes == (0,) * (len(MESSAGE_SIZES) + 1)


def test_cells_are_read_by_their_names():
    traffic = Traffic()
    traffic.cells[2], traffic.cells[10], traffic.cells[INJECTED + 9] = 5, 1, 2
    traffic.cells[OCTETS], traffic.cells[BYTES] = 300, 400
    assert (traffic.frames[2], traffic.frames[10], traffic.injected[9]) == (5, 1, 2)
    assert (traffic.octets, traffic.bytes) == (300, 400)


def test_messages_are_data_frames_that_ended_one():
    traffic = Traffic()
    traffic.cells[0:3] = [2, 3, 4]
    traffic.cells[8:11] = [1, 1, 1]
    traffic.cells[UNFINISHED] = 4
    assert traffic.messages == 5


def test_messages_that_are_not_longer_are_within_the_first_size():
    traffic = Traffic()
    traffic.cells[1], traffic.cells[LONGER], traffic.cells[BYTES - 1] = 6, 2, 1
    assert traffic.sizes == (3, 2, *[0] * (len(MESSAGE_SIZES) - 2), 1)


def test_round_trips_are_taken_once_and_the_oldest_give_way():
    traffic = Traffic()
    for number in range(UNREAD + 3):
        traffic.add_round_trip(float(number))
    taken = traffic.take_round_trips()
    assert (taken[0], taken[-1], len(taken)) == (3.0, UNREAD + 2.0, UNREAD)
    assert traffic.take_round_trips() == []


def test_the_directions_of_one_upstream_count_apart():
    traffic = UpstreamTraffic()
    traffic.to_upstream.cells[1] = 1
    assert traffic.to_client.frames[1] == 0
