"""Variables of an nginx file: which are defined where, and what a text with variables comes to.

Of a `map` it knows what the recipe for WebSocket needs; anything that hangs on a request in another way is None, for
"not known beforehand".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.nginx_import.statements import named, walk
from trioproxy.nginx_import.values import substitute, variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trioproxy.nginx_import.model import Levels
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement

_SPECIAL: Final = frozenset({"default", "hostnames", "include", "volatile"})
# Directives that define variables, and which argument names the variable.
_DEFINING: Final = {
    "map": 1,
    "set": 0,
    "geo": -1,
    "split_clients": 1,
    "auth_request_set": 0,
    "perl_set": 0,
    "js_set": 0,
}

PLAIN: Final[Mapping[str, str]] = {"http_upgrade": ""}
"""What is known of a plain request."""
WEBSOCKET: Final[Mapping[str, str]] = {"http_upgrade": "websocket", "http_connection": "Upgrade"}
"""What is known of a WebSocket handshake."""


@attrs.frozen
class Variables:
    """What is defined in one file."""

    maps: Mapping[str, Statement]
    defined: frozenset[str]
    sets: Mapping[str, tuple[Statement, ...]]

    @classmethod
    def of(cls, statements: Iterable[Statement], maps: Mapping[str, Statement]) -> Variables:
        """The variables of all statements of a file."""
        everything = [each for each in walk(statements) if each.name in _DEFINING and each.args]
        names = [(each, each.args[min(_DEFINING[each.name], len(each.args) - 1)].lstrip("$")) for each in everything]
        sets: dict[str, tuple[Statement, ...]] = {}
        for each, name in names:
            if each.name == "set":
                sets[name] = (*sets.get(name, ()), each)
        return cls(maps, frozenset(name for _, name in names), sets)

    def evaluate(self, text: str, request: Mapping[str, str], depth: int = 0) -> str | None:
        """What `text` comes to for a request; None where that is not known beforehand."""
        known: dict[str, str] = {}
        for name in variables(text):
            value = request.get(name)
            if value is None and name in self.maps and depth < 10:  # noqa: PLR2004 - maps may hang on maps, in circles too
                value = self._mapped(self.maps[name], request, depth + 1)
            if value is None:
                return None
            known[name] = value
        return substitute(text, known)

    def literals(self, text: str, levels: Levels) -> tuple[str, list[Statement]]:
        """The text with what `set` says put in, and the statements that were used.

        Only for variables that are set once in the file, to a literal, on a level that holds here.
        """
        known: dict[str, str] = {}
        used: list[Statement] = []
        for name in variables(text):
            holding = [each for level in levels.chain for each in named(level, "set")]
            found = self.sets.get(name, ())
            if len(found) == 1 and found[0] in holding and len(found[0].args) == 2 and not variables(found[0].args[1]):  # noqa: PLR2004
                known[name] = found[0].args[1]
                used.append(found[0])
        return substitute(text, known), used

    def _mapped(self, statement: Statement, request: Mapping[str, str], depth: int) -> str | None:
        source = self.evaluate(statement.value, request, depth)
        if source is None:
            return None
        default = ""
        for entry in statement.inner:
            if len(entry.args) != 1:
                continue
            if entry.name == "default":
                default = entry.value
            elif entry.name.startswith("~") or entry.name == "include":
                return None
            elif entry.name.removeprefix("\\").lower() == source.lower():
                return self.evaluate(entry.value, request, depth)
        return self.evaluate(default, request, depth)


def check_maps(maps: Iterable[Statement], notes: Notes) -> None:
    """Note what nginx refuses in a `map`."""
    for statement in maps:
        if not statement.args[1].startswith("$"):
            notes.mistake(statement, f"expected a variable such as $connection_upgrade, got {statement.args[1]}")
        for entry in statement.inner:
            if not entry.args and entry.name not in _SPECIAL - {"default", "include"}:
                shown = entry.name or "''"
                said = f'"{shown};" has no value: an entry of a map has two words, such as "default upgrade;"'
                notes.mistake(entry, f"{said} or \"'' close;\"")
            elif len(entry.args) > 1:
                notes.mistake(entry, f"{entry}: an entry of a map has two words; is a semicolon missing?")
