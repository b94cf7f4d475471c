"""A tunnel's counts reach the metrics exactly, however often they are carried over."""

from __future__ import annotations

import pytest
from support.counts import FakeTunnel

from trioproxy.metrics import (
    BYTES,
    FRAMES,
    INJECTED_FRAMES,
    MESSAGE_SIZE,
    MESSAGES,
    PING_RTT,
    Metrics,
    TunnelMeter,
    declare_tunnel_series,
)

UP = ("pool", "up:1", "to_upstream")
DOWN = ("pool", "up:1", "to_client")


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def meter(metrics):
    return TunnelMeter(metrics, "pool", "up:1")


def test_what_was_counted_is_added_once(metrics, meter):
    tunnel = FakeTunnel()
    tunnel.to_upstream.bytes, tunnel.to_upstream.messages = 100, 2
    tunnel.to_upstream.frames[1], tunnel.to_upstream.frames[9] = 2, 1
    tunnel.to_client.injected[8] = 1
    for _ in range(3):
        meter.publish(tunnel)
    assert metrics.value(BYTES, UP) == 100
    assert metrics.value(MESSAGES, UP) == 2
    assert metrics.value(FRAMES, (*UP, "text")) == 2
    assert metrics.value(FRAMES, (*UP, "ping")) == 1
    assert metrics.value(INJECTED_FRAMES, ("pool", "client", "close")) == 1
    assert metrics.total(BYTES, direction="to_client") == 0


def test_later_counts_add_to_earlier_ones(metrics, meter):
    tunnel = FakeTunnel()
    for step in range(1, 5):
        tunnel.to_client.bytes += step
        tunnel.to_client.frames[2] += 1
        tunnel.to_upstream.injected[9] += 1
        meter.publish(tunnel)
    assert metrics.value(BYTES, DOWN) == 10
    assert metrics.value(FRAMES, (*DOWN, "binary")) == 4
    assert metrics.value(INJECTED_FRAMES, ("pool", "upstream", "ping")) == 4


def test_message_sizes_are_added_as_they_grow(metrics, meter):
    tunnel, counts = FakeTunnel(), FakeTunnel().to_upstream
    tunnel.to_upstream = counts
    for small, large in ((3, 0), (3, 1), (5, 2)):
        counts.bytes += 1000
        counts.messages = small + large
        counts.message_sizes[0], counts.message_sizes[2] = small, large
        counts.message_octets = small * 10 + large * 2000
        meter.publish(tunnel)
        meter.publish(tunnel)
    (sample,) = [each for each in metrics.samples() if each.metric is MESSAGE_SIZE]
    assert sample.labels == ("pool", "to_upstream")
    assert sample.cells == (5, 0, 2, *[0] * 8, 4050)


def test_round_trips_are_observed_once_for_the_side_that_was_pinged(metrics, meter):
    tunnel = FakeTunnel()
    tunnel.to_client.injected[9], tunnel.to_client.injected[10] = 2, 2
    tunnel.to_client.round_trips = [0.01, 0.3]
    for _ in range(2):
        meter.publish(tunnel)
    assert metrics.value(PING_RTT, ("pool", "client")) == 2
    assert metrics.value(INJECTED_FRAMES, ("pool", "client", "ping")) == 2
    assert metrics.value(INJECTED_FRAMES, ("pool", "client", "pong")) == 2


def test_bytes_taken_back_never_make_a_counter_fall(metrics, meter):
    tunnel = FakeTunnel()
    for count, published in ((100, 100), (88, 100), (95, 100), (120, 120)):
        tunnel.to_upstream.bytes = count
        meter.publish(tunnel)
        assert metrics.value(BYTES, UP) == published


def test_tunnels_of_one_upstream_add_up(metrics):
    for _ in range(2):
        tunnel = FakeTunnel()
        tunnel.to_upstream.bytes = 7
        TunnelMeter(metrics, "pool", "up:1").publish(tunnel)
    assert metrics.value(BYTES, UP) == 14


def test_reserved_opcodes_count_as_other(metrics, meter):
    tunnel = FakeTunnel()
    tunnel.to_upstream.bytes = 10
    tunnel.to_upstream.frames[3], tunnel.to_upstream.frames[15] = 2, 3
    meter.publish(tunnel)
    assert metrics.value(FRAMES, (*UP, "other")) == 5


def test_an_idle_tunnel_touches_nothing(metrics, meter):
    meter.publish(FakeTunnel())
    assert metrics.board.layout.series == []


def test_declared_series_are_those_a_meter_counts_into(metrics, meter):
    declare_tunnel_series(metrics, "pool", "up:1")
    known = len(metrics.board.layout.series)
    tunnel = FakeTunnel()
    for counts in (tunnel.to_upstream, tunnel.to_client):
        counts.bytes = counts.messages = 1
        for opcode in (0, 1, 2, 8, 9, 10):
            counts.frames[opcode] = 1
    meter.publish(tunnel)
    assert len(metrics.board.layout.series) == known == 2 * (3 + 6)
