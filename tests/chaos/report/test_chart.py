"""One chart as a figure."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.report.chart import HEIGHT, WIDTH, Chart, Frame, Layer, Shape, figure
from trioproxy.chaos.timeline import Span

FRAME = Frame([0.0, 0.5, 1.0, 1.5, 2.0], ())


def drawn(shape=Shape.AREAS, frame=FRAME, dashed=(), **layers):
    rows = [Layer(name, f"s{place}", values) for place, (name, values) in enumerate(layers.items())]
    chart = Chart(
        name="Things", note="By kind.", unit="things", shape=shape, layers=rows, dashed=dashed, dashed_name="d"
    )
    return ET.fromstring(figure(chart, frame))


def paths(root, kind):
    return [each.get("d") for each in root.iter("path") if kind in each.get("class").split()]


def test_levels_lie_one_upon_the_other():
    root = drawn(low=[1, 1, 2, 2], high=[0, 1, 0, 2])
    assert paths(root, "s0") == ["M0 112.5H500V75H1000L1000 150H0Z"]
    assert paths(root, "s1") == ["M250 75H500L500 112.5H250ZM750 0H1000L1000 75H750Z"]


def test_counts_are_bars_one_upon_the_other():
    root = drawn(Shape.BARS, few=[0, 1, 0, 0], many=[0, 1, 0, 2])
    assert paths(root, "s0") == ["M250 150V75H465V150Z"]
    assert paths(root, "s1") == ["M250 75V0H465V75ZM750 150V0H965V150Z"]


def test_values_are_a_line_with_gaps_where_there_is_none():
    root = drawn(Shape.LINES, p50=[1, 10, math.nan, 100], none=[math.nan] * 4)
    assert paths(root, "s0") == ["M0 150H250V75H500M750 0H1000"]
    assert paths(root, "s1") == [""]


def test_nothing_at_all_can_be_drawn():
    assert paths(drawn(Shape.LINES, none=[math.nan] * 4), "line") == [""]
    assert paths(drawn(none=[0] * 4), "area") == []


def test_another_source_is_a_dashed_line_with_gaps_where_it_said_nothing():
    points = [(0.0, 0), (0.2, 2), (0.4, 4), (0.6, 4), (1.6, 2), (1.8, 2)]
    assert paths(drawn(some=[4] * 4, dashed=points), "dashed") == ["M0 150L100 75L200 0L300 0M800 75L900 75"]
    assert paths(drawn(some=[4] * 4), "dashed") == []
    assert "d" in [item.text or item[0].tail for item in drawn(some=[4] * 4, dashed=points).iter("li")]
    assert paths(drawn(some=[4] * 4, dashed=points[:1]), "dashed") == ["M0 150"]


def test_faults_are_bands_or_lines_where_they_strike_once():
    spans = [Span(0.5, 1.0, (0,), FAULTS["kill"]()), Span(1.5, 1.505, (0,), FAULTS["reload"]())]
    root = drawn(frame=Frame(FRAME.times, spans), some=[1] * 4)
    (band,) = (each for each in root.iter("rect") if each.get("class") == "fault")
    assert (band.get("x"), band.get("width"), band.get("height")) == ("250", "250", str(HEIGHT))
    assert paths(root, "edge") == [f"M250 0V{HEIGHT}M500 0V{HEIGHT}M750 0V{HEIGHT}"]


def test_whoever_does_not_see_it_can_read_it():
    root = drawn(some=[1, 0, 2, 0], other=[0, 0, 0, 1000])
    picture = root.find(".//svg")
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "Things, things: some 0 to 2; other 0 to 1,000."
    rows = [[cell.text for cell in row] for row in root.iter("tr")]
    assert rows == [
        ["from", "some", "other"],
        ["0.0 s", "1", "0"],
        ["0.5 s", "0", "0"],
        ["1.0 s", "2", "0"],
        ["1.5 s", "0", "1,000"],
    ]
    titles = [title.text for title in root.iter("title")]
    assert titles[3] == "1.5 s: some 0, other 1,000"
    assert drawn(Shape.LINES, p=[math.nan] * 4).find(".//svg").get("aria-label").endswith("p nothing.")


def test_axes_have_marks_where_they_say():
    root = drawn(some=[5] * 4)
    marks = [(each.text, each.get("style")) for each in root.iter("span")]
    assert ("3", "bottom:50.0%") in marks
    assert ("6", "bottom:100.0%") in marks
    assert ("1 s", "left:50.0%") in marks


@given(
    st.sampled_from(Shape),
    st.lists(st.lists(st.floats(0, 1e6) | st.just(0.0), min_size=4, max_size=4), min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("error")
def test_whatever_is_drawn_stays_within_the_drawing(shape, rows):
    root = drawn(shape, **{f"row{number}": row for number, row in enumerate(rows)})
    for path in [each.get("d") for each in root.iter("path")]:
        for verb, *numbers in re.findall(r"([MLHVZ])(?:(-?[\d.e+]+)(?: (-?[\d.e+]+))?)?", path):
            x, y = {"H": (numbers[0], 0), "V": (0, numbers[0]), "Z": (0, 0)}.get(verb, numbers)
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
