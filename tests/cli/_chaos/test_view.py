"""How a run stands, in lines."""

import math

import attrs
import pytest

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.timeline import Span
from trioproxy.cli._chaos.tally import Snapshot
from trioproxy.cli._chaos.view import progress, progress_line

CALM = Snapshot(now=5.0, duration=20.0, open=[10, 10], opened=20, messages=1234, rate=99.6, p50_ms=1.5, p99_ms=4.25)
WILD = attrs.evolve(
    CALM,
    now=7.25,
    open=[12, 0],
    without=8,
    failed=3,
    lost=5,
    on=[Span(7.0, 9.0, (1,), FAULTS["kill"]()), Span(7.0, 8.5, (), FAULTS["reload"]())],
)


def plain(snapshot, width=100, height=30):
    return [line.plain for line in progress(snapshot, width, height)]


def test_when_all_is_well():
    assert plain(CALM) == [
        "5.0 s of 20 s  ━━━━━━━━━━──────────────────────────────",
        "tunnels     20 open   upstream 0: 10, upstream 1: 10",
        "handshakes  20 opened, 0 failed",
        "messages    1,234 echoed, 100 a second, 0 lost",
        "round trips p50 1.5 ms, p99 4.25 ms, lately",
        "faults      none now",
    ]
    assert not any("red" in str(span.style) for line in progress(CALM, 100, 30) for span in line.spans)


def test_when_something_is_amiss_it_is_to_be_seen():
    assert plain(WILD)[1:3] == [
        "tunnels     12 open, 8 clients without   upstream 0: 12, upstream 1: 0",
        "handshakes  20 opened, 3 failed",
    ]
    assert plain(WILD)[5] == "faults      kill of upstream 1, 1.8 s more; reload, 1.2 s more"
    red = [
        line.plain[span.start : span.end]
        for line in progress(WILD, 100, 30)
        for span in line.spans
        if "red" in span.style
    ]
    assert red == ["3 failed", "5 lost"]


def test_before_anything_came_back_and_behind_the_end():
    assert plain(attrs.evolve(CALM, p50_ms=math.nan, p99_ms=math.nan))[4] == "round trips p50 -, p99 -, lately"
    assert plain(attrs.evolve(CALM, now=21.0))[0] == "20.0 s of 20 s  " + "━" * 40
    assert plain(attrs.evolve(CALM, elsewhere=3))[1].startswith("tunnels     23 open")


@pytest.mark.parametrize("width", [1, 12, 20, 40, 80])
def test_no_line_is_wider_than_the_terminal(width):
    assert all(line.cell_len <= width for height in (3, 30) for line in progress(WILD, width, height))
    assert ("━" in plain(WILD, width)[0]) is (width >= 40)


def test_a_terminal_of_few_lines_has_one():
    assert plain(CALM, 200, 8) == [progress_line(CALM)]


def test_one_line_for_a_file():
    assert progress_line(WILD) == (
        "   7.25 s  12 tunnels (12, 0), 8 clients without, 20 handshakes, 3 failed, 1234 messages, 5 lost, p99 4.25 ms"
    )
