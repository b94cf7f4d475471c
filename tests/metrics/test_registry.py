"""Counting on cells: what is added is what is read."""

from __future__ import annotations

import gc
import os

import pytest

from trioproxy.board import OVERFLOW_CELLS, Board, Layout
from trioproxy.metrics import (
    ALL_METRICS,
    CONNECT_DURATION,
    CONNECTIONS,
    CONNECTIONS_ACTIVE,
    DRAINING,
    LOG_LINES_DROPPED,
    MESSAGE_SIZE,
    REQUESTS,
    SERIES_DROPPED,
    UPSTREAM_ACTIVE,
    UPSTREAM_WEIGHT,
    Metrics,
)
from trioproxy.shared_board import SUPERVISOR, create_memory, open_board, retired_row, worker_row

PUBLIC = ("public",)


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def memory():
    fd = create_memory(2)
    yield fd
    os.close(fd)
    gc.collect()  # the boards hold descriptors of their own, and other tests count those that are open


def sample(metrics, metric, labels=()):
    (found,) = [s for s in metrics.samples() if s.metric is metric and s.labels == labels]
    return found


def test_a_counter_counts(metrics):
    metrics.inc(CONNECTIONS, PUBLIC)
    metrics.inc(CONNECTIONS, PUBLIC, 41)
    metrics.inc(CONNECTIONS, ("other",))
    assert metrics.value(CONNECTIONS, PUBLIC) == 42
    assert sample(metrics, CONNECTIONS, PUBLIC).cells == (42,)


def test_a_gauge_goes_up_and_down(metrics):
    metrics.inc(CONNECTIONS_ACTIVE, PUBLIC)
    metrics.inc(CONNECTIONS_ACTIVE, PUBLIC, -1)
    assert metrics.value(CONNECTIONS_ACTIVE, PUBLIC) == 0


def test_a_gauge_that_is_set_keeps_fractions_to_its_scale(metrics):
    metrics.set(UPSTREAM_WEIGHT, ("p", "u"), 0.1234)
    assert metrics.value(UPSTREAM_WEIGHT, ("p", "u")) == 0.123
    metrics.set(UPSTREAM_WEIGHT, ("p", "u"), 2)
    assert metrics.value(UPSTREAM_WEIGHT, ("p", "u")) == 2


def test_a_value_that_equals_a_bound_is_within_it(metrics):
    bounds = CONNECT_DURATION.buckets.bounds
    for value in (bounds[0], bounds[0] + 0.00001, bounds[-1], bounds[-1] + 1):
        metrics.observe(CONNECT_DURATION, ("p",), value)
    *counts, nanoseconds = sample(metrics, CONNECT_DURATION, ("p",)).cells
    assert counts == [1, 1, *[0] * (len(bounds) - 3), 1, 1]
    assert nanoseconds == round((2 * bounds[0] + 0.00001 + 2 * bounds[-1] + 1) * 1e9)
    assert metrics.value(CONNECT_DURATION, ("p",)) == 4


def test_values_sorted_elsewhere_add_to_the_buckets_and_the_sum(metrics):
    counts = [1, *[0] * (len(MESSAGE_SIZE.buckets.bounds) - 1), 2]
    for _ in range(2):
        metrics.add_observed(MESSAGE_SIZE, ("p", "to_client"), counts, 300)
    assert sample(metrics, MESSAGE_SIZE, ("p", "to_client")).cells == (*(2 * count for count in counts), 600)


def test_a_declared_series_exists_at_zero(metrics):
    metrics.declare(CONNECTIONS, PUBLIC)
    assert sample(metrics, CONNECTIONS, PUBLIC).cells == (0,)


def test_an_unknown_series_is_zero_and_stays_unknown(metrics):
    assert metrics.value(CONNECTIONS, PUBLIC) == 0
    assert not [s for s in metrics.samples() if s.metric is CONNECTIONS]


@pytest.mark.parametrize("labels", [(), ("a", "b")])
def test_the_wrong_number_of_labels_is_an_error(metrics, labels):
    with pytest.raises(ValueError, match="trioproxy_connections_total"):
        metrics.inc(CONNECTIONS, labels)


def test_a_total_sums_over_the_labels_not_given(metrics):
    metrics.inc(REQUESTS, ("r1", "p", "http", "200"), 3)
    metrics.inc(REQUESTS, ("r2", "p", "http", "200"), 4)
    metrics.inc(REQUESTS, ("r2", "p", "http", "404"), 5)
    metrics.inc(CONNECTIONS, ("200",), 100)
    assert metrics.total(REQUESTS) == 12
    assert metrics.total(REQUESTS, code="200") == 7
    assert metrics.total(REQUESTS, code="200", route="r1") == 3


def test_sums_are_the_totals_of_every_combination_at_once(metrics):
    metrics.inc(REQUESTS, ("r1", "p", "http", "200"), 3)
    metrics.inc(REQUESTS, ("r2", "p", "http", "200"), 4)
    metrics.inc(REQUESTS, ("r2", "q", "http", "404"), 5)
    metrics.observe(CONNECT_DURATION, ("p",), 0.1)
    metrics.inc(CONNECTIONS, ("p",), 100)
    assert metrics.sums(REQUESTS, CONNECT_DURATION, by=("pool",)) == {
        REQUESTS: {("p",): 7, ("q",): 5},
        CONNECT_DURATION: {("p",): 1},
    }
    assert metrics.sums(REQUESTS, by=("code", "route")) == {
        REQUESTS: {("200", "r1"): 3, ("200", "r2"): 4, ("404", "r2"): 5}
    }
    assert metrics.sums(REQUESTS, by=()) == {REQUESTS: {(): 12}}


def test_a_source_is_asked_at_every_reading(metrics):
    dropped = iter((3, 5))
    metrics.add_source(lambda: [(LOG_LINES_DROPPED, (), next(dropped))])
    assert [sample(metrics, LOG_LINES_DROPPED).value for _ in range(2)] == [3, 5]


def test_a_source_stands_for_the_cells_of_its_series(metrics):
    metrics.set(DRAINING, (), 0)
    metrics.add_source(lambda: [(DRAINING, (), 1)])
    assert sample(metrics, DRAINING).value == 1


def test_refreshers_run_before_anything_is_read(metrics):
    metrics.add_refresher(lambda: metrics.inc(CONNECTIONS, PUBLIC))
    assert sample(metrics, CONNECTIONS, PUBLIC).cells == (1,)


def test_several_writers_are_summed():
    board = Board(Layout(), rows=2)
    for row in range(2):
        Metrics(board, row).inc(CONNECTIONS, PUBLIC, 5)
    reader = Metrics(board)
    assert sample(reader, CONNECTIONS, PUBLIC).cells == (10,)


def test_what_several_processes_began_is_one_series(memory):
    supervisor = Metrics(open_board(memory, 2, SUPERVISOR), SUPERVISOR)
    for worker in range(2):
        metrics = Metrics(open_board(memory, 2, worker_row(worker)), worker_row(worker))
        metrics.inc(CONNECTIONS, PUBLIC, 5)
        metrics.observe(CONNECT_DURATION, ("p",), 0.1)
    assert [each.cells for each in supervisor.samples() if each.metric is CONNECTIONS] == [(10,)]
    assert supervisor.value(CONNECT_DURATION, ("p",)) == 2
    assert supervisor.total(CONNECTIONS, listener="public") == 10
    assert supervisor.sums(CONNECTIONS, by=("listener",)) == {CONNECTIONS: {PUBLIC: 10}}


def test_what_a_dead_worker_counted_stays_and_what_it_held_goes(memory):
    supervisor = Metrics(open_board(memory, 2, SUPERVISOR), SUPERVISOR)
    supervisor.declare(CONNECTIONS, PUBLIC)
    supervisor.board.layout.intern("no metric", ())
    metrics = Metrics(open_board(memory, 2, worker_row(1)), worker_row(1))
    for _ in range(2):
        metrics.inc(CONNECTIONS, PUBLIC, 5)
        metrics.inc(CONNECTIONS_ACTIVE, PUBLIC, 2)
        metrics.observe(CONNECT_DURATION, ("p",), 0.1)
        metrics.tally(UPSTREAM_ACTIVE, ("p", "u")).claim()
        metrics.client_tables()[0][-1] = 5
        supervisor.retire(worker_row(1), retired_row(2))
    assert supervisor.value(CONNECTIONS, PUBLIC) == 10
    assert supervisor.value(CONNECT_DURATION, ("p",)) == 2
    assert supervisor.value(CONNECTIONS_ACTIVE, PUBLIC) == 0
    assert supervisor.value(UPSTREAM_ACTIVE, ("p", "u")) == 0
    assert sum(supervisor.board.rows[worker_row(1)].cells[:1000]) == 0
    assert metrics.client_tables()[0][-1] == 0


def test_the_tables_of_clients_are_ones_own_and_those_of_the_other_workers(memory):
    tables = [
        Metrics(open_board(memory, 2, worker_row(worker)), worker_row(worker)).client_tables() for worker in (0, 1)
    ]
    for number, (own, _) in enumerate(tables):
        own[0] = number + 5
    assert [[table[0] for table in others] for _, others in tables] == [[6], [5]]
    assert Metrics().client_tables() == (None, ())


def test_a_full_board_drops_series_counts_them_and_goes_on():
    metrics = Metrics(Board(Layout(columns=OVERFLOW_CELLS + 2)))
    metrics.declare(SERIES_DROPPED)
    metrics.inc(CONNECTIONS, PUBLIC)
    for _ in range(3):
        metrics.inc(CONNECTIONS, ("second",))
        metrics.observe(CONNECT_DURATION, ("p",), 0.1)
    assert metrics.tally(CONNECTIONS_ACTIVE, PUBLIC).total == 0  # not in the cells of those
    assert metrics.value(CONNECTIONS, PUBLIC) == 1
    assert metrics.value(CONNECTIONS, ("second",)) == 0
    assert metrics.value(CONNECT_DURATION, ("p",)) == 0
    assert sample(metrics, SERIES_DROPPED).cells == (3,)
    assert {s.metric for s in metrics.samples()} == {CONNECTIONS, SERIES_DROPPED}


def test_every_metric_can_be_declared(metrics):
    for metric in ALL_METRICS:
        metrics.declare(metric, tuple("x" for _ in metric.labels))
    assert {s.metric for s in metrics.samples()} == set(ALL_METRICS)
