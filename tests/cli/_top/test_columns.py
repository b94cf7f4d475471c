"""Columns in so many cells, and lines for so many who want some."""

from __future__ import annotations

import pytest
from rich.text import Text

from trioproxy.cli._top.columns import Column, fitted, lines, shares

COLUMNS = (Column("name", 0), Column("kind", 2), Column("count", 1, right=True))
ROWS = (("alpha", "http", "7"), ("b", "websocket", "12345"))


def written(width, columns=COLUMNS, rows=ROWS):
    return [line.plain for line in lines(columns, [[Text(cell) for cell in row] for row in rows], width)]


def test_numbers_stand_at_the_right_and_words_at_the_left():
    assert written(80) == [
        "name   kind       count",
        "alpha  http           7",
        "b      websocket  12345",
    ]


def test_where_there_is_no_room_the_least_important_columns_are_left_out():
    assert written(23)[0] == "name   kind       count"
    assert written(22) == ["name   count", "alpha      7", "b      12345"]
    assert written(11) == ["name", "alpha", "b"]


@pytest.mark.parametrize("width", range(6))
def test_no_line_is_wider_than_there_is_room(width):
    assert all(len(line) <= width for line in written(width))


def test_characters_may_be_two_cells_wide():
    assert written(80, COLUMNS[:1] + COLUMNS[2:], [("漢字", "1"), ("abcd", "2")]) == [
        "name  count",
        "漢字      1",
        "abcd      2",
    ]


def test_a_cut_line_says_so():
    assert fitted(Text("abcdef   "), 4).plain == "abc…"
    assert fitted(Text("abcd   "), 4).plain == "abcd"


@pytest.mark.parametrize(
    ("room", "wants", "given"),
    [
        (10, [3, 3], [3, 3]),
        (10, [20, 20], [5, 5]),
        (10, [2, 20], [2, 8]),
        (5, [9, 9, 9], [2, 2, 1]),
        (0, [1], [0]),
        (-3, [1], [0]),
        (2, [9, 9, 9], [1, 1, 0]),
        (7, [0, 9], [0, 7]),
        (7, [], []),
    ],
)
def test_room_is_shared_evenly_and_nobody_gets_more_than_wanted(room, wants, given):
    assert shares(room, wants) == given


@pytest.mark.parametrize(
    ("room", "wants", "given"),
    [(1, [9, 9], [0, 0]), (3, [9, 9], [3, 0]), (5, [9, 9], [3, 2]), (3, [1, 9], [1, 2]), (9, [0, 9, 4], [0, 5, 4])],
)
def test_less_than_something_is_nothing(room, wants, given):
    assert shares(room, wants, 2) == given
