"""The story of an import: read, understand, convert, ask the configuration, account for every statement.

Each step is a module of its own; here they are told in order. Writing the result to a file is the command's work.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.nginx_import.checking import check_statements
from trioproxy.nginx_import.document import Document
from trioproxy.nginx_import.known import explain
from trioproxy.nginx_import.listeners import asks_for_tls, read_listeners
from trioproxy.nginx_import.model import understand
from trioproxy.nginx_import.notes import Fate, Kind, Notes
from trioproxy.nginx_import.pools import Pools
from trioproxy.nginx_import.reading import read_nginx
from trioproxy.nginx_import.routes import Routes
from trioproxy.nginx_import.settling import settle
from trioproxy.nginx_import.shared import shared_tables
from trioproxy.nginx_import.statements import walk
from trioproxy.nginx_import.variables import Variables

if TYPE_CHECKING:
    from trioproxy.nginx_import.model import Site
    from trioproxy.nginx_import.statements import Statement

FIRST_WORDS: Final = "Converted from"  # of every file that is written


@attrs.frozen
class Imported:
    """What became of an nginx file."""

    path: str
    text: str  # config.toml; "" where there is none
    notes: Notes
    statements: tuple[Statement, ...]

    @property
    def refused(self) -> bool:
        """Whether nginx itself would refuse the file."""
        return bool(self.notes.of(Kind.MISTAKE))

    @property
    def complete(self) -> bool:
        """Whether everything was converted, or is not missed."""
        return bool(self.text) and not self.notes.of(Kind.LEFT_OVER)

    @property
    def summary(self) -> str:
        """All of it in one line."""
        counts = [
            (self.notes.count(Fate.CONVERTED), "converted"),
            (self.notes.count(Fate.HARMLESS), "harmless"),
            (self.notes.count(Fate.LEFT_OVER), "left over"),
        ]
        found = ", ".join(f"{count} {word}" for count, word in counts)
        if self.refused:
            return f"{self.path}: nothing is written: mend the mistakes first, nginx refuses the file, too"
        if not self.text:
            return f"{self.path}: nothing is written: no location with an upstream is left"
        return f"{self.path}: of {len(self.notes.decided)} directives {found}"


def import_nginx(path: str) -> Imported:
    """Convert an nginx file; reads it and what it includes. Raises ReadError where it cannot be read."""
    notes = Notes()
    statements = read_nginx(path, notes)
    site = understand(statements, notes, str(Path(path).absolute().parent))
    check_statements(statements, site, notes)
    document = _convert(statements, site, notes, path)
    usable = not notes.of(Kind.MISTAKE) and settle(document, notes, path)
    tls = any(asks_for_tls(server) for server in site.servers)
    passes = any(each.name == "proxy_pass" and each.value.lower().startswith("https:") for each in walk(statements))
    for statement in notes.undecided(statements):
        if notes.fate(statement) is None:  # a block's fate is that of what it holds
            fate, reason = explain(statement, tls=tls, to_upstreams=passes)
            (notes.harmless if fate is Fate.HARMLESS else notes.left_over)(statement, reason)
    return Imported(path, document.text if usable else "", notes, statements)


def _convert(statements: tuple[Statement, ...], site: Site, notes: Notes, path: str) -> Document:
    listeners = read_listeners(site, notes)
    pools = Pools(site, notes)
    routes = Routes(site, listeners, pools, Variables.of(statements, site.maps), notes)
    for server in site.servers:
        routes.convert(server)
    pools.make_unused()
    shared = shared_tables(site, routes.levels, notes)
    head = [
        f"{FIRST_WORDS} {Path(path).name} by trioproxy import-nginx; on the right is what nginx called it.",
        "What is not said has its default: trioproxy check --show prints them all.",
    ]
    return Document(head, [*shared, *listeners.tables, *routes.tables, *pools.tables.values()])
