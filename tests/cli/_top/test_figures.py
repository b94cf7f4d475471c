"""The figures above everything else."""

from __future__ import annotations

import pytest
from support.live import sample

from trioproxy.cli._top.figures import FIGURES, figure_lines, rate, sparkline


def written(width, *samples):
    return [line.plain for line in figure_lines(samples, width)]


def test_of_one_sample_there_are_figures_alone():
    assert written(80, sample()) == [
        "tunnels          1,240  1300 connections",
        "messages/s         962  60 up, 902 down",
        "bytes/s        718 KiB  4.0 KiB up, 714 KiB down",
        "handshakes/s       2.0  0.5 failed",
        "handshake p99   4.9 ms  p50 1.8 ms, last 10 s",
        "endings/s           22  done 20, idle 1.0",
        "requests/s         3.0",
    ]


def test_with_more_of_them_it_shows_how_they_went():
    lines = written(100, *(sample(tunnels=count) for count in (0, 50, 100)))
    assert lines[0].endswith(" ▁▅█")
    assert lines[1].endswith("███")
    assert {len(line) for line in lines} == {100}


def test_where_there_is_no_room_for_bars_there_are_none():
    lines = written(50, sample(), sample())
    assert not any("█" in line for line in lines)
    assert lines[2] == "bytes/s        718 KiB  4.0 KiB up, 714 KiB down"


@pytest.mark.parametrize("width", [0, 1, 10, 30, 60])
def test_no_line_is_wider_than_there_is_room(width):
    lines = written(width, sample(), sample())
    assert len(lines) == len(FIGURES)
    assert all(len(line) <= width for line in lines)


def test_many_endings_do_not_take_the_bars_away():
    many = {f"reason_{number}": 1.0 for number in range(20)}
    lines = written(90, sample(), sample(endings_per_second=many))
    assert "..." in lines[5] and lines[5].endswith("█")


def test_a_second_without_handshakes_has_no_quantiles():
    lines = written(80, sample(handshake_seconds=None))
    assert lines[4].split(maxsplit=3) == ["handshake", "p99", "-", "none in the last 10 s"]


def test_without_a_sample_there_is_nothing():
    assert written(80) == []


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.04, "0.0"), (0.3, "0.3"), (9.9, "9.9"), (12.4, "12"), (12345.6, "12,346")]
)
def test_rates_have_the_figures_that_say_something(value, text):
    assert rate(value) == text


@pytest.mark.parametrize(
    ("values", "bars"),
    [([], "    "), ([0, 0], "  ▁▁"), ([1, 1], "  ██"), ([0, 1, 2, 4], "▁▃▅█"), ([9, 9, 0, 1, 2, 4], "▁▃▅█")],
)
def test_bars_are_as_high_as_the_highest_of_those_shown(values, bars):
    assert sparkline(values, 4) == bars
