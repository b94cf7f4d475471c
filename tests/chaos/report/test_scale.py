"""Axes, numbers and times."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.chaos.report.scale import linear, logarithmic, moment, number, of_time


@pytest.mark.parametrize(
    ("most", "high"), [(0, 2), (0.3, 0.4), (1, 1), (2, 2), (5, 6), (19, 20), (100, 100), (101, 200)]
)
def test_a_linear_axis_ends_at_a_round_number(most, high):
    scale = linear(most)
    assert scale.high == pytest.approx(high)
    assert list(scale.marks) == pytest.approx([0, high / 2, high])
    assert [scale.place(value) for value in (-1, 0, high / 4, high, 3 * high)] == pytest.approx([0, 0, 0.25, 1, 1])


@pytest.mark.parametrize(
    ("least", "most", "marks"),
    [
        (2, 30, [1, 10, 100]),
        (1, 1, [1, 10]),
        (0, 0.5, [0.001, 0.01, 0.1, 1]),
        (0, 0, [0.001, 0.01]),
        (0.02, 5000, [0.01, 1, 100, 10000]),
    ],
)
def test_a_logarithmic_axis_goes_from_a_power_of_ten_to_another(least, most, marks):
    scale = logarithmic(least, most)
    assert list(scale.marks) == pytest.approx(marks)
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 1
    assert scale.place(0) == 0
    assert scale.place(math.sqrt(scale.low * scale.high)) == pytest.approx(0.5)


@given(st.floats(0.01, 1e7))
def test_an_axis_of_time_has_few_round_marks(seconds):
    marks = of_time(seconds).marks
    assert 1 <= len(marks) <= 8
    assert marks[0] == 0
    assert marks[-1] <= seconds * (1 + 1e-6)


@given(st.floats(1e-6, 1e9), st.floats(1e-6, 1e9))
def test_what_is_more_lies_no_lower(one, other):
    for scale in (linear(max(one, other)), logarithmic(min(one, other), max(one, other))):
        assert 0 <= scale.place(min(one, other)) <= scale.place(max(one, other)) <= 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3.0, "3"),
        (1234.5, "1,234"),
        (1250, "1,250"),
        (12.345, "12.3"),
        (0.03125, "0.0312"),
        (0.9996, "0.9996"),
        (0.99996, "0.99996"),
        (1 - 1e-12, "1"),
        (math.inf, "∞"),
        (math.nan, ""),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (2.5, "2.5 s"), (59, "59 s"), (60, "1 min"), (210, "3:30 min"), (7200, "2 h"), (75.5, "75.5 s")],
)
def test_times(seconds, text):
    assert moment(seconds) == text
