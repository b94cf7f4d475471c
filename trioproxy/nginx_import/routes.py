"""`location` blocks as routes: path, pool, path rewriting, fields, timeouts.

One location becomes one route for each audience of its server. What a location without proxy_pass does instead, and
what keeps it from being converted, is `leaving`'s work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.nginx_import.access import read_access
from trioproxy.nginx_import.document import NO_COMMENT, Table
from trioproxy.nginx_import.fields import FieldRules, Surroundings
from trioproxy.nginx_import.leaving import (
    error_pages,
    leave,
    leave_details,
    leave_server,
    leave_unguarded,
    leave_unreached,
    reason_to_leave,
)
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.passing import find_target, path_settings
from trioproxy.nginx_import.regexes import as_path
from trioproxy.nginx_import.values import number, seconds, split_address

if TYPE_CHECKING:
    from trioproxy.nginx_import.listeners import Audience, Listeners
    from trioproxy.nginx_import.model import Levels, Location, Server, Site
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.pools import Pools
    from trioproxy.nginx_import.variables import Variables

_READ_TIMEOUT: Final = 60.0  # nginx's proxy_read_timeout, and the default of timeouts.response
_HANDSHAKE: Final = 10.0  # the default of timeouts.handshake


@attrs.frozen
class Draft:
    """A route without its listeners and hosts."""

    location: Location
    path: str
    exact: bool
    table: Table  # the settings that every audience gets


@attrs.define(eq=False)
class Routes:
    """The routes made so far."""

    site: Site
    listeners: Listeners
    pools: Pools
    known: Variables
    notes: Notes
    tables: list[Table] = attrs.field(factory=list, init=False)
    levels: list[Levels] = attrs.field(factory=list, init=False)  # of what was converted
    _names: set[str] = attrs.field(factory=set, init=False)

    def convert(self, server: Server) -> None:
        """Add the routes of a server."""
        self.notes.converted(server.statement)
        audiences = self.listeners.audiences(server, self.notes)
        leave_details(server, self.notes)
        pages = error_pages(server, self.notes)
        if leave_server(server, self.notes):
            return
        if server in self.listeners.unguarded:
            leave_unguarded(server, self.listeners.unguarded[server], self.notes)
            return
        if not audiences:
            odd = bool(self.listeners.names[server].odd) or not self.listeners.listens(server)
            leave_unreached(server, self.notes, in_nginx=not odd)
            return
        around = self._surroundings(server)
        drafts = [
            draft for location in server.locations if (draft := self._draft(location, around, server)) is not None
        ]
        for location in server.locations:
            if all(draft.location is not location for draft in drafts) and location not in pages:
                covering = [draft.path for draft in drafts if not draft.exact and _covers(draft.path, location.path)]
                leave(location, max(covering, key=len, default=None), self.notes)
        self._note_rest(server, drafts)
        for draft in drafts:
            self.levels.append(draft.location.levels)
            self.tables += [self._route(draft, audience) for audience in audiences]

    def _surroundings(self, server: Server) -> Surroundings:
        listens = self.listeners.listens(server)
        schemes = {"https" if listen.tls else "http" for listen in listens}
        ports = {str(split_address(listen.address)[1] or "") for listen in listens}
        names = [word for each in server.statement.inner if each.name == "server_name" for word in each.args]
        return Surroundings(
            scheme=schemes.pop() if len(schemes) == 1 else "",
            port=ports.pop() if len(ports) == 1 else "",
            name=names[0] if names and names[0] not in {"_", ""} else "",
        )

    def _draft(self, location: Location, around: Surroundings, server: Server) -> Draft | None:
        """The location as a route, or None where it is left over; `leave` says why, or a note here has."""
        if reason_to_leave(location) is not None:
            return None
        place = self._path(location, server)
        if place is None:
            return None
        path, exact = place
        target = find_target(location, self.site, self.known, self.notes)
        if target is None:
            return None
        rewriting = path_settings(location, target, self.notes)
        if rewriting is None:
            return None
        table = Table("[[routes]]", location.statement)
        headers, timeouts = Table("[routes.set_headers]"), Table("[routes.timeouts]")
        table.add("pool", self.pools.lead_to(target, location.levels), target.statement, essential=True)
        for key, value in rewriting.items():
            table.add(key, value, target.statement, essential=True)
        FieldRules(location, target, around, self.known, self.notes).write(table, headers)
        self._access(table, location.levels)
        self._timeouts(timeouts, location.levels, location)
        table.inner += [headers, timeouts]
        self.notes.converted(location.statement, target.statement)
        return Draft(location, path, exact, table)

    def _path(self, location: Location, server: Server) -> tuple[str, bool] | None:
        """Path and whether it is that path alone; notes where nginx matches others, too."""
        statement = location.statement
        path, exact, beyond = location.path, location.match == "exact", not location.path.endswith("/")
        if location.match == "regex":
            found = as_path(location.path)
            if found is None:
                return None
            path, exact, beyond = found.path, found.exact, found.beyond
            said = "a regular expression goes before longer prefixes in nginx; here it is a path, and the longest wins"
            said += "; upper and lower case are not the same" * location.ignores_case
            self.notes.difference(statement, Meaning.REGEX, said)
        whole = path.rstrip("/")
        if beyond and not exact:
            said = f"nginx also takes {path}x here; trioproxy matches whole segments: {path} and {path}/..."
            self.notes.difference(statement, Meaning.SEGMENTS, said)
        elif location.match == "prefix" and whole and all(other.path != whole for other in server.locations):
            said = f"nginx redirects {whole} to {path}; trioproxy does not take {whole} for this route"
            self.notes.difference(statement, Meaning.SLASH_REDIRECT, said)
        return path, exact

    def _access(self, table: Table, levels: Levels) -> None:
        access = read_access(levels, self.notes)
        if access.allow:
            table.add("allow", access.allow, access.allowing, essential=True)
        if access.deny:
            table.add("deny", access.deny, access.denying, essential=True)

    def _timeouts(self, table: Table, levels: Levels, location: Location) -> None:
        connect, read = levels.find("proxy_connect_timeout"), levels.find("proxy_read_timeout")
        self.notes.converted(connect, read)
        if connect is not None:
            time = seconds(connect.value)
            table.add("connect", connect.value if time is None else number(time), connect)
        if read is None:
            said = (
                "nginx ends a tunnel that is silent for 60 s, its proxy_read_timeout; here timeouts.tunnel_idle is 3600"
            )
            self.notes.general(location.statement, Meaning.IDLE, said)
            return
        time = seconds(read.value)
        value = read.value if time is None else number(time)
        if time is not None and 0 < time < _HANDSHAKE:
            table.add("handshake", value, read)
        if time != _READ_TIMEOUT:
            table.add("response", value, read)
        table.add("tunnel_idle", value, read)

    def _note_rest(self, server: Server, drafts: list[Draft]) -> None:
        """What nginx does with paths that no location takes: it looks for files."""
        everything = any(draft.path == "/" and not draft.exact for draft in drafts)
        files = [each for each in server.statement.inner if each.name in {"root", "try_files"}]
        if not everything:
            said = "nginx looks for a file where no location takes a path; here that is 404"
            self.notes.general(server.statement, Meaning.NO_ROUTE, said)
        elif len(drafts) == len(server.locations):
            for statement in files:
                self.notes.harmless(statement, "all requests of this server are proxied")

    def _route(self, draft: Draft, audience: Audience) -> Table:
        table = Table("[[routes]]", draft.table.source)
        if not audience.hosts and audience.source is not None:
            table.remark = f"{audience.source}; and any other Host: nginx has this server as the default one"
        name = ",".join(audience.hosts) + draft.path
        if name in self._names:
            base = f"{name} exact" if draft.exact else name
            name = next(each for each in _numbered(base) if each not in self._names)
            table.add("name", name, comment="the usual name, host and path, is another route's")
        self._names.add(name)
        if audience.hosts:
            table.add("host", list(audience.hosts), audience.source, essential=True)
        table.add("path", draft.path, draft.location.statement, essential=True, comment=NO_COMMENT)
        if draft.exact:
            table.add("exact", True, draft.location.statement, essential=True, comment=NO_COMMENT)
        if audience.listeners:
            table.add(
                "listeners", list(audience.listeners), draft.location.statement, essential=True, comment=NO_COMMENT
            )
        table.settings += draft.table.settings
        table.inner = [Table(each.header, each.source, list(each.settings)) for each in draft.table.inner]
        return table


def _numbered(base: str) -> list[str]:
    return [base, *(f"{base} {number}" for number in range(2, 10_000))]


def _covers(path: str, other: str) -> bool:
    return other == path or other.startswith(path.rstrip("/") + "/")
