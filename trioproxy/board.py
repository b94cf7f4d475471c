"""Cells of numbers with one writer a row, read by everyone; and which column means what.

No locks: a cell is one aligned 64-bit word, written by one task tree alone, and a reader sums a column over all rows.
What the columns mean to an operator is `metrics`' business; rows of several processes are `shared_board`'s. Within one
process it is one row of plain memory.
"""

from __future__ import annotations

import mmap
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

CELL_BYTES: Final = 8
CACHE_LINE_CELLS: Final = 64 // CELL_BYTES  # rows start on their own lines, so that writers never share one

DEFAULT_COLUMNS: Final = 1 << 17  # 1 MiB of address space a row, of which only touched pages cost memory
CLIENT_TABLE_CELLS: Final = 1 << 17  # of `per_client`, a table for each process: 1 MiB, where it is used
OVERFLOW_CELLS: Final = 64  # the widest series there may be


@attrs.frozen
class Series:
    """One series of a metric: `width` cells from `column` on."""

    name: str
    labels: tuple[str, ...]
    column: int
    width: int


class Journal(Protocol):
    """Where a layout whose columns several processes use is written down."""

    def append(self, series: Series) -> bool:
        """Write down one more series; False where there is no room."""
        ...

    def news(self) -> Iterable[Series]:
        """What was written down since the last call."""
        ...


@attrs.define(eq=False)
class Layout:
    """Which columns belong to which series; append-only, so a column keeps its meaning as long as the board lives.

    The first OVERFLOW_CELLS columns are no one's. A series that finds no room is given those: its writer goes on
    without a check, nobody reads what it writes, and `refused` counts the loss.

    A board of several processes has a layout for each: columns from `first` to `columns`, written down in `journal`.
    What `base` knows is not given a column again.
    """

    columns: int = DEFAULT_COLUMNS
    first: int = OVERFLOW_CELLS
    journal: Journal | None = None
    base: Layout | None = None
    series: list[Series] = attrs.field(factory=list, init=False)
    used: int = attrs.field(init=False)
    refused: int = attrs.field(default=0, init=False)
    _known: dict[tuple[str, tuple[str, ...]], int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.used = self.first
        self.catch_up()

    def find(self, name: str, labels: tuple[str, ...]) -> int | None:
        """The first column of a series; None where it has none here, 0 where there was no room for it."""
        return self._known.get((name, labels))

    def intern(self, name: str, labels: tuple[str, ...], width: int = 1) -> int:
        """The first of the `width` columns of a series, the same one at every call.

        Raises ValueError for a width above OVERFLOW_CELLS or below 1. Never fails for want of room: see the class.
        """
        known = self._known.get((name, labels))
        if known is None and self.base is not None:
            known = self.base.find(name, labels)
        if known is not None:
            return known
        if not 1 <= width <= OVERFLOW_CELLS:
            raise ValueError(f"a series of {width} cells: 1 to {OVERFLOW_CELLS} are possible")
        series = Series(name, labels, self.used, width)
        if self.used + width > self.columns or (self.journal is not None and not self.journal.append(series)):
            self.refused += 1
            self._known[name, labels] = 0
            return 0
        self._add(series)
        return series.column

    def catch_up(self) -> None:
        """Take in what another process has written down."""
        if self.journal is not None:
            for series in self.journal.news():
                self._add(series)

    def _add(self, series: Series) -> None:
        if series.column >= self.used:  # what this process wrote down itself comes back as news
            self.used = series.column + series.width
            self.series.append(series)
            self._known[series.name, series.labels] = series.column


@attrs.frozen(eq=False)
class Row:
    """One writer's cells, by column."""

    cells: memoryview


@attrs.frozen(eq=False)
class Block:
    """All series of one layout at one moment, and a copy of the rows' cells from column `first` on."""

    series: Sequence[Series]
    first: int
    rows: Sequence[Sequence[int]]

    def of(self, series: Series) -> tuple[int, ...]:
        """The cells of one of its series, each summed over the rows."""
        return self.cells(series.column - self.first, series.width)

    def cells(self, start: int, width: int) -> tuple[int, ...]:
        """So many cells, each summed over the rows; `start` counts from `first`. None where it was not in use yet."""
        rows = self.rows
        if len(rows) == 1:
            return tuple(rows[0][start : start + width])
        return tuple(map(sum, zip(*[row[start : start + width] for row in rows], strict=True)))


@attrs.frozen(eq=False)
class Memory:
    """Cells that several processes share, and the layouts in it, each with the rows that write in its columns."""

    cells: memoryview  # of format "q": rows one after the other, each of `stride(columns)` cells
    columns: int
    layouts: Sequence[tuple[Layout, Sequence[int]]]
    client_tables: Sequence[memoryview] = ()  # of format "q", by row


class Board:
    """Rows of cells, zero at first; sparse, so the size is address space and not memory.

    What this process counts has its columns by `layout`.
    """

    def __init__(self, layout: Layout, rows: int = 1, memory: Memory | None = None) -> None:
        """On plain memory, over that one layout, where none is given."""
        self.layout = layout
        if memory is None:
            # Items of a memoryview of format "q" are read and written as one word; struct.pack_into would clear them
            # first.
            cells = memoryview(mmap.mmap(-1, rows * stride(layout.columns) * CELL_BYTES)).cast("q")
            memory = Memory(cells, layout.columns, [(layout, range(rows))])
        step = stride(memory.columns)
        self.rows = tuple(Row(memory.cells[i * step : (i + 1) * step]) for i in range(rows))
        self.client_tables = memory.client_tables  # none in a process that is alone
        self._layouts = [(layout, tuple(self.rows[i] for i in writers)) for layout, writers in memory.layouts]

    def layouts(self) -> Iterator[tuple[Layout, Sequence[Row]]]:
        """Every layout there is, brought up to date, with the rows that may hold something in its columns."""
        self.catch_up()
        yield from self._layouts

    def catch_up(self) -> None:
        """Know the series that others have begun."""
        for layout, _ in self._layouts:
            layout.catch_up()

    def sum(self, column: int) -> int:
        """A column over all rows."""
        total: int = sum(row.cells[column] for row in self.rows)
        return total

    def find(self, name: str, labels: tuple[str, ...], cell: int = 0) -> int:
        """What one cell of a series stands at, over all layouts and rows; 0 where there is no such series."""
        total = 0
        for layout, rows in self.layouts():
            if column := layout.find(name, labels):  # not 0: what stands there is anyone's
                total += sum(row.cells[column + cell] for row in rows)
        return total

    def snapshot(self) -> list[Block]:
        """All cells in use, copied. About 50 µs per 10,000 columns and row."""
        return [_block(layout, rows) for layout, rows in self.layouts()]


def stride(columns: int) -> int:
    """How many cells a row of `columns` takes."""
    return -(-columns // CACHE_LINE_CELLS) * CACHE_LINE_CELLS


def _block(layout: Layout, rows: Sequence[Row]) -> Block:
    copies = [row.cells[layout.first : layout.used].tolist() for row in rows]
    return Block(layout.series.copy(), layout.first, copies)


@attrs.frozen(eq=False)
class Tally:
    """A number that is the sum of one column: each process counts in its own row and sees what all count.

    Only by additions and subtractions of 1, each process taking back what it gave.
    """

    _column: int
    _own: memoryview
    _others: tuple[memoryview, ...] = ()
    _fence: Lock = attrs.field(factory=Lock, init=False)

    @classmethod
    def of(cls, board: Board, row: int, column: int) -> Tally:
        """The column of `board`, counted in its row number `row`."""
        others = (other.cells for index, other in enumerate(board.rows) if index != row)
        return cls(column, board.rows[row].cells, tuple(others))

    @classmethod
    def alone(cls) -> Tally:
        """A number nobody else counts."""
        return cls(0, memoryview(bytearray(CELL_BYTES)).cast("q"))

    @property
    def own(self) -> int:
        """What this process counted."""
        own: int = self._own[self._column]
        return own

    @property
    def total(self) -> int:
        """What all counted."""
        column = self._column
        total: int = self._own[column]
        for cells in self._others:
            total += cells[column]
        return total

    def claim(self, most: int = 0) -> bool:
        """Count one more, unless that makes it more than `most` (0: no limit) over all processes.

        The claim stands before the others' are summed, so the limit is never exceeded, whoever else claims meanwhile;
        of two at the last place both may be refused.
        """
        column = self._column
        self._own[column] += 1
        if not most:
            return True
        if self._others:
            # A processor may read the others' cells before its own write is seen. Taking a lock is an atomic
            # instruction, before which writes come out; that nobody else wants this one makes it cheap.
            with self._fence:
                pass
        if self.total <= most:
            return True
        self._own[column] -= 1
        return False

    def release(self) -> None:
        """Count one less."""
        self._own[self._column] -= 1


@attrs.frozen(eq=False)
class Marks:
    """A number of each process's own that the others see; 0 until it is set, and once that process is no more."""

    _column: int
    _own: memoryview
    _others: tuple[memoryview, ...] = ()
    _fence: Lock = attrs.field(factory=Lock, init=False)

    @classmethod
    def of(cls, board: Board, row: int, column: int) -> Marks:
        """The column of `board`, whose row number `row` is this process's."""
        others = (other.cells for index, other in enumerate(board.rows) if index != row)
        return cls(column, board.rows[row].cells, tuple(others))

    @classmethod
    def alone(cls) -> Marks:
        """Where nobody else is."""
        return cls(0, memoryview(bytearray(CELL_BYTES)).cast("q"))

    @property
    def shared(self) -> bool:
        """Whether there are others."""
        return bool(self._others)

    @property
    def own(self) -> int:
        """This process's own."""
        own: int = self._own[self._column]
        return own

    def set(self, value: int) -> None:
        """Change this process's own."""
        self._own[self._column] = value

    def set_and_look(self, value: int) -> list[int]:
        """Change it, then say what others have set: of two that do so at once, one at least sees the other's."""
        self.set(value)
        if self._others:
            with self._fence:  # see `Tally.claim`
                pass
        return self.others()

    def others(self) -> list[int]:
        """All that others have set."""
        column = self._column
        return [mark for cells in self._others if (mark := cells[column])]
