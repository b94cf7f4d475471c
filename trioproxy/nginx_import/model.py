"""What an nginx file describes: servers, their locations, upstreams, maps, and which level says what.

It gives the statements their place, and notes what nginx would refuse or never use; what becomes of them is decided in
the modules that make the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from trioproxy.nginx_import.statements import Statement, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trioproxy.nginx_import.notes import Notes

Match = Literal["prefix", "exact", "regex", "named"]

_MODIFIERS: Final = {"=": "exact", "~": "regex", "~*": "regex", "^~": "prefix"}


@attrs.frozen
class Levels:
    """The blocks a location stands in, its own first, `http` last: an inner one's directive hides an outer one's."""

    chain: tuple[tuple[Statement, ...], ...]

    def inside(self, block: Iterable[Statement]) -> Levels:
        """The levels of a block that stands in this one."""
        return Levels((tuple(block), *self.chain))

    def all(self, name: str) -> list[Statement]:
        """The directives of that name of the nearest level that has any: nginx never merges levels."""
        return next((found for level in self.chain if (found := named(level, name))), [])

    def find(self, name: str) -> Statement | None:
        """The one that holds."""
        found = self.all(name)
        return found[-1] if found else None

    def value(self, name: str, default: str = "") -> str:
        """Its first argument."""
        found = self.find(name)
        return found.value if found else default

    def hidden(self, name: str) -> list[Statement]:
        """Those of outer levels that the nearest level's hide."""
        levels = [found for level in self.chain if (found := named(level, name))]
        return [statement for found in levels[1:] for statement in found]


@attrs.frozen(eq=False)
class Location:
    """A `location`, or a server as a whole where `statement` is one."""

    statement: Statement
    match: Match
    path: str  # or regular expression, or name
    levels: Levels
    above_regex: bool = False  # ^~: no regular expression is looked at
    ignores_case: bool = False

    @property
    def own(self) -> tuple[Statement, ...]:
        """What stands in it, without what inner locations hold."""
        return self.levels.chain[0]


@attrs.frozen(eq=False)
class Server:
    """A `server` of `http`."""

    statement: Statement
    levels: Levels
    locations: tuple[Location, ...]


@attrs.frozen(eq=False)
class Site:
    """All of it."""

    main: tuple[Statement, ...]  # outside `http`
    http: Levels
    upstreams: dict[str, Statement]  # by name
    maps: dict[str, Statement]  # by the variable they define
    servers: tuple[Server, ...]
    folder: str  # what paths of files are relative to


def understand(statements: tuple[Statement, ...], notes: Notes, folder: str = "") -> Site:
    """The site that the statements describe. A file without `http`, as in conf.d, is taken for what stands in one."""
    blocks = [each for each in named(statements, "http") if each.block is not None]
    notes.converted(*blocks)
    inside = tuple(inner for block in blocks for inner in block.inner) if blocks else statements
    http = Levels((inside,))
    for each in [*named(statements, "location"), *(named(inside, "location") if blocks else [])]:
        notes.mistake(each, "a location stands in a server { } block, and nowhere else")
    return Site(
        main=statements if blocks else (),
        http=http,
        upstreams=_upstreams(inside, notes),
        maps={each.args[1].removeprefix("$"): each for each in named(inside, "map") if len(each.args) == 2},  # noqa: PLR2004
        servers=tuple(_server(each, http, notes) for each in named(inside, "server") if each.block is not None),
        folder=folder,
    )


def _upstreams(inside: Iterable[Statement], notes: Notes) -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    for each in named(inside, "upstream"):
        if len(each.args) != 1 or each.block is None:
            notes.mistake(each, "expected upstream NAME { ... }")
        elif each.value in found:
            notes.mistake(each, f"upstream {each.value} stands in line {found[each.value].place.line} already")
        else:
            found[each.value] = each
    return found


def _server(statement: Statement, http: Levels, notes: Notes) -> Server:
    levels = http.inside(statement.inner)
    return Server(statement, levels, tuple(_locations(statement.inner, levels, notes)))


def _locations(block: Iterable[Statement], levels: Levels, notes: Notes) -> Iterator[Location]:
    seen: dict[tuple[str, ...], Statement] = {}
    for statement in named(block, "location"):
        location = _location(statement, levels, notes)
        if location is None:
            continue
        first = seen.setdefault((location.path, location.match), statement)
        if first is not statement:
            notes.mistake(statement, f"{statement} stands in line {first.place.line} already")
        yield location
        if location.match == "regex":
            for inner in named(statement.inner, "location"):
                notes.left_over(inner, "it stands in a location by regular expression")
        else:
            yield from _locations(statement.inner, location.levels, notes)


def _location(statement: Statement, levels: Levels, notes: Notes) -> Location | None:
    modifier, path = _split(statement.args)
    if statement.block is None or modifier is None:
        notes.mistake(statement, "expected location [= | ~ | ~* | ^~] PATH { ... }")
        return None
    inner = levels.inside(statement.inner)
    if path.startswith("@"):
        return Location(statement, "named", path, inner)
    match: Match = "prefix"
    if modifier:
        match = "exact" if modifier == "=" else "regex" if modifier.startswith("~") else "prefix"
    return Location(statement, match, path, inner, above_regex=modifier == "^~", ignores_case=modifier == "~*")


def _split(args: tuple[str, ...]) -> tuple[str | None, str]:
    """The modifier and the path of a location; None for what is none. `location =/x` is one word to nginx, too."""
    if len(args) == 2:  # noqa: PLR2004 - modifier and path
        return (args[0] if args[0] in _MODIFIERS else None), args[1]
    if len(args) != 1:
        return None, ""
    modifier = next((each for each in ("^~", "~*", "~", "=") if args[0].startswith(each)), "")
    return modifier, args[0].removeprefix(modifier)
