"""A configuration in the making: tables of settings, each of which knows the nginx statement it comes from.

It writes TOML and says whose line is whose; whether the settings can be used is asked in `settling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.config_show import toml_key, toml_value
from trioproxy.nginx_import.statements import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioproxy.nginx_import.statements import Statement

Scalar = str | int | float | bool
Value = Scalar | list[str] | dict[str, Scalar]

NO_COMMENT: Final = "-"
_COMMENT_COLUMN: Final = 46
_WIDTH: Final = 120


@attrs.frozen(eq=False)
class Setting:
    """A key and its value. Without an `essential` one its whole table would mean something else."""

    key: str
    value: Value
    source: Statement | None = None
    essential: bool = False
    comment: str = ""  # by default the source; NO_COMMENT is none
    also: tuple[Statement, ...] = ()  # further statements that say the same
    dispensable: str = ""  # why nobody misses it where it is refused


@attrs.frozen(eq=False)
class Item:
    """One of several values of a setting, on a line of its own."""

    value: Scalar | dict[str, Scalar]
    source: Statement


@attrs.define(eq=False)
class Table:
    """`[name]` or `[[name]]`, with its settings; `inner` tables belong to it and go with it."""

    header: str
    source: Statement | None = None
    settings: list[Setting] = attrs.field(factory=list)
    items: dict[str, list[Item]] = attrs.field(factory=dict)  # by key
    inner: list[Table] = attrs.field(factory=list)
    remark: str = ""  # a comment on a line of its own

    def add(
        self, key: str, value: Value, source: Statement | None = None, **more: bool | str | tuple[Statement, ...]
    ) -> None:
        """Put a setting behind the others."""
        self.settings.append(Setting(key, value, source, **more))  # type: ignore[arg-type]  # as attrs checks at run time

    @property
    def empty(self) -> bool:
        """Whether nothing would be lost without it."""
        return not (self.settings or self.items or self.inner)


@attrs.frozen
class Line:
    """A line of the text and whose it is."""

    text: str
    table: Table | None = None
    part: Setting | Item | None = None


@attrs.define(eq=False)
class Document:
    """All tables, in the order of the file."""

    head: list[str] = attrs.field(factory=list)  # comment lines
    tables: list[Table] = attrs.field(factory=list)

    def lines(self) -> list[Line]:
        """The text, line by line; each part stands on one line, so that a line number leads back to it."""
        found = [Line(f"# {one_line(text)}") for text in self.head]
        for table in self.tables:
            found += _table_lines(table)
        return found

    @property
    def text(self) -> str:
        """The file."""
        return "\n".join(line.text for line in self.lines()) + "\n"


def _table_lines(table: Table) -> Iterator[Line]:
    if table.empty:
        return
    yield Line("")
    yield Line(_commented(table.header, _said(table.source, place=True)), table)
    if table.remark:
        yield Line(f"# {one_line(table.remark)}", table)
    for setting in table.settings:
        said = "" if setting.comment == NO_COMMENT else setting.comment or _said(setting.source)
        yield Line(_commented(f"{toml_key(setting.key)} = {toml_value(_frozen(setting.value))}", said), table, setting)
    for key, items in table.items.items():
        yield Line(f"{key} = [", table)
        for item in items:
            yield Line(_commented(f"  {toml_value(_frozen(item.value))},", _said(item.source)), table, item)
        yield Line("]", table)
    for inner in table.inner:
        yield from _table_lines(inner)


def _frozen(value: Value) -> object:
    return tuple(value) if isinstance(value, list) else value


def _said(source: Statement | None, *, place: bool = False) -> str:
    if source is None:
        return ""
    end = " {" if source.block is not None else ";"
    return f"{source.place.short}: {source}{end}" if place else f"{source}{end}"


def _commented(text: str, comment: str) -> str:
    if not comment:
        return text
    line = f"{text:<{_COMMENT_COLUMN}} # {one_line(comment)}"
    return line if len(line) <= _WIDTH or len(text) > _COMMENT_COLUMN else f"{line[: _WIDTH - 3]}..."
