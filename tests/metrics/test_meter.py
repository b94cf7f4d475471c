"""What the tunnels of an upstream counted reaches the metrics exactly, however often it is carried over."""

from __future__ import annotations

import pytest

from trioproxy.metrics import (
    BYTES,
    FRAMES,
    INJECTED_FRAMES,
    MESSAGE_SIZE,
    MESSAGES,
    PING_RTT,
    Metrics,
    TunnelMeter,
)
from trioproxy.wire import traffic as at

UP = ("pool", "up:1", "to_upstream")
DOWN = ("pool", "up:1", "to_client")


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def meter(metrics):
    return TunnelMeter(metrics)


@pytest.fixture
def traffic(meter):
    return meter.traffic("pool", "up:1")


def test_what_was_counted_is_added_once(metrics, meter, traffic):
    cells = traffic.to_upstream.cells
    cells[1], cells[9], cells[at.BYTES] = 2, 1, 100
    traffic.to_client.cells[at.INJECTED + 8] = 1
    for _ in range(3):
        meter.publish()
    assert metrics.value(BYTES, UP) == 100
    assert metrics.value(MESSAGES, UP) == 2
    assert metrics.value(FRAMES, (*UP, "text")) == 2
    assert metrics.value(FRAMES, (*UP, "ping")) == 1
    assert metrics.value(INJECTED_FRAMES, ("pool", "client", "close")) == 1
    assert metrics.total(BYTES, direction="to_client") == 0


def test_later_counts_add_to_earlier_ones(metrics, meter, traffic):
    for step in range(1, 5):
        traffic.to_client.cells[at.BYTES] += step
        traffic.to_client.cells[2] += 1
        traffic.to_upstream.cells[at.INJECTED + 9] += 1
        meter.publish()
    assert metrics.value(BYTES, DOWN) == 10
    assert metrics.value(FRAMES, (*DOWN, "binary")) == 4
    assert metrics.value(INJECTED_FRAMES, ("pool", "upstream", "ping")) == 4


def test_message_sizes_are_added_as_they_grow(metrics, meter, traffic):
    cells = traffic.to_upstream.cells
    for small, large in ((3, 0), (3, 1), (5, 2)):
        cells[1], cells[at.LONGER + 1] = small + large, large
        cells[at.OCTETS] = small * 10 + large * 2000
        meter.publish()
        meter.publish()
    (sample,) = [each for each in metrics.samples() if each.metric is MESSAGE_SIZE]
    assert sample.labels == ("pool", "to_upstream")
    assert sample.cells == (5, 0, 2, *[0] * 8, 4050)


def test_a_message_under_way_is_none_yet(metrics, meter, traffic):
    cells = traffic.to_upstream.cells
    cells[1] = cells[at.UNFINISHED] = 1
    meter.publish()
    assert (metrics.value(FRAMES, (*UP, "text")), metrics.value(MESSAGES, UP)) == (1, 0)
    cells[at.UNFINISHED] = 0
    meter.publish()
    assert (metrics.value(FRAMES, (*UP, "text")), metrics.value(MESSAGES, UP)) == (1, 1)


def test_round_trips_are_observed_once_for_the_side_that_was_pinged(metrics, meter, traffic):
    cells = traffic.to_client.cells
    cells[at.INJECTED + 9] = cells[at.INJECTED + 10] = 2
    for seconds in (0.01, 0.3):
        traffic.to_client.add_round_trip(seconds)
    for _ in range(2):
        meter.publish()
    assert metrics.value(PING_RTT, ("pool", "client")) == 2
    assert metrics.value(INJECTED_FRAMES, ("pool", "client", "ping")) == 2
    assert metrics.value(INJECTED_FRAMES, ("pool", "client", "pong")) == 2


def test_bytes_taken_back_never_make_a_counter_fall(metrics, meter, traffic):
    for count, published in ((100, 100), (88, 100), (95, 100), (120, 120)):
        traffic.to_upstream.cells[at.BYTES] = count
        meter.publish()
        assert metrics.value(BYTES, UP) == published


def test_counts_are_an_upstreams_own(metrics, meter, traffic):
    assert meter.traffic("pool", "up:1") is traffic
    other = meter.traffic("pool", "up:2")
    traffic.to_upstream.cells[at.BYTES], other.to_upstream.cells[at.BYTES] = 7, 8
    meter.publish()
    assert [metrics.value(BYTES, ("pool", name, "to_upstream")) for name in ("up:1", "up:2")] == [7, 8]


def test_reserved_opcodes_count_as_other(metrics, meter, traffic):
    traffic.to_upstream.cells[3], traffic.to_upstream.cells[15] = 2, 3
    meter.publish()
    assert metrics.value(FRAMES, (*UP, "other")) == 5


def test_an_idle_upstream_touches_nothing(metrics, meter, traffic):
    meter.publish()
    assert metrics.board.layout.series == []
