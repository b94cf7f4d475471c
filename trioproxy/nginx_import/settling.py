"""Asks the configuration itself what of a document it takes, and takes out what it refuses.

So what is "not yet supported" here is what `config` says, today's and tomorrow's. What a setting means is no business
of this module.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from trioproxy.config_file import ConfigError, parse_config
from trioproxy.nginx_import.document import Item, Line, Setting

if TYPE_CHECKING:
    from trioproxy.nginx_import.document import Document, Table
    from trioproxy.nginx_import.notes import Notes

_PROBLEM = re.compile(r"[^\n]*?:(?P<line>[0-9]+): (?P<key>[^\n]*?): (?P<message>(?:expected|not yet)[^\n]*)")
_ARRAY = re.compile(r"^(listeners|routes)\[[0-9]+\]\.")
_INDEX = re.compile(r"\[([0-9]+)\]$")


def settle(document: Document, notes: Notes, filename: str) -> bool:
    """Take out of the document what the configuration refuses, noting why; whether something that runs is left."""
    while True:  # ends: each round takes something out, or is the last
        lines = document.lines()
        try:
            parse_config(document.text, filename)
        except ConfigError as error:
            removed = [_take_out(document, lines, problem, notes) for problem in error.problems]
            if not any(removed):
                return False
        else:
            for line in lines:
                if line.part is not None:
                    notes.converted(line.part.source, *(line.part.also if isinstance(line.part, Setting) else ()))
            return True


def _take_out(document: Document, lines: list[Line], problem: str, notes: Notes) -> bool:
    """Whether the part that a problem is about could be taken out (or is out already)."""
    found = _PROBLEM.fullmatch(problem)
    at = int(found["line"]) - 1 if found else len(lines)
    line = lines[at] if at < len(lines) else Line("")
    if found is None or line.table is None:
        return False
    reason = _reason(found["key"], found["message"])
    table = line.table
    match line.part:
        case Item() as item:
            items = next(items for items in table.items.values() if item in items)
            items.remove(item)
            notes.left_over(item.source, reason)
        case Setting() as setting if setting not in table.settings:
            pass  # another problem of the same line was here before
        case Setting(value=list() as values) as setting if len(values) > 1 and (index := _INDEX.search(found["key"])):
            table.settings[table.settings.index(setting)] = _without(setting, values, int(index[1]))
        case Setting(essential=False) as setting:
            _take_out_setting(table, setting)
            _blame(setting, table, reason, notes)
        case part:
            _remove(document, table)
            _blame(part if isinstance(part, Setting) else None, table, reason, notes)
            if table.source is not None:
                notes.left_over(table.source, reason)
    return True


def _take_out_setting(table: Table, setting: Setting) -> None:
    """Take it out with what else its statement says in this table: the two halves of one meaning."""
    together = [each for each in table.settings if each.source is setting.source is not None]
    table.settings = [each for each in table.settings if each is not setting and each not in together]


def _without(setting: Setting, values: list[str], index: int) -> Setting:
    return attrs.evolve(setting, value=values[:index] + values[index + 1 :])


def _remove(document: Document, table: Table) -> None:
    if table in document.tables:
        document.tables.remove(table)
    for other in document.tables:
        if table in other.inner:
            other.inner.remove(table)


def _blame(setting: Setting | None, table: Table, reason: str, notes: Notes) -> None:
    source = setting.source if setting is not None and setting.source is not None else table.source
    if source is None:
        return
    if setting is not None and setting.dispensable:
        notes.harmless(source, setting.dispensable)
        return
    for each in (source, *(setting.also if setting is not None else ())):
        notes.left_over(each, reason)


def _reason(key: str, message: str) -> str:
    if "which no one defines" in message:
        return "what it leads to is left over"
    if message.endswith("got none"):
        return "nothing of it is left"
    return f"{_ARRAY.sub('', key)}: {message}"
