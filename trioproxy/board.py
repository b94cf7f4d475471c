"""Cells of numbers with one writer a row, read by everyone; and which column means what.

No locks: a cell is one aligned 64-bit word, written by one task tree alone, and a reader sums a column over all rows.
What the columns mean to an operator is `metrics`' business. A row per worker process in a shared memfd is why it has
this shape; within one process it is one row of plain memory.
"""

from __future__ import annotations

import mmap
from typing import Final

import attrs

CELL_BYTES: Final = 8
CACHE_LINE_CELLS: Final = 64 // CELL_BYTES  # rows start on their own lines, so that writers never share one

DEFAULT_COLUMNS: Final = 1 << 17  # 1 MiB of address space a row, of which only touched pages cost memory
OVERFLOW_CELLS: Final = 64  # the widest series there may be


@attrs.frozen
class Series:
    """One series of a metric: `width` cells from `column` on."""

    name: str
    labels: tuple[str, ...]
    column: int
    width: int


@attrs.define(eq=False)
class Layout:
    """Which columns belong to which series; append-only, so a column keeps its meaning as long as the board lives.

    The first OVERFLOW_CELLS columns are no one's. A series that finds no room is given those: its writer goes on
    without a check, nobody reads what it writes, and `refused` counts the loss.
    """

    columns: int = DEFAULT_COLUMNS
    series: list[Series] = attrs.field(factory=list, init=False)
    used: int = attrs.field(default=OVERFLOW_CELLS, init=False)
    refused: int = attrs.field(default=0, init=False)
    _known: dict[tuple[str, tuple[str, ...]], int] = attrs.field(factory=dict, init=False)

    def intern(self, name: str, labels: tuple[str, ...], width: int = 1) -> int:
        """The first of the `width` columns of a series, the same one at every call.

        Raises ValueError for a width above OVERFLOW_CELLS or below 1. Never fails for want of room: see the class.
        """
        known = self._known.get((name, labels))
        if known is not None:
            return known
        if not 1 <= width <= OVERFLOW_CELLS:
            raise ValueError(f"a series of {width} cells: 1 to {OVERFLOW_CELLS} are possible")
        if self.used + width > self.columns:
            self.refused += 1
            self._known[name, labels] = 0
            return 0
        column = self.used
        self.used += width
        self.series.append(Series(name, labels, column, width))
        self._known[name, labels] = column
        return column


@attrs.frozen(eq=False)
class Row:
    """One writer's cells, by column."""

    cells: memoryview


class Board:
    """`rows` rows of cells over one `Layout`, zero at first; sparse, so the size is address space and not memory."""

    def __init__(self, layout: Layout, rows: int = 1) -> None:
        self.layout = layout
        self._stride = -(-layout.columns // CACHE_LINE_CELLS) * CACHE_LINE_CELLS
        self._memory = mmap.mmap(-1, rows * self._stride * CELL_BYTES)
        # Items of a memoryview of format "q" are read and written as one word; struct.pack_into would clear them first.
        cells = memoryview(self._memory).cast("q")
        self.rows = tuple(Row(cells[i * self._stride : (i + 1) * self._stride]) for i in range(rows))

    def sum(self, column: int) -> int:
        """A column over all rows."""
        total: int = sum(row.cells[column] for row in self.rows)
        return total

    def snapshot(self) -> list[int]:
        """All columns in use, each summed over the rows; indexed like a row. About 50 µs per 10,000 columns and row."""
        used = self.layout.used
        columns = [row.cells[:used].tolist() for row in self.rows]
        return columns[0] if len(columns) == 1 else [sum(cells) for cells in zip(*columns, strict=True)]
