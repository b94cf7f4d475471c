"""Rows in columns of so many cells in all: the least important columns are left out where there is no room.

What stands in them is `view`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP: Final = "  "
HEAD_STYLE: Final = "bold"


@attrs.frozen
class Column:
    """One column: the lower its rank, the longer it stays."""

    head: str
    rank: int
    right: bool = False  # for numbers


def lines(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[Text]:
    """The heads and each row as a line that is no wider than `width`."""
    table = [[Text(column.head, HEAD_STYLE) for column in columns], *map(list, rows)]
    widths = [max(cell_len(row[at].plain) for row in table) for at in range(len(columns))]
    kept = list(range(len(columns)))
    while len(kept) > 1 and sum(widths[at] for at in kept) + len(_GAP) * (len(kept) - 1) > width:
        kept.remove(max(kept, key=lambda at: columns[at].rank))
    return [_line(row, columns, widths, kept, width) for row in table]


def _line(
    row: Sequence[Text], columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int], width: int
) -> Text:
    line = Text()
    for at in kept:
        if at != kept[0]:
            line.append(_GAP)
        padding = " " * (widths[at] - cell_len(row[at].plain))
        line.append(padding if columns[at].right else "")
        line.append_text(row[at])
        line.append("" if columns[at].right else padding)
    return fitted(line, width)


def fitted(line: Text, width: int) -> Text:
    """The line, cut where it would be wider, and with no blanks at its end."""
    if width < 1:
        return Text()
    line.rstrip()
    line.truncate(width, overflow="ellipsis")
    return line


def shares(room: int, wants: Sequence[int], least: int = 1) -> list[int]:
    """How many of `room` lines each gets: as evenly as it goes, nobody more than wanted.

    Who cannot have `least` gets none; the first ones come first.
    """
    given = [0] * len(wants)
    for at, want in enumerate(wants):
        if want and min(want, least) <= room:
            given[at] = min(want, least)
            room -= given[at]
    while room > 0 and (short := [at for at, want in enumerate(wants) if 0 < given[at] < want]):
        for at in short[:room]:
            given[at] += 1
            room -= 1
    return given
