"""An nginx file as a tree of statements, each of which knows its line.

Reading files is `reading`'s work, what the statements mean `model`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LONGEST_QUOTE = 60  # of a statement in a message or comment: enough to recognise it


@attrs.frozen(order=True)
class Place:
    """A line of a file; `file_order` is when the file was first read, so that notes can be sorted by it."""

    file_order: int
    line: int
    file: str = attrs.field(order=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def short(self) -> str:
        """Without the file's folder."""
        return f"{self.file.rpartition('/')[2]}:{self.line}"


@attrs.frozen(eq=False)
class Statement:
    """One directive with its arguments, unquoted and unescaped; `block` is None where it ends with a semicolon.

    Two statements are never equal, so that each has a fate of its own.
    """

    name: str
    args: tuple[str, ...]
    place: Place
    block: tuple[Statement, ...] | None = None

    def __str__(self) -> str:
        words = " ".join([self.name, *(arg if arg and " " not in arg else f'"{arg}"' for arg in self.args)])
        words = one_line(words)
        return words if len(words) <= LONGEST_QUOTE else f"{words[: LONGEST_QUOTE - 3]}..."

    @property
    def value(self) -> str:
        """The first argument, "" where there is none."""
        return self.args[0] if self.args else ""

    @property
    def inner(self) -> tuple[Statement, ...]:
        """What its block holds; nothing where it has none."""
        return self.block or ()


def one_line(text: str) -> str:
    """The text with everything escaped that no line of a terminal or file should have."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def walk(statements: Iterable[Statement]) -> Iterator[Statement]:
    """All statements, each before what its block holds."""
    for statement in statements:
        yield statement
        yield from walk(statement.inner)


def named(statements: Iterable[Statement], *names: str) -> list[Statement]:
    """Those of one level that have one of these names."""
    return [statement for statement in statements if statement.name in names]
