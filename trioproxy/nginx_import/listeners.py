"""`listen`: the addresses of all servers as listeners, and which server answers which Host on which of them.

What the servers do with a request is `routes`' work.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.config_syntax import canonical
from trioproxy.nginx_import.certificates import find_identity, read_demand, unmet, write_listener
from trioproxy.nginx_import.document import Table
from trioproxy.nginx_import.names import note_odd, read_names, shadows
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.values import split_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from trioproxy.nginx_import.certificates import Demand, Identity
    from trioproxy.nginx_import.model import Server, Site
    from trioproxy.nginx_import.names import Names
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement

_HTTP_PORT: Final = 80
_TUNING: Final = frozenset(
    {"accept_filter", "backlog", "bind", "deferred", "fastopen", "ipv6only", "multipath", "rcvbuf", "reuseport"}
    | {"setfib", "sndbuf", "so_keepalive"}
)
_SAID_BY_FIELD: Final = (
    "a trusted peer's X-Forwarded-For is passed on with its address; nginx takes the client's address from it"
)
_SAID_BY_HEADER: Final = (
    "a trusted peer's PROXY header says who the client is; nginx reads the client's address from a field"
)


@attrs.frozen
class Listen:
    """One `listen`, read."""

    address: str
    statement: Statement  # the server's where it says nothing
    implied: bool = False
    default: bool = False
    tls: bool = False
    proxy_protocol: bool = False


@attrs.frozen
class Audience:
    """Requests that lead to a server: on these listeners, for these Hosts; () is all that no other server names."""

    listeners: tuple[str, ...]
    hosts: tuple[str, ...]
    source: Statement | None = None  # the server_name, if there is one


@attrs.frozen
class Listeners:
    """All addresses, and who listens on them."""

    tables: tuple[Table, ...]
    by_address: Mapping[str, tuple[tuple[Server, Listen], ...]]
    names: Mapping[Server, Names]
    unguarded: Mapping[Server, str]  # servers whose clients would get in without the certificate they need, and why

    def audiences(self, server: Server, notes: Notes) -> list[Audience]:
        """Which requests are this server's: those of addresses where it is the default, and those of the others."""
        own = [address for address, users in self.by_address.items() if any(user is server for user, _ in users)]
        default = [address for address in own if _default(self.by_address[address]) is server]
        others = [address for address in own if address not in default]
        names = self.names[server]
        notes.converted(*names.statements)
        note_odd(names, notes, default=bool(default))
        found: list[Audience] = []
        if default:
            found.append(Audience(self._unless_all(default), (), names.named))
            if hosts := self._shadowed(server, default):
                found.append(Audience(self._unless_all(default), hosts, names.named))
        if others:
            hosts = self._undisputed(server, others, notes)
            if hosts:
                found.append(Audience(self._unless_all(others), hosts, names.named))
            elif not default and not names.odd:
                said = "this server never gets a request: it is no default_server, and no Host can be one of its names"
                notes.warning(server.statement, said)
        return found

    def listens(self, server: Server) -> list[Listen]:
        """The server's own."""
        return [listen for users in self.by_address.values() for user, listen in users if user is server]

    def _shadowed(self, server: Server, addresses: Iterable[str]) -> tuple[str, ...]:
        """Names of a default server that a wildcard of another one would take away."""
        others = {user for address in addresses for user, _ in self.by_address[address] if user is not server}
        wildcards = [host for other in others for host, _ in self.names[other].hosts]
        return tuple(
            host for host, _ in self.names[server].hosts if any(shadows(wildcard, host) for wildcard in wildcards)
        )

    def _undisputed(self, server: Server, addresses: Iterable[str], notes: Notes) -> tuple[str, ...]:
        """The server's names without those that an earlier server of the same address has."""
        earlier: set[str] = set()
        for address in addresses:
            for user, _ in itertools.takewhile(lambda entry: entry[0] is not server, self.by_address[address]):
                earlier |= {host for host, _ in self.names[user].hosts}
        for host, statement in self.names[server].hosts:
            if host in earlier:
                notes.warning(statement, f"an earlier server of the same address has the name {host}; it gets those")
        return tuple(host for host, _ in self.names[server].hosts if host not in earlier)

    def _unless_all(self, addresses: list[str]) -> tuple[str, ...]:
        return () if len(addresses) == len(self.by_address) else tuple(addresses)


def read_listeners(site: Site, notes: Notes) -> Listeners:
    """The listeners of all servers. What nginx would refuse, or what cannot stand beside another, is noted."""
    users: dict[str, list[tuple[Server, Listen]]] = {}
    for server in site.servers:
        for listen in _listens(server, notes):
            users.setdefault(canonical(listen.address), []).append((server, listen))
    _drop_covered(users, notes)
    for found in users.values():
        _check_defaults(found, notes)
    unguarded: dict[Server, str] = {}
    tables = []
    for address in list(users):
        table = _table(address, users[address], site.folder, unguarded, notes)
        if table is None:
            del users[address]
        else:
            tables.append(table)
    names = {server: read_names(server) for server in site.servers}
    by_address = {address: tuple(found) for address, found in users.items()}
    return Listeners(tuple(tables), by_address, names, unguarded)


def asks_for_tls(server: Server) -> bool:
    """Whether anything that the server says of TLS has an effect."""
    listens = [each for each in server.statement.inner if each.name == "listen"]
    return server.levels.value("ssl") == "on" or any("ssl" in each.args or "quic" in each.args for each in listens)


def _listens(server: Server, notes: Notes) -> Iterator[Listen]:
    statements = [each for each in server.statement.inner if each.name == "listen"]
    if not statements:
        yield Listen(f"0.0.0.0:{_HTTP_PORT}", server.statement, implied=True)
    for statement in statements:
        if not statement.args:
            notes.mistake(statement, "expected listen ADDRESS or PORT")
            continue
        address = _address(statement.value)
        flags = {word.partition("=")[0] for word in statement.args[1:]}
        notes.converted(statement)
        for word in sorted(flags - _TUNING - {"default_server", "default", "ssl", "proxy_protocol"}):
            known = {"http2": "HTTP/2 is not here, on purpose", "spdy": "SPDY is gone", "quic": "HTTP/3 is not here"}
            if word not in known:
                notes.mistake(statement, f'{statement}: invalid parameter "{word}"')
            elif word == "quic":
                break
            else:
                notes.left_over(statement, f"{word}: {known[word]}; clients that speak HTTP/1.1 too are served")
        if "quic" in flags:
            notes.left_over(statement, "HTTP/3 is not here, on purpose")
            continue
        default = bool(flags & {"default_server", "default"})
        switch = server.levels.find("ssl")
        notes.converted(switch)
        tls = "ssl" in flags or (switch is not None and switch.value == "on")
        yield Listen(address, statement, default=default, tls=tls, proxy_protocol="proxy_protocol" in flags)


def _address(text: str) -> str:
    if text.startswith("unix:"):
        return text
    if text.isascii() and text.isdigit():
        return f"0.0.0.0:{text}"
    host, port = split_address(text)
    return f"{'0.0.0.0' if host == '*' else host}:{_HTTP_PORT if port is None else port}"


def _drop_covered(users: dict[str, list[tuple[Server, Listen]]], notes: Notes) -> None:
    """Two sockets cannot be bound so: nginx binds *:80 alone and tells 127.0.0.1:80 by the connection."""
    for address in list(users):
        host, port = split_address(address)
        general = f"[::]:{port}" if host.startswith("[") else f"0.0.0.0:{port}"
        if address != general and general in users and not address.startswith("unix:"):
            for _, listen in users.pop(address):
                notes.left_over(listen.statement, f"{general} is listened on already, which covers it")


def _check_defaults(users: list[tuple[Server, Listen]], notes: Notes) -> None:
    defaults = [listen for _, listen in users if listen.default]
    for listen in defaults[1:]:
        notes.mistake(listen.statement, f"a second default_server for {listen.address}")


def _default(users: Iterable[tuple[Server, Listen]]) -> Server:
    """The server of an address that gets the Hosts nobody names: the one that says so, or the first."""
    found = [server for server, listen in users if listen.default] or [server for server, _ in users]
    return found[0]


def _table(
    address: str, users: list[tuple[Server, Listen]], folder: str, unguarded: dict[Server, str], notes: Notes
) -> Table | None:
    """The listener; None with a note where its TLS has no counterpart: it is never one in the clear instead."""
    _, listen = users[0]
    table = Table("[[listeners]]", listen.statement)
    comment = "no listen: nginx takes port 80" if listen.implied else ""
    table.add("address", address, listen.statement, essential=True, comment=comment)
    asking = next((each for _, each in users if each.proxy_protocol), None)
    if asking is not None:
        table.add("proxy_protocol", True, asking.statement, essential=True)
    trusted = _trusted(users, notes, by_header=asking is not None)
    if trusted:
        table.add("trusted_proxies", list(trusted), next(iter(trusted.values())))
    elif asking is not None:
        said = "nginx reads the PROXY header and believes nobody's without set_real_ip_from"
        notes.warning(asking.statement, f"{said}: name the load balancers in trusted_proxies")
        nobody = "127.0.0.1" if address.startswith("unix:") else "unix:"
        comment = "nobody who comes here: name the load balancers"
        table.add("trusted_proxies", [nobody], asking.statement, essential=True, comment=comment)
    if any(each.tls for _, each in users):
        identity = find_identity((server for server, _ in users), _default(users), notes)
        if identity is None:
            return None
        write_listener(table, identity, _demand(users, identity, unguarded, notes), folder)
    return table


def _demand(
    users: list[tuple[Server, Listen]], identity: Identity, unguarded: dict[Server, str], notes: Notes
) -> Demand | None:
    """What the listener asks of its clients' certificates; servers that would need more are put into `unguarded`."""
    demands = {server: read_demand(server, notes) for server, _ in users}
    asked = demands[identity.server]
    for server, demand in demands.items():
        if reason := unmet(demand, asked):
            unguarded[server] = reason
        elif demand is None and asked is not None and asked.authority is not None:
            said = "clients of this server have to show a certificate, too: the listener asks for it in every handshake"
            notes.difference(server.statement, Meaning.SHARED, said)
        elif demand is not None:
            notes.converted(demand.statement, demand.authority)
    return asked


def _trusted(users: Iterable[tuple[Server, Listen]], notes: Notes, *, by_header: bool) -> dict[str, Statement]:
    """Whose word counts on one listener; `by_header` where it is that of a PROXY header."""
    found: dict[str, Statement] = {}
    for server, _ in users:
        header = server.levels.find("real_ip_header")
        source = header.value.lower() if header is not None else ""
        for statement in server.levels.all("set_real_ip_from"):
            if source not in {"", "x-forwarded-for", "proxy_protocol"}:
                notes.left_over(statement, f"real_ip_header {source}: only X-Forwarded-For is believed")
            elif source == "proxy_protocol" and not by_header:
                if not any("proxy_protocol" in each.args for each in server.statement.inner if each.name == "listen"):
                    notes.harmless(statement, "no listen of this server has proxy_protocol")
            else:
                notes.converted(statement)
                if source != "proxy_protocol":
                    notes.difference(statement, Meaning.FORWARDED, _SAID_BY_HEADER if by_header else _SAID_BY_FIELD)
                found[statement.value] = statement
    return found
