"""The series that exist before anything happened."""

from __future__ import annotations

from support.serving import POOL, make_config

from trioproxy import metrics as m
from trioproxy.counts import HandshakeResult
from trioproxy.ejection import Failure
from trioproxy.errors import Phase, Source
from trioproxy.metrics.declared import declare_series
from trioproxy.wire import traffic as at


def test_listeners_routes_and_upstreams_have_their_series_at_0():
    metrics = m.Metrics()
    declare_series(metrics, make_config("a:1", "b:1", listeners=("127.0.0.1:0", "[::1]:0")))
    found = {(sample.metric, sample.labels) for sample in metrics.samples() if sample.value is None}
    assert {labels for metric, labels in found if metric is m.CONNECTIONS_ACTIVE} == {("l0",), ("l1",)}
    assert {labels for metric, labels in found if metric is m.CONNECTIONS} == {("l0",), ("l1",)}
    tunnels = {("all", POOL, "a:1"), ("all", POOL, "b:1")}
    assert {labels for metric, labels in found if metric is m.TUNNELS} == tunnels
    assert {labels for metric, labels in found if metric is m.TUNNELS_ACTIVE} == tunnels
    assert (m.BYTES, (POOL, "b:1", "to_client")) in found
    for each in (m.UPSTREAM_FAILURES, m.UPSTREAM_EJECTIONS):
        failures = {(POOL, upstream, reason) for upstream in ("a:1", "b:1") for reason in Failure}
        assert {labels for metric, labels in found if metric is each} == failures


def test_failures_that_alerts_wait_for_have_their_series_at_0():
    """Otherwise the first one would be the one that begins the series, which `increase()` does not see."""
    metrics = m.Metrics()
    declare_series(metrics, make_config("a:1", "b:1"))
    found = {(sample.metric, sample.labels) for sample in metrics.samples() if sample.value is None}
    assert {labels for metric, labels in found if metric is m.CONNECTIONS_REJECTED} == {
        ("l0", "overloaded"),
        ("l0", "forbidden"),
        ("l0", "too_many"),
    }
    bugs = {("proxy", phase, "internal") for phase in Phase}
    assert {labels for metric, labels in found if metric is m.ENDINGS} == bugs
    cuts = {(POOL, upstream, by, "none") for upstream in ("a:1", "b:1") for by in Source}
    assert {labels for metric, labels in found if metric is m.CLOSES} == cuts
    results = {("all", POOL, upstream, result) for upstream in ("a:1", "b:1") for result in HandshakeResult}
    handshakes = {labels for metric, labels in found if metric is m.HANDSHAKES}
    assert handshakes == results | {("all", POOL, "none", "unreachable")}


def test_what_tunnels_count_into_exists_beforehand():
    metrics = m.Metrics()
    declare_series(metrics, make_config("a:1"))
    known = len(metrics.board.layout.series)
    meter = m.TunnelMeter(metrics)
    traffic = meter.traffic(POOL, "a:1")
    for each in (traffic.to_upstream, traffic.to_client):
        each.cells[at.BYTES] = 1
        for opcode in range(at.OPCODES):
            each.cells[opcode] = 1
    meter.publish()
    assert len(metrics.board.layout.series) == known


def test_declaring_again_changes_nothing_and_takes_no_room():
    metrics = m.Metrics()
    config = make_config("a:1")
    declare_series(metrics, config)
    metrics.inc(m.CONNECTIONS, ("l0",))
    used = metrics.board.layout.used
    declare_series(metrics, config)
    assert metrics.value(m.CONNECTIONS, ("l0",)) == 1
    assert metrics.board.layout.used == used
