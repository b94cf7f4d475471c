"""The keyboard of a terminal: keys as they are pressed, and everything as it was before at the end.

What is shown is rich's work, what keys mean `state`'s.
"""

from __future__ import annotations

import os
import re
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES: Final = {"\x03": "ctrl-c", "\x1a": "ctrl-z", "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down"}
# A key's own sequence (ECMA-48 section 5.4; SS3 for cursor keys of a VT100), or one character
_KEY: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b|.", re.DOTALL)
_MOST_BYTES: Final = 1024


@contextmanager
def keys_at_once(fd: int) -> Iterator[None]:
    """Within the block, a terminal gives each key when it is pressed, shows none of them, and sends no signals."""
    before = termios.tcgetattr(fd)
    changed = termios.tcgetattr(fd)
    changed[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)  # what was typed for us is nobody else's


def read_keys(fd: int) -> list[str]:
    """What was pressed: characters, or names for keys that have none. A terminal that is gone is a `q`."""
    try:
        data = os.read(fd, _MOST_BYTES)
    except OSError:
        data = b""
    return keys_in(data.decode(errors="replace")) if data else ["q"]


def keys_in(text: str) -> list[str]:
    """The keys that a terminal says this for."""
    return [_NAMES.get(key, key) for key in _KEY.findall(text)]
