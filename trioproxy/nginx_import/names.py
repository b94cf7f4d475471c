"""server_name: which Hosts lead to a server, as patterns trioproxy knows.

Which server gets the Hosts that nobody names is decided in `listeners`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioproxy.config_syntax import is_host_pattern
from trioproxy.nginx_import.notes import Meaning

if TYPE_CHECKING:
    from trioproxy.nginx_import.model import Server
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement


@attrs.frozen
class Names:
    """A server's names."""

    hosts: tuple[tuple[str, Statement], ...]  # exact ones and "*.example.com", lower case
    odd: tuple[tuple[str, Statement], ...]  # regular expressions and "www.example.*"
    statements: tuple[Statement, ...]

    @property
    def named(self) -> Statement | None:
        """The first `server_name` that names a host."""
        return self.hosts[0][1] if self.hosts else None


def read_names(server: Server) -> Names:
    """The names of a server; those that no Host can be, such as `_` and "", are passed over."""
    statements = [each for each in server.statement.inner if each.name == "server_name"]
    hosts: dict[str, Statement] = {}
    odd: dict[str, Statement] = {}
    for statement in statements:
        for word in statement.args:
            name = word.lower().removesuffix(".")
            if name.startswith(("~", "$")) or name.endswith(".*"):
                odd.setdefault(word, statement)
            elif name.startswith(".") and is_host_pattern(name[1:]):
                hosts.setdefault(name[1:], statement)
                hosts.setdefault(f"*{name}", statement)
            elif is_host_pattern(name) and name != "_":
                hosts.setdefault(name, statement)
    return Names(tuple(hosts.items()), tuple(odd.items()), tuple(statements))


def shadows(wildcard: str, name: str) -> bool:
    """Whether a Host of that name would be taken by the wildcard."""
    return wildcard.startswith("*.") and name != wildcard and name.removeprefix("*").endswith(wildcard[1:])


def note_odd(names: Names, notes: Notes, *, default: bool) -> None:
    """Say what becomes of names that have no counterpart; of a default server that is little."""
    for word, statement in names.odd:
        if default:
            said = f"{word}: such Hosts lead to this server as all do that no other one names"
            notes.converted(statement)
            notes.difference(statement, Meaning.NAMES, said)
        else:
            notes.left_over(statement, f"{word} is no host here: expressions and names that end in * are not known")
