"""Mistakes that can be seen in one statement: what nginx refuses, with its line and what was meant.

Only directives that are converted are looked at this closely; crossplane knows how many arguments they take, and where
they may stand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossplane.analyzer import analyze
from crossplane.errors import NgxParserDirectiveError

from trioproxy.nginx_import.known import CONVERTED
from trioproxy.nginx_import.servers import check_servers
from trioproxy.nginx_import.statements import named
from trioproxy.nginx_import.variables import check_maps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioproxy.nginx_import.model import Site
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement


def check_statements(statements: Iterable[Statement], site: Site, notes: Notes) -> None:
    """Note what nginx refuses."""
    everything = tuple(statements)
    # A file without `http { }` is one that nginx includes there.
    _check(everything, () if named(everything, "http") else ("http",), notes)
    for upstream in site.upstreams.values():
        check_servers(upstream, notes)
    check_maps(site.maps.values(), notes)


def _check(statements: Iterable[Statement], context: tuple[str, ...], notes: Notes) -> None:
    for statement in statements:
        if statement.name in CONVERTED and not _is_fine(statement, context, notes):
            continue
        if statement.block is not None and statement.name not in {"map", "types", "geo", "split_clients"}:
            nested = statement.name == "location" and context[:1] == ("http",)
            _check(statement.inner, ("http", "location") if nested else (*context, statement.name), notes)


def _is_fine(statement: Statement, context: tuple[str, ...], notes: Notes) -> bool:
    said = {"directive": statement.name, "line": statement.place.line, "args": list(statement.args)}
    end = ";" if statement.block is None else "{"
    try:
        analyze(statement.place.file, said, end, ctx=context)
    except NgxParserDirectiveError as error:
        notes.mistake(statement, error.strerror.replace('"%s"', f'"{statement.name}"'))
        return False
    return True
