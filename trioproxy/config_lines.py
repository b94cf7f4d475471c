"""Where each key of a TOML text stands: an index from key path to line number, so that problems can say where.

It only finds places: the text was parsed by `tomllib` before, so it is known to be valid and is not checked again.
"""

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]

_BLANKS = re.compile(r"[ \t]*")
_FILLER = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")  # between statements and between the items of an array
_BARE_KEY = re.compile(r"[^\s.=\[\]{},#\"']*")
# Up to two quotes more may stand directly before the three that close a multi-line string (TOML 1.0, Strings).
_STRING_FORMS = (
    r'"""(?:\\.|[^\\])*?""""{0,2}',
    r"'''.*?''''{0,2}",
    r'"(?:\\.|[^"\\])*"',
    r"'[^']*'",
)
_STRING = re.compile("|".join(_STRING_FORMS), re.DOTALL)
_SCALAR = re.compile(r"[^,\]}#\n]*")  # numbers, booleans, dates: nothing in them needs quoting


def line_index(text: str) -> dict[KeyPath, int]:
    """Key path → line (from 1) of every key, table and array item of a valid TOML text, where it first stands.

    Items of arrays, and of arrays of tables, are counted from 0: `("routes", 1, "listeners", 0)`.
    """
    return _Scanner(text).statements()


def line_of(index: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of the path, or of the longest part of it that stands in the text; 1 if none does."""
    for length in range(len(path), 0, -1):
        if path[:length] in index:
            return index[path[:length]]
    return 1


class _Scanner:
    """One walk over the text; each method moves `_at` behind what it is named for."""

    __slots__ = ("_at", "_counts", "_found", "_line_starts", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0] + [match.end() for match in re.finditer("\n", text)]
        self._found: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}  # array of tables → how many tables so far

    def statements(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        self._skip(_FILLER)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._key_value(table)
            self._skip(_FILLER)
        return self._found

    def _header(self) -> KeyPath:
        line = self._line()
        many = self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        *parents, last = self._key()
        self._at += 2 if many else 1
        path: KeyPath = ()
        for part in parents:
            path = self._current((*path, part))
            self._found.setdefault(path, line)
        path = (*path, last)
        if many:
            self._found.setdefault(path, line)
            self._counts[path] = self._counts.get(path, 0) + 1
        path = self._current(path)
        self._found.setdefault(path, line)
        return path

    def _current(self, path: KeyPath) -> KeyPath:
        """The table that a header's key means: of an array of tables, the last."""
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _key_value(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        for part in self._key():
            path = (*path, part)
            self._found.setdefault(path, line)
        self._at += 1  # "="
        self._skip(_BLANKS)
        self._value(path)

    def _key(self) -> list[str]:
        parts = []
        while True:
            self._skip(_BLANKS)
            start = self._at
            if self._text[start] in "\"'":
                self._skip(_STRING)
                parts.append(str(tomllib.loads(f"key = {self._text[start : self._at]}")["key"]))
            else:
                self._skip(_BARE_KEY)
                parts.append(self._text[start : self._at])
            self._skip(_BLANKS)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at]:
            case '"' | "'":
                self._skip(_STRING)
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        count = 0
        while self._more("]"):
            item = (*path, count)
            self._found[item] = self._line()
            self._value(item)
            count += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._more("}"):
            self._key_value(path)

    def _more(self, end: str) -> bool:
        """Whether another item follows before `end`; stands on it, or behind `end`."""
        self._skip(_FILLER)
        if self._text[self._at] == ",":
            self._at += 1
            self._skip(_FILLER)
        if self._text[self._at] == end:
            self._at += 1
            return False
        return True

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _line(self) -> int:
        return bisect_right(self._line_starts, self._at)
