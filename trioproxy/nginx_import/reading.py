"""Reads nginx files, their includes too, into statements; what nginx could not read is noted with its line.

The tokens are crossplane's. The tree is built here, because its own parser drops the lines of arguments and lets a
literal `...` or a forgotten semicolon swallow what stands behind it.
"""

from __future__ import annotations

import glob
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from crossplane.analyzer import DIRECTIVES
from crossplane.errors import NgxParserBaseException

# Its public `lex` takes a file's name only, and drops an unfinished last token in silence; see `_tokens`.
from crossplane.lexer import _lex_file_object

from trioproxy.nginx_import.statements import Place, Statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioproxy.nginx_import.notes import Notes

MOST_FILES: Final = 1000  # included ones counted each time: files may include one another in circles
MOST_DEPTH: Final = 50  # blocks within blocks
_ESCAPE = re.compile(r"\\([\"'\\trn])")
_ESCAPED: Final = {"t": "\t", "r": "\r", "n": "\n"}
_ELLIPSES: Final = frozenset({"...", "....", "…"})


class ReadError(Exception):
    """The file itself cannot be read; the message says which and why."""


@attrs.frozen
class _Token:
    text: str
    line: int
    quoted: bool

    def is_one_of(self, *signs: str) -> bool:
        return not self.quoted and self.text in signs


def read_nginx(path: str, notes: Notes) -> tuple[Statement, ...]:
    """The statements of a file, with those of included files in the place of their `include`; blocks.

    What cannot be understood is noted as a mistake. Raises ReadError where `path` itself cannot be read.
    """
    reader = _Reader(notes, Path(path).parent)
    try:
        text = _read_text(path)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read: {error.strerror or error}") from None
    return tuple(reader.read(path, text))


def _read_text(path: str) -> str:
    # nginx takes any octets; what is no UTF-8 stands in comments, mostly.
    return Path(path).read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n")


@attrs.define(eq=False)
class _Reader:
    """One reading, with all its files."""

    notes: Notes
    folder: Path  # what relative includes are relative to
    _orders: dict[str, int] = attrs.field(factory=dict, init=False)
    _chain: list[str] = attrs.field(factory=list, init=False)  # files being read, each included by the one before
    _count: int = attrs.field(default=0, init=False)

    def read(self, path: str, text: str) -> list[Statement]:
        self._count += 1
        self._chain.append(os.path.realpath(path))
        order = self._orders.setdefault(path, len(self._orders))
        tree = _Tree(self, path, order, text)
        try:
            return tree.statements()
        finally:
            self._chain.pop()

    def include(self, statement: Statement) -> Iterator[Statement]:
        """The statements of what an `include` names."""
        pattern = statement.value
        full = pattern if os.path.isabs(pattern) else os.path.normpath(str(self.folder / pattern))  # noqa: PTH117
        found = sorted(glob.glob(full)) if glob.has_magic(full) else [full]  # noqa: PTH207 - text to text
        if not found:
            self.notes.harmless(statement, "no file has such a name")
        for path in found:
            yield from self._include_one(statement, path)

    def _include_one(self, statement: Statement, path: str) -> list[Statement]:
        if os.path.realpath(path) in self._chain:
            self.notes.mistake(statement, f"{statement}: includes the file it stands in")
            return []
        if self._count >= MOST_FILES:
            self.notes.mistake(statement, f"{statement}: more than {MOST_FILES} files are included")
            return []
        try:
            text = _read_text(path)
        except (OSError, ValueError) as error:
            if Path(path).name == "mime.types":
                self.notes.harmless(statement, "content types are the upstream's business")
            else:
                reason = getattr(error, "strerror", None) or str(error)
                self.notes.left_over(statement, f"{path} cannot be read: {reason}")
            return []
        self.notes.converted(statement)
        return self.read(path, text)


class _Tree:
    """One file's tokens, made into statements; each method moves behind what it is named for."""

    def __init__(self, reader: _Reader, path: str, order: int, text: str) -> None:
        self._reader = reader
        self._path = path
        self._order = order
        self._last_line = text.count("\n") + 1
        self._tokens = self._lexed(text)
        self._at = 0

    def statements(self) -> list[Statement]:
        return self._block(None, 0)

    def _lexed(self, text: str) -> list[_Token]:
        """The tokens, with a semicolon of ours behind the last line: where it is missing, a quote swallowed it."""
        end = self._last_line + 1
        found: list[_Token] = []
        try:
            for word, line, quoted in _lex_file_object(io.StringIO(f"{text}\n;\n")):
                if quoted or not word.startswith("#"):
                    found.append(_Token(_unescaped(word), line, quoted))
        except NgxParserBaseException as error:
            self._mistake(error.lineno or 1, error.strerror)
        if found and found[-1].is_one_of(";") and found[-1].line >= end:
            found.pop()
        else:
            line = found[-1].line if found else 1
            self._mistake(line, "unexpected end of file: a quote that opens here or below is not closed")
        return found

    def _block(self, opened: Statement | None, depth: int) -> list[Statement]:
        """The statements up to the brace that closes `opened`, or up to the end of the file."""
        found: list[Statement] = []
        while (token := self._take()) is not None:
            if token.is_one_of("}"):
                if opened is not None:
                    return found
                self._mistake(token.line, 'unexpected "}": it closes nothing')
            elif token.is_one_of(";", "{"):
                self._mistake(token.line, f'unexpected "{token.text}"')
            elif not token.quoted and token.text in _ELLIPSES:
                said = f'"{token.text}" is no directive: nginx takes it for one, with what follows as its arguments'
                self._mistake(token.line, f"{said}; replace it by your own settings, or delete it")
            else:
                self._statement(token, found, depth)
        if opened is not None:
            self._mistake(opened.place.line, f'"{opened.name}" opens a block that no "}}" closes')
        return found

    def _statement(self, first: _Token, found: list[Statement], depth: int) -> None:
        args, end = self._arguments(first)
        statement = Statement(first.text, tuple(arg.text for arg in args), self._place(first.line))
        if end == "{":
            if depth >= MOST_DEPTH:
                self._mistake(first.line, f"more than {MOST_DEPTH} blocks within one another")
                self._at = len(self._tokens)
                return
            statement = attrs.evolve(statement, block=tuple(self._block(statement, depth + 1)))
        found.append(statement)
        if statement.name == "include" and end == ";" and len(args) == 1:
            found.extend(self._reader.include(statement))

    def _arguments(self, first: _Token) -> tuple[list[_Token], str]:
        """What stands between a directive's name and its end, and how it ends: `;`, `{` or "" for wrongly."""
        args: list[_Token] = []
        previous = first
        while (token := self._take()) is not None:
            if token.is_one_of(";", "{"):
                return args, token.text
            if token.is_one_of("}"):
                self._at -= 1
                break
            if token.line > previous.line and not token.quoted and token.text in DIRECTIVES:
                self._mistake(previous.line, f'"{first.text}" has no ";" at its end: "{token.text}" follows')
                self._at -= 1
                return args, ""
            args.append(token)
            previous = token
        self._mistake(previous.line, f'"{first.text}" has no ";" at its end')
        return args, ""

    def _take(self) -> _Token | None:
        if self._at == len(self._tokens):
            return None
        self._at += 1
        return self._tokens[self._at - 1]

    def _place(self, line: int) -> Place:
        return Place(self._order, min(line, self._last_line), self._path)

    def _mistake(self, line: int, message: str) -> None:
        self._reader.notes.mistake_at(self._place(line), message)


def _unescaped(word: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), word)
