"""Lines: what they look like, and that nobody outside can forge one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.errors import Reason
from trioproxy.logs.render import render_json, render_text

HEAD = {"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "event": "request"}


def text(**fields):
    return render_text(None, "", {**fields, **HEAD})


def as_json(**fields):
    return render_json(None, "", {**fields, **HEAD})


def test_a_text_line_is_time_level_event_and_fields_in_order():
    assert text(id=7, path="/ws") == "2026-01-02T03:04:05.678Z info    request id=7 path=/ws\n"


def test_a_json_line_starts_with_time_level_and_event():
    line = as_json(id=7, path="/ws")
    assert line == (
        '{"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "event": "request", "id": 7, "path": "/ws"}\n'
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("line\nbreak", r'"line\nbreak"'),
        ("\x1b[31mred", r'"\u001b[31mred"'),
        ("\x7f", r'"\u007f"'),
        ("\x85", r'"\u0085"'),
        ("\u2028", r'"\u2028"'),
        ("\u202eevil", r'"\u202eevil"'),
        ("\udcff", r'"\udcff"'),
        ("größe", "größe"),
        (True, "true"),
        (None, "null"),
        (12, "12"),
        (0.25, "0.25"),
        (2.0, "2"),
        (0.00000012, "0"),
        (Reason.DONE, "done"),
        (b"\x00", r'"b\'\\x00\'"'.replace(r"\'", "'")),
        (["a", "b"], "\"['a', 'b']\""),
    ],
)
def test_values_in_text_stand_bare_or_quoted(value, shown):
    assert text(x=value) == f"2026-01-02T03:04:05.678Z info    request x={shown}\n"


def test_values_in_json_keep_their_types():
    values = {"s": "x", "n": 1, "f": 0.5, "t": True, "none": None, "list": ["a"], "reason": Reason.DONE, "bytes": b"x"}
    assert json.loads(as_json(**values)) == HEAD | values | {"bytes": "b'x'"}


def test_a_traceback_in_text_is_indented_below_its_line():
    rendered = text(id=1, exception="Traceback:\nValueError: a\n2026-01-02T03:04:05Z info forged\r\x1b[2J")
    assert rendered == (
        "2026-01-02T03:04:05.678Z info    request id=1\n"
        "    Traceback:\n"
        "    ValueError: a\n"
        "    2026-01-02T03:04:05Z info forged\n"
        "    \\u001b[2J\n"
    )


def test_a_traceback_in_json_is_a_field():
    assert json.loads(as_json(exception="Traceback:\nValueError"))["exception"] == "Traceback:\nValueError"


@given(st.text())
def test_no_value_makes_a_second_line_or_reaches_the_terminal(value):
    for line in (text(x=value), as_json(x=value)):
        assert line.endswith("\n") and line[:-1].isprintable()


@given(st.text())
def test_a_value_comes_out_of_json_as_it_went_in(value):
    assert json.loads(as_json(x=value))["x"] == value


@given(st.text())
def test_every_line_of_a_traceback_is_indented(value):
    first, *rest = text(exception=value).split("\n")[:-1]
    assert first.endswith("request")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
