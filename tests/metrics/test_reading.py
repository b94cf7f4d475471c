"""What stands on a board at one moment, whichever processes counted it."""

from __future__ import annotations

import gc
import os

import pytest

from trioproxy.board import Board, Layout
from trioproxy.metrics import CONNECTIONS, MESSAGE_SIZE, UPSTREAM_ACTIVE, UPSTREAM_UP, Metrics
from trioproxy.metrics.reading import Catalogue
from trioproxy.shared_board import SUPERVISOR, create_memory, open_board, worker_row

WORKERS = 2


@pytest.fixture
def processes():
    """The metrics of a supervisor and two workers on one board."""
    fd = create_memory(WORKERS)
    rows = [SUPERVISOR, *map(worker_row, range(WORKERS))]
    yield [Metrics(open_board(fd, WORKERS, row), row) for row in rows]
    os.close(fd)
    gc.collect()


def found(reading, metric):
    return {sample.labels: sample.cells for sample in reading.samples() if sample.metric is metric}


def test_what_several_processes_count_is_one_series(processes):
    supervisor, *workers = processes
    supervisor.declare(CONNECTIONS, ("known",))
    for amount, worker in enumerate(workers, start=1):
        worker.inc(CONNECTIONS, ("known",), amount)
        worker.inc(CONNECTIONS, ("begun by each",), 10 * amount)
        worker.add_observed(MESSAGE_SIZE, ("p", "to_client"), [amount] * (MESSAGE_SIZE.width - 1), 100)
    assert found(supervisor.read(), CONNECTIONS) == {("known",): (3,), ("begun by each",): (30,)}
    assert found(supervisor.read(), MESSAGE_SIZE) == {("p", "to_client"): (*[3] * (MESSAGE_SIZE.width - 1), 200)}


def test_a_series_begun_between_two_readings_is_in_the_second_alone(processes):
    supervisor, worker, other = processes
    worker.inc(CONNECTIONS, ("a",))
    first = supervisor.read()
    other.inc(CONNECTIONS, ("a",))
    other.inc(CONNECTIONS, ("b",))
    second = supervisor.read()
    assert found(first, CONNECTIONS) == {("a",): (1,)}
    assert found(second, CONNECTIONS) == {("a",): (2,), ("b",): (1,)}


def test_what_is_computed_stands_for_the_cells_of_its_own_and_ends_with_its_source():
    metrics, computed = Metrics(), [(UPSTREAM_ACTIVE, ("p", "u"), 7), (UPSTREAM_UP, ("p", "u"), 0)]
    metrics.inc(UPSTREAM_ACTIVE, ("p", "u"), 3)
    metrics.add_source(lambda: computed)
    values = {(sample.metric, sample.cells, sample.value) for sample in metrics.samples()}
    assert values == {(UPSTREAM_ACTIVE, (), 7), (UPSTREAM_UP, (), 0)}
    computed.clear()
    assert [(sample.metric, sample.cells) for sample in metrics.samples()] == [(UPSTREAM_ACTIVE, (3,))]


def test_columns_that_are_no_metrics_are_left_out():
    board = Board(Layout())
    board.layout.intern("of the program's own", ())
    assert Catalogue().read(board.snapshot(), ()).samples() == []
