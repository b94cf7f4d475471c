"""proxy_set_header: what the upstream sees of Host, Upgrade, Connection, X-Forwarded-* and every other field.

It knows nginx's rule that a level's own proxy_set_header replace all of the outer ones. Where a WebSocket handshake
would fail in nginx, or plain requests say something else of their connection, that is noted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.values import substitute, variables
from trioproxy.nginx_import.variables import PLAIN, WEBSOCKET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.nginx_import.document import Table
    from trioproxy.nginx_import.model import Location
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.passing import Target
    from trioproxy.nginx_import.statements import Statement
    from trioproxy.nginx_import.variables import Variables

# The family that `forwarded = true` sets, and the values by which nginx sets the same.
_NATIVE: Final[Mapping[str, frozenset[str]]] = {
    "x-forwarded-for": frozenset({"$proxy_add_x_forwarded_for", "$remote_addr", "$proxy_protocol_addr"}),
    "x-forwarded-proto": frozenset({"$scheme"}),
    "x-forwarded-host": frozenset({"$host", "$http_host", "$host:$server_port"}),
    "x-real-ip": frozenset({"$remote_addr", "$proxy_protocol_addr"}),
}
_SPELLED: Final = {
    "x-forwarded-for": "X-Forwarded-For",
    "x-forwarded-proto": "X-Forwarded-Proto",
    "x-forwarded-host": "X-Forwarded-Host",
    "x-real-ip": "X-Real-IP",
}
# Hop-by-hop fields: what is set to "" here never passes.
_NEVER_PASS: Final = frozenset({"keep-alive", "te", "trailer", "transfer-encoding", "proxy-connection"})


@attrs.frozen
class Surroundings:
    """What is fixed for all requests of a server, as far as variables name it."""

    scheme: str = ""  # "" where it is not the same on all its addresses
    port: str = ""
    name: str = ""


@attrs.frozen
class FieldRules:
    """Makes the fields' settings of one route."""

    location: Location
    target: Target
    around: Surroundings
    known: Variables
    notes: Notes

    def write(self, route: Table, headers: Table) -> None:
        """Add the settings to the route's table and to its `set_headers`."""
        fields: dict[str, Statement] = {}
        for statement in self.location.levels.all("proxy_set_header"):
            if len(statement.args) != 2:  # noqa: PLR2004 - name and value; `checking` has said what is wrong
                continue
            if statement.value.lower() in fields:
                self.notes.left_over(statement, f"{statement.value} is set twice here; the first one counts")
            else:
                fields[statement.value.lower()] = statement
        self._warn_of_hidden(fields)
        self._check_upgrade(fields.pop("upgrade", None), fields.pop("connection", None))
        self._host(route, fields.pop("host", None))
        family = {name: fields.pop(name) for name in _NATIVE if name in fields}
        self._request_id(route, fields)
        for statement in fields.values():
            self._plain_field(headers, statement)
        self._forwarded(route, headers, family)

    def _warn_of_hidden(self, fields: Mapping[str, Statement]) -> None:
        hidden = self.location.levels.hidden("proxy_set_header")
        lost = sorted({each.value for each in hidden if each.value.lower() not in fields})
        one = self.location.levels.find("proxy_set_header")
        if lost and one is not None:
            said = f"because of this one, the proxy_set_header of outer levels ({', '.join(lost)}) do not hold here"
            self.notes.warning(one, f"{said}: nginx takes all from one level")

    def _check_upgrade(self, upgrade: Statement | None, connection: Statement | None) -> None:
        """Say where nginx would not do what is done here: upgrade a handshake, and keep plain connections."""
        version = self.location.levels.find("proxy_http_version")
        self.notes.converted(upgrade, connection, version)
        values = {
            name: statement.args[1] if statement is not None else ""
            for name, statement in (("Upgrade", upgrade), ("Connection", connection))
        }
        for statement in filter(None, (upgrade, connection)):
            self._check_variables(statement)
        self._handshake(values, upgrade, connection, version)
        self._plain_connection(values, connection)

    def _check_variables(self, statement: Statement) -> None:
        """A map that is used is converted with what it is used for; one that is missing breaks the recipe."""
        for variable in variables(statement.args[1]):
            if variable in self.known.maps:
                self.notes.converted(self.known.maps[variable], *self.known.maps[variable].inner)
            elif variable not in self.known.defined and not variable.startswith("http_"):
                said = f"${variable} is defined nowhere; the recipe's map is: map $http_upgrade ${variable}"
                self.notes.mistake(statement, f"{said} {{ default upgrade; '' close; }}")

    def _handshake(
        self,
        values: Mapping[str, str],
        upgrade: Statement | None,
        connection: Statement | None,
        version: Statement | None,
    ) -> None:
        asked = self.known.evaluate(values["Upgrade"], WEBSOCKET)
        said = self.known.evaluate(values["Connection"], WEBSOCKET) if connection is not None else "close"
        missing = []
        if upgrade is None or (asked is not None and asked.lower() != "websocket"):
            missing.append("proxy_set_header Upgrade $http_upgrade")
        if said is not None and "upgrade" not in said.lower():
            missing.append("proxy_set_header Connection with upgrade")
        if version is None or version.value != "1.1":
            missing.append("proxy_http_version 1.1")
        if not missing:
            return
        if upgrade is not None or (said is not None and "upgrade" in said.lower()):
            lacks = f"WebSocket handshakes fail in nginx here, for want of {', '.join(missing)}"
            self.notes.warning(self.location.statement, lacks)
        said = "nginx lets no WebSocket handshake through here, as it is not told to; trioproxy does"
        self.notes.difference(self.location.statement, Meaning.UPGRADE, said)

    def _plain_connection(self, values: Mapping[str, str], connection: Statement | None) -> None:
        said = self.known.evaluate(values["Connection"], PLAIN) if connection is not None else "close"
        if said == "":
            return
        shown = f"Connection: {said}" if said else f"Connection as {values['Connection']} says"
        self.notes.general(
            connection or self.location.statement,
            Meaning.CONNECTION,
            f"nginx sends plain requests with {shown}; here they go without, and connections to upstreams are kept",
        )

    def _host(self, route: Table, statement: Statement | None) -> None:
        literal = self.target.host
        if statement is None or (value := self._filled(statement)) == "$proxy_host":
            said = "" if statement else "no proxy_set_header Host: nginx sends the name of proxy_pass"
            rule = "upstream" if self.target.shown_as_address else f"literal:{literal}"
            route.add("host_header", rule, statement, comment=said)
        elif value == "$host":
            route.add("host_header", "strip-port", statement)
        elif value in {"$http_host", "$host:$server_port"}:
            route.add("host_header", "keep", statement)
            if value != "$http_host":
                said = "nginx puts the listener's port behind the name; here Host goes on as it came"
                self.notes.difference(statement, Meaning.HOST_PORT, said)
        elif value and not variables(value):
            route.add("host_header", f"literal:{value}", statement)
        else:
            said = "Host is kept as it came, or made of the upstream's address or a literal"
            self.notes.left_over(statement, said)
            return
        self.notes.converted(statement)

    def _filled(self, statement: Statement) -> str:
        """The value with everything put in that is the same for all requests."""
        text, used = self.known.literals(statement.args[1], self.location.levels)
        fixed = {
            "scheme": self.around.scheme,
            "server_port": self.around.port,
            "server_name": self.around.name,
            "proxy_host": self.target.host if statement.value.lower() != "host" else "",
        }
        if statement.value.lower() in {"host", "x-forwarded-host", "x-forwarded-proto"}:
            del fixed["scheme"], fixed["server_port"]
        self.notes.converted(*used)
        return substitute(text, {name: value for name, value in fixed.items() if value}).strip(" ")

    def _request_id(self, route: Table, fields: dict[str, Statement]) -> None:
        """X-Request-ID $request_id: what `request_id` does, which the client hears of, too."""
        statement = fields.get("x-request-id")
        if statement is not None and self._filled(statement) == "$request_id":
            route.add("request_id", "set", fields.pop("x-request-id"), comment="in the answer, too")
            self.notes.converted(statement)

    def _plain_field(self, headers: Table, statement: Statement) -> None:
        name, value = statement.value, self._filled(statement)
        if value.lower() == f"$http_{name.lower().replace('-', '_')}" or (not value and name.lower() in _NEVER_PASS):
            self.notes.converted(statement)  # as it is anyway
        elif (name.lower(), value.lower()) == ("te", "trailers"):
            said = "nginx asks for trailers whoever asks it; here the upstream is asked where the client has asked"
            self.notes.converted(statement)
            self.notes.difference(statement, Meaning.TRAILERS, said)
        elif variables(value):
            said = "a field's value is a literal here; one that a client sends is taken away, as nothing vouches for it"
            self.notes.left_over(statement, said)
            headers.add(name, "", None, comment=f"nginx made it of {value}")
        else:
            self.notes.converted(statement)
            headers.add(name, value, statement)

    def _forwarded(self, route: Table, headers: Table, family: Mapping[str, Statement]) -> None:
        """X-Forwarded-* and X-Real-IP: all that nginx sets come of `forwarded`, and the others of them are removed."""
        native = {name: each for name, each in family.items() if self._filled(each) in _NATIVE[name]}
        route.add("forwarded", bool(native), next(iter(native.values()), None), comment=self._forwarded_comment(native))
        for name, statement in family.items():
            if name not in native:
                self._odd_forwarded(headers, statement, kept=not native)
        if not native:
            return
        self.notes.converted(*native.values())
        for name, spelled in _SPELLED.items():
            if name not in family:
                headers.add(spelled, "", None, comment="nginx was not asked for it")
        host = native.get("x-forwarded-host")
        if host is not None and self._filled(host) != "$http_host":
            self.notes.difference(host, Meaning.HOST_PORT, "X-Forwarded-Host is Host as it came here, with its port")
        said = "X-Forwarded-* and X-Real-IP that a client sends itself are replaced or removed here, unless it is in"
        first = next(iter(native.values()))
        self.notes.general(
            first, Meaning.FORWARDED, f"{said} trusted_proxies; nginx appends to them, or lets them pass"
        )

    def _forwarded_comment(self, native: Mapping[str, Statement]) -> str:
        return ", ".join(_SPELLED[name] for name in native) or "no X-Forwarded-* asked for"

    def _odd_forwarded(self, headers: Table, statement: Statement, *, kept: bool) -> None:
        value = self._filled(statement)
        if value.lower() == f"$http_{statement.value.lower().replace('-', '_')}" and kept:
            self.notes.converted(statement)  # without `forwarded` it passes
        elif variables(value):
            said = "it is what trioproxy saw, or what a peer in trusted_proxies says"
            self.notes.left_over(statement, said)
        else:
            self.notes.converted(statement)
            headers.add(statement.value, value, statement)
