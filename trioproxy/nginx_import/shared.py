"""What nginx says for each server or location, and trioproxy once for all: limits, clients' timeouts, workers.

What differs from server to server is noted where it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioproxy.nginx_import.document import Table
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.statements import named
from trioproxy.nginx_import.values import number, seconds, size, size_words, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trioproxy.nginx_import.model import Levels, Site
    from trioproxy.nginx_import.notes import Notes

_ONE_PROCESS: Final = "one process serves all connections"
_DEFAULT_BODY: Final = "1m"  # nginx's client_max_body_size


def shared_tables(site: Site, routes: Iterable[Levels], notes: Notes) -> Iterator[Table]:
    """[server], [limits] and [timeouts], as far as they say something; `routes` are the levels of all routes."""
    levels = list(routes)
    yield _server(site, notes)
    yield _limits(levels, notes)
    yield _timeouts(levels, notes)


def _server(site: Site, notes: Notes) -> Table:
    table = Table("[server]")
    for statement in named(site.main, "worker_processes"):
        count = 0 if statement.value == "auto" else whole(statement.value)
        if count is None:
            notes.mistake(statement, f"{statement}: expected a number or auto")
        elif count == 1:
            notes.converted(statement)
        else:
            table.add("workers", count, statement, dispensable=_ONE_PROCESS)
    return table


def _limits(levels: list[Levels], notes: Notes) -> Table:
    """The largest client_max_body_size of all routes, 0 being none."""
    table = Table("[limits]")
    found = [each.find("client_max_body_size") for each in levels]
    sizes = [size(each.value if each is not None else _DEFAULT_BODY) for each in found]
    if not sizes:
        return table
    largest = 0 if 0 in sizes else max(each or 0 for each in sizes)
    source = next((each for each, octets in zip(found, sizes, strict=True) if octets == largest), None)
    for statement, octets in zip(found, sizes, strict=True):
        if statement is None:
            continue
        notes.converted(statement)
        if octets is None:
            notes.mistake(statement, f"{statement}: expected a size such as 10m")
        elif octets != largest:
            said = "limits.max_body_bytes is one for the whole proxy: the largest of the file"
            notes.difference(statement, Meaning.SHARED, said)
    if source is not None and any(each is None for each in found):
        said = "limits.max_body_bytes is one for the whole proxy; nginx has 1m where nothing is said"
        notes.difference(source, Meaning.SHARED, said)
    if largest:
        comment = "" if source else "nginx's client_max_body_size where nothing is said"
        table.add("max_body_bytes", size_words(largest), source, comment=comment)
    return table


def _timeouts(levels: list[Levels], notes: Notes) -> Table:
    table = Table("[timeouts]")
    for key, name in (("head", "client_header_timeout"), ("keep_alive", "keepalive_timeout")):
        statements = list(dict.fromkeys(found for each in levels if (found := each.find(name)) is not None))
        if not statements:
            continue
        first = statements[0]
        time = seconds(first.value)
        table.add(key, first.value if time is None else number(time), first)
        notes.converted(*statements)
        for other in statements[1:]:
            if other.value != first.value:
                said = f"timeouts.{key} is one for the whole proxy: that of line {first.place.line}"
                notes.difference(other, Meaning.SHARED, said)
    return table
