"""Keys, as terminals tell them."""

from __future__ import annotations

import os
import pty
import termios

import pytest

from trioproxy.cli._top.terminal import keys_at_once, keys_in, read_keys


@pytest.fixture
def terminal():
    """Both ends of one: who sits there, and the program."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("q", ["q"]),
        ("sd", ["s", "d"]),
        ("\x03\x1a", ["ctrl-c", "ctrl-z"]),
        ("\x1b[A\x1b[B", ["up", "down"]),
        ("\x1bOA\x1bOB", ["up", "down"]),
        ("\x1b[1;5Aq", ["\x1b[1;5A", "q"]),
        ("\x1b[3~y", ["\x1b[3~", "y"]),
        ("\x1bOPq", ["\x1bOP", "q"]),
        ("\x1b", ["\x1b"]),
        ("\n\u00e9", ["\n", "\u00e9"]),
    ],
)
def test_each_key_is_one_whatever_it_consists_of(text, keys):
    assert keys_in(text) == keys


def test_keys_come_at_once_and_the_terminal_is_as_it_was_afterwards(terminal):
    ours, theirs = terminal
    before = termios.tcgetattr(theirs)
    with keys_at_once(theirs):
        os.write(ours, b"s\x03")
        assert read_keys(theirs) == ["s", "ctrl-c"]
        assert termios.tcgetattr(theirs) != before
    assert termios.tcgetattr(theirs) == before


def test_it_is_as_it_was_also_where_something_fails(terminal):
    _, theirs = terminal
    before = termios.tcgetattr(theirs)
    with pytest.raises(ZeroDivisionError), keys_at_once(theirs):
        raise ZeroDivisionError
    assert termios.tcgetattr(theirs) == before


def test_a_terminal_that_is_gone_ends_it(tmp_path):
    ours, theirs = pty.openpty()
    os.close(ours)
    assert read_keys(theirs) == ["q"]
    os.close(theirs)
    assert read_keys(theirs) == ["q"]
    with (tmp_path / "empty").open("w+") as empty:
        assert read_keys(empty.fileno()) == ["q"]
