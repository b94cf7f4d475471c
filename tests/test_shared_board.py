"""The board of several processes: what each sees of the others' rows and series, and what no reader may ever see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trioproxy import shared_board
from trioproxy.board import CLIENT_TABLE_CELLS, OVERFLOW_CELLS
from trioproxy.shared_board import SUPERVISOR, create_memory, open_board, retired_row, worker_row

WORKERS = 3
ROOT = Path(__file__).parents[1]


@pytest.fixture
def memory():
    fd = create_memory(WORKERS)
    yield fd
    os.close(fd)


def view(memory, row):
    return open_board(memory, WORKERS, row)


def cells_of(board, name):
    """The cells of a series, as a reader of all blocks sums them."""
    return [block.of(series) for block in board.snapshot() for series in block.series if series.name == name]


def test_what_one_process_counts_the_others_see(memory):
    supervisor = view(memory, SUPERVISOR)
    column = supervisor.layout.intern("leases", ("a",))
    for worker in range(WORKERS):
        board = view(memory, worker_row(worker))
        assert board.layout.intern("leases", ("a",)) == column
        board.rows[worker_row(worker)].cells[column] += worker + 1
    assert supervisor.sum(column) == 6
    assert cells_of(supervisor, "leases") == [(6,)]


def test_a_series_a_worker_began_is_read_by_the_supervisor(memory):
    supervisor, worker = view(memory, SUPERVISOR), view(memory, worker_row(1))
    column = worker.layout.intern("seconds", ("ünï", 'quo"te\n'), 2)
    worker.rows[worker_row(1)].cells[column + 1] = 5
    assert supervisor.find("seconds", ("ünï", 'quo"te\n'), 1) == 5
    assert cells_of(supervisor, "seconds") == [(0, 5)]


def test_each_process_has_a_table_of_clients_that_the_others_read(memory):
    first, second = view(memory, worker_row(0)), view(memory, worker_row(1))
    tables = first.client_tables
    assert [len(table) for table in tables] == [CLIENT_TABLE_CELLS] * (WORKERS + 1)
    tables[worker_row(0)][0], tables[worker_row(0)][-1] = 7, -8
    seen = second.client_tables[worker_row(0)]
    assert (seen[0], seen[-1]) == (7, -8)
    assert not any(table[0] or table[-1] for table in (second.client_tables[row] for row in (0, 2, 3)))
    assert first.snapshot() == [] or not any(any(row) for block in first.snapshot() for row in block.rows)


def test_columns_of_different_processes_never_meet(memory):
    boards = [view(memory, row) for row in range(WORKERS + 1)]
    columns = [board.layout.intern("requests", (str(row),), 60) for row, board in enumerate(boards)]
    assert len(set(columns)) == len(columns)
    assert all(abs(a - b) >= 60 for a in columns for b in columns if a != b)


def test_who_takes_a_workers_place_goes_on_with_its_columns(memory):
    row = worker_row(0)
    before = view(memory, row)
    column = before.layout.intern("requests", ("200",))
    other = before.layout.intern("requests", ("404",), 3)
    after = view(memory, row)
    assert after.layout.intern("requests", ("404",), 3) == other
    assert after.layout.intern("requests", ("200",)) == column
    assert after.layout.intern("requests", ("500",)) == other + 3


def test_what_the_supervisor_begins_later_is_known_after_catching_up(memory):
    supervisor, worker = view(memory, SUPERVISOR), view(memory, worker_row(0))
    column = supervisor.layout.intern("leases", ("new",))
    list(worker.layouts())
    assert worker.layout.intern("leases", ("new",)) == column


def test_a_journal_without_room_refuses_the_series(memory, monkeypatch):
    monkeypatch.setattr(shared_board, "JOURNAL_BYTES", 100)
    board = view(memory, worker_row(0))
    assert board.layout.intern("short", ()) > OVERFLOW_CELLS
    assert board.layout.intern("long" * 20, ()) == 0
    assert board.layout.refused == 1


def test_the_retired_row_is_behind_the_workers(memory):
    assert len(view(memory, SUPERVISOR).rows) == retired_row(WORKERS) + 1


def test_an_unused_board_costs_no_memory(memory):
    board = view(memory, SUPERVISOR)
    board.snapshot()
    assert os.fstat(memory).st_blocks * 512 <= 64 * 1024


WRITING = """
import sys
from trioproxy.board import Tally
from trioproxy.shared_board import open_board, worker_row
board = open_board(int(sys.argv[1]), 1, worker_row(0))
cells, column = board.rows[worker_row(0)].cells, board.layout.intern("count", (), 2)
stop = Tally.of(board, worker_row(0), board.layout.intern("stop", ()))
low, high = 0x1111111111111111, 0x2222222222222222
written = 0
print(flush=True)
while not stop.total:
    for _ in range(1000):
        cells[column] = low
        cells[column] = high
    written += 2000
print(written)
"""
LEAST_LOOKS = 60_000
MOST_LOOKS = 10_000_000  # where the writer is never at work while somebody looks, this is no machine


def test_a_cell_is_never_read_torn():
    """Another process writes two values that differ in every byte; only the two are ever seen."""
    memory = create_memory(1)
    board = open_board(memory, 1, SUPERVISOR)
    stop = board.layout.intern("stop", ())
    argv = [sys.executable, "-c", WRITING, str(memory)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    values = {0x1111111111111111, 0x2222222222222222}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, pass_fds=(memory,), env=env) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen, looks = set(), 0
        while looks < LEAST_LOOKS or (not values <= seen and looks < MOST_LOOKS):
            seen.add(board.find("count", ()))
            seen.update(cells[0] for cells in cells_of(board, "count"))
            looks += 2
        board.rows[SUPERVISOR].cells[stop] = 1
        written = int(writer.stdout.readline())
    os.close(memory)
    print(f"{looks} looks while {written} values were written; seen: {sorted(map(hex, seen))}")  # noqa: T201 - a figure
    assert seen - {0} == values


CLAIMING = """
import json, os, sys
from trioproxy.board import Tally
from trioproxy.shared_board import open_board, worker_row
fd, worker, limit = map(int, sys.argv[1:4])
board = open_board(fd, 4, worker_row(worker))
tally, held = (Tally.of(board, worker_row(worker), board.layout.intern(name, ())) for name in ("leases", "held"))
print(flush=True)
os.read(0, 1)
most = claimed = refused = 0
for _ in range(20_000):
    if tally.claim(limit):
        claimed += 1
        held.claim()  # what is refused shows in the first tally for a moment, and never in this one
        most = max(most, held.total)
        held.release()
        tally.release()
    else:
        refused += 1
print(json.dumps([claimed, refused, most]), flush=True)
"""


@pytest.mark.parametrize("workers", [2, 4])
def test_processes_that_claim_at_once_never_exceed_the_limit(workers):
    memory, limit = create_memory(4), workers - 1
    board = open_board(memory, 4, SUPERVISOR)
    board.layout.intern("leases", ())
    board.layout.intern("held", ())
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMING, str(memory), str(worker), str(limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=(memory,),
            env=env,
        )
        for worker in range(workers)
    ]
    for process in started:
        process.stdout.readline()
    for process in started:
        process.stdin.write(b".")
        process.stdin.flush()
    results = [json.loads(process.communicate()[0]) for process in started]
    os.close(memory)
    claimed, refused, most = map(max, zip(*results, strict=True))
    print(f"{workers} processes, limit {limit}: up to {claimed} claims, {refused} refused, at most {most} at once")  # noqa: T201
    assert claimed and most <= limit
    assert board.find("leases", ()) == 0
