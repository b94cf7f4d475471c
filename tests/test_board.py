"""Cells: who writes where, what is summed, and what happens when there is no room."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from trioproxy.board import CACHE_LINE_CELLS, CELL_BYTES, OVERFLOW_CELLS, Board, Layout, Marks, Memory, Tally, stride


def test_a_series_keeps_its_column():
    layout = Layout()
    first = layout.intern("requests", ("a",))
    assert layout.intern("requests", ("b",)) == first + 1
    assert layout.intern("requests", ("a",)) == first


def test_a_wide_series_takes_consecutive_columns():
    layout = Layout()
    first = layout.intern("seconds", (), 5)
    assert layout.intern("other", ()) == first + 5


def test_the_same_labels_of_another_metric_are_another_series():
    layout = Layout()
    assert layout.intern("requests", ("a",)) != layout.intern("bytes", ("a",))


@pytest.mark.parametrize("width", [0, -1, OVERFLOW_CELLS + 1])
def test_a_series_of_impossible_width_is_refused(width):
    with pytest.raises(ValueError, match="cells"):
        Layout().intern("seconds", (), width)


def test_a_series_without_room_gets_the_overflow_and_is_counted_once():
    layout = Layout(columns=OVERFLOW_CELLS + 2)
    assert layout.intern("a", ()) == OVERFLOW_CELLS
    assert layout.intern("wide", (), 2) == 0
    assert layout.intern("wide", (), 2) == 0
    assert layout.refused == 1
    assert layout.intern("b", ()) == OVERFLOW_CELLS + 1
    assert [series.name for series in layout.series] == ["a", "b"]


def test_the_overflow_takes_the_widest_series():
    board = Board(Layout(columns=OVERFLOW_CELLS))
    column = board.layout.intern("wide", (), OVERFLOW_CELLS)
    board.rows[0].cells[column + OVERFLOW_CELLS - 1] += 1
    assert board.layout.refused == 1


def test_a_reader_sums_a_column_over_the_rows():
    board = Board(Layout(), rows=3)
    column = board.layout.intern("requests", ())
    for value, row in enumerate(board.rows, start=1):
        row.cells[column] = value
    assert board.sum(column) == 6
    (block,) = board.snapshot()
    assert block.of(block.series[0]) == (6,)


def test_a_snapshot_of_one_row_is_that_row():
    board = Board(Layout())
    column = board.layout.intern("requests", ())
    board.layout.intern("seconds", (), 3)
    board.rows[0].cells[column] -= 5
    board.rows[0].cells[column + 2] += 2
    (block,) = board.snapshot()
    assert [block.of(series) for series in block.series] == [(-5,), (0, 2, 0)]


def test_a_cell_of_a_series_is_found_by_name():
    board = Board(Layout(columns=OVERFLOW_CELLS + 2), rows=2)
    column = board.layout.intern("seconds", ("a",), 2)
    for row in board.rows:
        row.cells[column + 1] = 4
    assert board.find("seconds", ("a",), 1) == 8
    assert board.find("seconds", ("b",)) == 0
    assert board.layout.intern("seconds", ("c",)) == 0
    board.rows[0].cells[0] = 9
    assert board.find("seconds", ("c",)) == 0


def test_rows_start_on_cache_lines_of_their_own():
    board = Board(Layout(columns=OVERFLOW_CELLS + 1), rows=2)
    assert len(board.rows[0].cells) % CACHE_LINE_CELLS == 0
    board.rows[0].cells[-1] = 7
    assert board.rows[1].cells[0] == 0


def test_a_cell_holds_64_bits():
    board = Board(Layout())
    board.rows[0].cells[0] = 2**63 - 1
    with pytest.raises(ValueError):
        board.rows[0].cells[0] += 1


def test_a_tally_is_the_sum_of_what_each_process_counts():
    board = Board(Layout(), rows=2)
    column = board.layout.intern("leases", ())
    here, there = Tally.of(board, 0, column), Tally.of(board, 1, column)
    assert here.claim() and there.claim() and there.claim()
    assert (here.own, there.own, here.total, there.total) == (1, 2, 3, 3)
    there.release()
    assert here.total == 2


def test_a_claim_above_the_limit_is_given_back():
    board = Board(Layout(), rows=2)
    column = board.layout.intern("leases", ())
    here, there = Tally.of(board, 0, column), Tally.of(board, 1, column)
    assert here.claim(2) and there.claim(2)
    assert not here.claim(2) and not there.claim(2)
    here.release()
    assert there.claim(2) and not here.claim(2)
    assert (here.own, there.own) == (0, 2)


def test_a_tally_nobody_else_counts_has_limits_too():
    alone = Tally.alone()
    assert alone.claim(1) and not alone.claim(1)
    alone.release()
    assert alone.total == 0


def test_what_the_base_knows_is_not_given_a_column_again():
    base = Layout()
    known = base.intern("requests", ("a",))
    layout = Layout(columns=300, first=200, base=base)
    assert layout.intern("requests", ("a",)) == known
    assert layout.intern("requests", ("b",)) == 200
    assert [series.labels for series in layout.series] == [("b",)]


def test_untouched_columns_cost_no_memory():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    board = Board(Layout(columns=1 << 24))  # 128 MiB of address space
    board.rows[0].cells[1 << 23] += 1
    assert resident() - before < 16 * 1024 * 1024


class Book:
    """A journal of several layouts, on paper."""

    def __init__(self, written):
        self.written, self.read = written, 0

    def append(self, series):
        self.written.append(series)
        return len(self.written) < 3

    def news(self):
        new, self.read = self.written[self.read :], len(self.written)
        return new


def test_what_one_process_writes_down_others_know_when_they_catch_up():
    paper = []
    one, other = Layout(journal=Book(paper)), Layout(journal=Book(paper))
    column = one.intern("requests", ("a",))
    assert other.find("requests", ("a",)) is None
    for layout in (one, other):
        layout.catch_up()
        assert layout.find("requests", ("a",)) == column
        assert [series.labels for series in layout.series] == [("a",)]
    assert other.intern("requests", ("b",)) == column + 1
    assert other.intern("requests", ("full",)) == 0 and other.refused == 1


def test_several_layouts_share_one_memory():
    layouts = [Layout(columns=100), Layout(columns=200, first=100)]
    cells = memoryview(bytearray(2 * stride(200) * CELL_BYTES)).cast("q")
    board = Board(layouts[0], 2, Memory(cells, 200, [(layouts[0], [0]), (layouts[1], [0, 1])]))
    for layout in layouts:
        column = layout.intern("requests", ())
        for row in board.rows:
            row.cells[column] = 1
    assert board.find("requests", ()) == 1 + 2, "of the first layout one row counts alone"


def test_a_mark_is_each_processs_own_and_seen_by_the_others():
    board = Board(Layout(), rows=3)
    column = board.layout.intern("mark", ())
    first, second, third = (Marks.of(board, row, column) for row in range(3))
    first.set(7)
    second.set(9)
    assert (first.others(), second.others(), third.others()) == ([9], [7], [7, 9])
    first.set(0)
    assert third.others() == [9]
    assert first.shared
    assert (first.own, second.own) == (0, 9)
    assert first.set_and_look(5) == [9] and second.others() == [5]


def test_a_mark_nobody_else_sees():
    alone = Marks.alone()
    alone.set(5)
    assert alone.others() == [] and not alone.shared
    assert alone.set_and_look(6) == [] and alone.own == 6
