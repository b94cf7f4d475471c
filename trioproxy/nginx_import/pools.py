"""`upstream` blocks, and servers that proxy_pass names directly, as pools.

One pool for each, made when the first location leads to it; what locations say of retries and TLS is the pool's here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.config_show import toml_key
from trioproxy.nginx_import.certificates import write_pool
from trioproxy.nginx_import.document import Item, Table
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.servers import read_servers
from trioproxy.nginx_import.statements import named
from trioproxy.nginx_import.values import number, seconds, whole

if TYPE_CHECKING:
    from trioproxy.nginx_import.document import Scalar
    from trioproxy.nginx_import.model import Levels, Site
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.passing import Target
    from trioproxy.nginx_import.statements import Statement

_ATTEMPTS: Final = 2  # the default of `attempts`
_METHODS: Final = ("least_conn", "ip_hash", "hash", "random", "least_time", "sticky")
_RETRIES: Final = {
    "error": ("connect", "closed"),
    "timeout": ("connect",),
    "invalid_header": (),
    "http_500": ("5xx",),
    "http_502": ("5xx",),
    "http_503": ("5xx",),
    "http_504": ("5xx",),
}
_ADDRESS_HASHES: Final = frozenset({"$remote_addr", "$binary_remote_addr"})
_PATH_HASHES: Final = frozenset({"$request_uri", "$uri", "$document_uri"})


@attrs.define(eq=False)
class Pools:
    """The pools made so far."""

    site: Site
    notes: Notes
    tables: dict[str, Table] = attrs.field(factory=dict, init=False)  # by name
    _keys: dict[str, tuple[str, bool]] = attrs.field(factory=dict, init=False)  # name → server and whether by TLS
    _said: dict[str, dict[str, tuple[str, ...]]] = attrs.field(
        factory=dict, init=False
    )  # by pool: what its locations say

    def lead_to(self, target: Target, levels: Levels) -> str:
        """The name of the pool a location leads to, made if it is the first one."""
        name = self._name(target)
        table = self.tables.get(name)
        if table is None:
            table = self.tables[name] = self._make(name, target)
            self._retries(table, levels)
            if target.tls:
                write_pool(table, target, levels, self.site.folder, self.notes)
            self._said[name] = _said_of_pools(levels)
        elif _said_of_pools(levels) != self._said[name]:
            statement = next((each for key in _POOL_WIDE if (each := levels.find(key)) is not None), target.statement)
            said = f"pool {name} has one setting for this: that of the first location that leads to it"
            self.notes.difference(statement, Meaning.SHARED, said)
            self.notes.converted(*(levels.find(key) for key in _POOL_WIDE))
        return name

    def make_unused(self) -> None:
        """Pools of the blocks that no location leads to, so that nothing is lost."""
        used = {server for server, _ in self._keys.values()}
        for name, statement in self.site.upstreams.items():
            if name not in used and self.notes.fate(statement) is None:
                self.notes.warning(statement, f"no location leads to upstream {name}")
                own = self._free(_pool_name(name), (name, False))
                self.tables[own] = self._make_upstream(own, statement)

    def _name(self, target: Target) -> str:
        server = (
            target.server
            if target.is_upstream
            else target.host
            if not target.server.startswith("unix")
            else target.server
        )
        return self._free(_pool_name(server) + "-tls" * target.tls, (target.server, target.tls))

    def _free(self, name: str, key: tuple[str, bool]) -> str:
        """The name, or one like it if something else has it."""
        while self._keys.setdefault(name, key) != key:
            name += "_"
        return name

    def _make(self, name: str, target: Target) -> Table:
        if target.is_upstream:
            return self._make_upstream(name, self.site.upstreams[target.server])
        table = Table(f"[pools.{toml_key(name)}]", target.statement)
        table.items["upstreams"] = [Item(target.server, target.statement)]
        return table

    def _make_upstream(self, name: str, statement: Statement) -> Table:
        self.notes.converted(statement)
        header = f"pools.{toml_key(name)}"
        table, passive = Table(f"[{header}]", statement), Table(f"[{header}.passive]")
        self._balance(table, statement)
        self._keep(table, statement)
        members = read_servers(statement, passive, self.notes)
        table.items["upstreams"] = [member.item for member in members]
        table.inner.append(passive)
        return table

    def _balance(self, table: Table, upstream: Statement) -> None:
        methods = named(upstream.inner, *_METHODS)
        for statement in methods:
            found = _method(statement)
            if found is None:
                self.notes.left_over(
                    statement, "round robin is used instead; there are least_conn, hash and random two"
                )
                continue
            self.notes.converted(statement)
            for key, value in found.items():
                table.add(key, value, statement)
            if statement.name == "ip_hash":
                said = "nginx hashes the first three numbers of an IPv4 address; here the whole address counts"
                self.notes.difference(statement, Meaning.BALANCE, said)
            elif statement.name == "random" and not statement.args:
                self.notes.difference(statement, Meaning.BALANCE, "the less busy of two at random, here")

    def _keep(self, table: Table, upstream: Statement) -> None:
        for statement in named(upstream.inner, "keepalive"):
            self.notes.converted(statement)
            table.add("keep_alive_connections", _whole_or_text(statement.value), statement)
        for statement in named(upstream.inner, "keepalive_timeout"):
            self.notes.converted(statement)
            time = seconds(statement.value)
            table.add("keep_alive", statement.value if time is None else number(time), statement)
        for statement in named(upstream.inner, "queue"):
            self.notes.converted(statement)
            table.add("queue", _whole_or_text(statement.value), statement)
            for word in statement.args[1:]:
                time = seconds(word.removeprefix("timeout="))
                table.add("queue_timeout", word if time is None else number(time), statement)

    def _retries(self, table: Table, levels: Levels) -> None:
        """proxy_next_upstream and how many servers are tried: nginx tries all of them unless told otherwise."""
        servers = len(table.items["upstreams"])
        tries = levels.find("proxy_next_upstream_tries")
        self.notes.converted(tries)
        count = whole(tries.value) if tries is not None else 0
        attempts = count or max(servers, 1)
        statement = levels.find("proxy_next_upstream")
        if statement is not None:
            self.notes.converted(statement)
            if "off" in statement.args:
                table.add("attempts", 1, statement)
                return
            self._retry_on(table, statement)
        if attempts != _ATTEMPTS and (servers > 1 or tries is not None):
            table.add("attempts", attempts, tries, comment="" if tries else "nginx tries each server once")

    def _retry_on(self, table: Table, statement: Statement) -> None:
        retry_on: dict[str, None] = {}
        for word in statement.args:
            if word in _RETRIES:
                retry_on.update(dict.fromkeys(_RETRIES[word]))
            elif word == "non_idempotent":
                self.notes.left_over(statement, "non_idempotent: what is not safe to repeat is never repeated")
            else:
                self.notes.left_over(statement, f"{word}: such an answer passes; see retry_on")
        if "5xx" in retry_on:
            said = "all answers of 500 and above are retried, to GET and HEAD without a body"
            self.notes.difference(statement, Meaning.SHARED, said)
        table.add("retry_on", list(retry_on), statement)


_POOL_WIDE: Final = (
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_ssl_name",
    "proxy_ssl_server_name",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_verify",
)


def _said_of_pools(levels: Levels) -> dict[str, tuple[str, ...]]:
    return {key: found.args for key in _POOL_WIDE if (found := levels.find(key)) is not None}


def _pool_name(server: str) -> str:
    name = re.sub(r"[^0-9A-Za-z_.]+", "-", server).strip("-")
    return f"pool-{name}" if name in {"", "none"} else name


def _method(statement: Statement) -> dict[str, Scalar] | None:
    """The settings of a balancing method; None for what has no counterpart."""
    words = [word for word in statement.args if word != "consistent"]
    match statement.name, words:
        case "least_conn", []:
            return {"balance": "least-connections"}
        case "ip_hash", []:
            return {"balance": "hash", "hash": "client_ip"}
        case "random", [] | ["two"] | ["two", "least_conn"]:
            return {"balance": "random-two"}
        case "hash", [key]:
            by = _hash_key(key)
            return None if by is None else {"balance": "hash", "hash": by}
    return None


def _hash_key(key: str) -> str | None:
    name = key.strip("${}")
    if key in _ADDRESS_HASHES:
        return "client_ip"
    if key in _PATH_HASHES:
        return "path"
    if name.startswith("http_"):
        return f"header:{'-'.join(part.capitalize() for part in name.removeprefix('http_').split('_'))}"
    if name.startswith("cookie_"):
        return f"cookie:{name.removeprefix('cookie_')}"
    return None


def _whole_or_text(text: str) -> Scalar:
    """A number where it is one; the text otherwise, which the configuration then refuses in its own words."""
    found = whole(text)
    return text if found is None else found
