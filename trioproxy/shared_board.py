"""The board of several processes: a memfd with a row for each, and for each a journal of the series it has begun.

What rows, columns and series are is told in `board`. No process waits for another: each gives its series columns of a
block of its own, so that a column means the same everywhere, and who reads looks into all journals. What the
supervisor began is used by all under its columns. A row and its journal outlive the process that wrote them, so whoever
comes next in its place goes on where it ended.
"""

from __future__ import annotations

import json
import mmap
import os
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.board import CELL_BYTES, CLIENT_TABLE_CELLS, OVERFLOW_CELLS, Board, Layout, Memory, Series, stride

if TYPE_CHECKING:
    from collections.abc import Iterator

SUPERVISOR: Final = 0  # its row; the workers' follow, and then one for what dead workers had counted
SUPERVISOR_COLUMNS: Final = 1 << 17
WORKER_COLUMNS: Final = 1 << 16
JOURNAL_BYTES: Final = 1 << 23  # about 80 bytes a series; as everything here, only what is touched costs memory
TABLE_BYTES: Final = CLIENT_TABLE_CELLS * CELL_BYTES


def worker_row(worker: int) -> int:
    """The row of a worker, numbered from 0 on."""
    return worker + 1


def retired_row(workers: int) -> int:
    """The row for what dead workers had counted; the supervisor writes it."""
    return workers + 1


def create_memory(workers: int) -> int:
    """A descriptor of memory for the supervisor's and so many workers' rows, all zero; the caller owns it."""
    fd = os.memfd_create("trioproxy-board")
    os.ftruncate(fd, _cells(workers) * CELL_BYTES + (workers + 1) * (JOURNAL_BYTES + TABLE_BYTES))
    return fd


def open_board(fd: int, workers: int, row: int) -> Board:
    """The board in what `create_memory` made, as the process sees it whose row is `row`. `fd` may then be closed."""
    memory = memoryview(mmap.mmap(fd, 0))
    end = _cells(workers) * CELL_BYTES
    journals = [Journal(memory[end + i * JOURNAL_BYTES : end + (i + 1) * JOURNAL_BYTES]) for i in range(workers + 1)]
    first = OVERFLOW_CELLS + SUPERVISOR_COLUMNS
    base = Layout(columns=first, journal=journals[SUPERVISOR])
    layouts = [base]
    for journal in journals[1:]:
        layouts.append(Layout(columns=first + WORKER_COLUMNS, first=first, journal=journal, base=base))
        first += WORKER_COLUMNS
    everyone, retired = range(workers + 2), retired_row(workers)
    # Reading memory nobody has written to would fill it: of a worker's columns there are two rows at most.
    read = [(base, everyone), *((layout, (i, retired)) for i, layout in enumerate(layouts) if i)]
    start = end + (workers + 1) * JOURNAL_BYTES
    tables = [memory[start + i * TABLE_BYTES : start + (i + 1) * TABLE_BYTES].cast("q") for i in range(workers + 1)]
    return Board(layouts[row], workers + 2, Memory(memory[:end].cast("q"), _columns(workers), read, tables))


def _columns(workers: int) -> int:
    return OVERFLOW_CELLS + SUPERVISOR_COLUMNS + workers * WORKER_COLUMNS


def _cells(workers: int) -> int:
    return (workers + 2) * stride(_columns(workers))


class Journal:
    """The series one process has begun, as lines of JSON behind the count of their bytes; it alone appends."""

    def __init__(self, memory: memoryview) -> None:
        self._size = memory[:CELL_BYTES].cast("q")
        self._text = memory[CELL_BYTES:]
        self._read = 0

    def append(self, series: Series) -> bool:
        """Write down one more series; False where there is no room."""
        line = json.dumps(attrs.astuple(series)).encode() + b"\n"
        size = self._size[0]
        if size + len(line) > len(self._text):
            return False
        self._text[size : size + len(line)] = line
        self._size[0] = size + len(line)  # from here on it counts: a process that dies before has written nothing
        return True

    def news(self) -> Iterator[Series]:
        """What was written down since the last call."""
        size = self._size[0]
        if size == self._read:
            return
        for line in bytes(self._text[self._read : size]).splitlines():
            name, labels, column, width = json.loads(line)
            yield Series(name, tuple(labels), column, width)
        self._read = size
