"""`ssl_*` and `proxy_ssl_*` that name files: certificates of listeners, authorities of clients and of upstreams.

Which addresses have TLS at all is `listeners`' work, which pool leads to what `pools`'. The files are not looked at.
"""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.values import variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trioproxy.nginx_import.document import Scalar, Table
    from trioproxy.nginx_import.model import Levels, Server
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.passing import Target
    from trioproxy.nginx_import.statements import Statement

_TO_DO: Final = (
    "unless a public authority has signed it, put its authority's, or itself if it is self-signed, into ca of the"
    " pool's tls, and a name it is for into server_name"
)
_NO_FILES: Final = ("data:", "engine:", "store:")
# What says more of clients' certificates than client_ca can.
_STRICTER: Final[Mapping[str, str]] = {
    "ssl_crl": "lists of revoked certificates are not read",
    "ssl_ocsp": "nobody is asked whether a certificate is revoked",
}


@attrs.frozen
class Identity:
    """What an address shows its clients: a certificate and its key, and whose server's they are."""

    server: Server
    certificate: Statement
    key: Statement


@attrs.frozen
class Demand:
    """What a server asks of its clients' certificates; with a `problem`, which says why, it has no counterpart."""

    statement: Statement
    authority: Statement | None = None
    problem: str = ""


def find_identity(servers: Iterable[Server], default: Server, notes: Notes) -> Identity | None:
    """The certificate of an address: the default server's; None with a note where there is none that can be used."""
    users = list(servers)
    rejecting = _rejects(default)
    candidates = [default, *users] if rejecting else [default]
    owner = next((each for each in candidates if each.levels.find("ssl_certificate")), default)
    certificates, keys = owner.levels.all("ssl_certificate"), owner.levels.all("ssl_certificate_key")
    if not certificates or not keys:
        if rejecting:
            notes.left_over(default.statement, "it answers no handshake, and no other server listens there")
        else:
            notes.mistake(default.statement, "TLS without ssl_certificate and ssl_certificate_key")
        return None
    for statement in (certificates[0], keys[0]):
        if variables(statement.value) or statement.value.startswith(_NO_FILES):
            notes.left_over(statement, "a listener's certificate and key are files with fixed names")
            return None
    for other in certificates[1:]:
        said = f"a listener has one certificate: that of line {certificates[0].place.line}"
        notes.left_over(
            other, f"{said}; its key goes with it. Where all clients are of this decade, keep the ECDSA one"
        )
    notes.converted(certificates[0], *keys)
    found = Identity(owner, certificates[0], keys[0])
    _note_others(users, found, notes)
    return found


def _note_others(servers: Iterable[Server], found: Identity, notes: Notes) -> None:
    """Say whom clients of the same address's other servers see."""
    for server in servers:
        refusing = server.levels.find("ssl_reject_handshake")
        if refusing is not None and _rejects(server):
            notes.converted(refusing)
            said = (
                "nginx breaks the handshake off for such names; here the listener's certificate is shown, and there is"
            )
            notes.difference(refusing, Meaning.NAMES, f"{said} no route, which is 404")
        other = server.levels.find("ssl_certificate")
        if other is None or server is found.server:
            continue
        if other.args != found.certificate.args:
            said = f"a listener has one certificate: {found.certificate.value}, whatever name a client asks for"
            notes.left_over(other, f"{said}; have one made for all the names, or let this server listen elsewhere")
        else:
            notes.converted(other, server.levels.find("ssl_certificate_key"))


def _rejects(server: Server) -> bool:
    return server.levels.value("ssl_reject_handshake") == "on"


def read_demand(server: Server, notes: Notes) -> Demand | None:
    """What a server that listens with TLS asks of its clients' certificates; None where it is nothing."""
    levels = server.levels
    verify = levels.find("ssl_verify_client")
    if verify is None or verify.value == "off":
        return None
    if verify.value != "on":
        reason = "a listener asks every client for a certificate (client_ca), or none"
        return Demand(verify, problem=reason)
    stricter = next((each for name in _STRICTER if (each := levels.find(name)) and each.value != "off"), None)
    if stricter is not None:
        notes.left_over(stricter, _STRICTER[stricter.name])
        return Demand(verify, problem=_STRICTER[stricter.name])
    authority, also = levels.find("ssl_client_certificate"), levels.find("ssl_trusted_certificate")
    if authority is None:
        notes.mistake(verify, "ssl_verify_client without ssl_client_certificate")
    elif also is not None and also.args != authority.args:
        said = (
            f"clients whose certificates it has signed are let in by nginx, too; put it into {authority.value} as well"
        )
        notes.left_over(also, said)
    return Demand(verify, authority)


def unmet(demand: Demand | None, listeners: Demand | None) -> str:
    """Why what a listener demands is not what this server asks of its clients; "" where it is, or is more."""
    if demand is None:
        return ""
    if demand.problem:
        return demand.problem
    asked = listeners.authority if listeners is not None else None
    if asked is None or demand.authority is None or asked.args != demand.authority.args:
        return "a listener has one client_ca, and that of its default server is another; let this one listen elsewhere"
    return ""


def write_listener(table: Table, found: Identity, demand: Demand | None, folder: str) -> None:
    """Put `tls` into a listener's table; paths are relative to the folder of the nginx file, as they are to nginx."""
    settings: dict[str, Scalar] = {
        "certificate": _path(found.certificate, folder),
        "key": _path(found.key, folder),
    }
    also = [found.key]
    if demand is not None and demand.authority is not None:
        settings["client_ca"] = _path(demand.authority, folder)
        also += [demand.authority, demand.statement]
    table.add("tls", settings, found.certificate, essential=True, also=tuple(also))


def write_pool(table: Table, target: Target, levels: Levels, folder: str, notes: Notes) -> None:
    """Put `tls` into the table of a pool that a https:// leads to."""
    authority, verify = levels.find("proxy_ssl_trusted_certificate"), levels.find("proxy_ssl_verify")
    verifies = verify is not None and verify.value == "on"
    settings: dict[str, Scalar] = {}
    if name := _server_name(target, levels, notes, verifies=verifies):
        settings["server_name"] = name
    if authority is not None:
        notes.converted(authority)
        settings["ca"] = _path(authority, folder)
    elif verifies and verify is not None:
        notes.mistake(verify, "proxy_ssl_verify without proxy_ssl_trusted_certificate")
    if verify is not None and not verifies:
        notes.left_over(verify, f"an upstream's certificate is always checked; {_TO_DO}")
    elif not verifies:
        said = (
            "proxy_ssl_verify is off by default, so that nginx takes any certificate of an upstream; here it is always"
        )
        notes.difference(target.statement, Meaning.VERIFY, f"{said} checked: {_TO_DO}")
    notes.converted(verify, levels.find("proxy_ssl_server_name"))
    table.add("tls", settings, target.statement, essential=True)


def _server_name(target: Target, levels: Levels, notes: Notes, *, verifies: bool) -> str:
    """The name that is asked for and checked; "" for the host of each upstream."""
    statement = levels.find("proxy_ssl_name")
    # Without one nginx takes the name behind https://, where it takes any at all.
    default = target.host if target.is_upstream and (verifies or levels.value("proxy_ssl_server_name") == "on") else ""
    if statement is None:
        return default
    if variables(statement.value):
        if statement.value != "$proxy_host":
            asked = default or "the host of each upstream"
            notes.left_over(statement, f"a pool asks for one name, which cannot hang on a variable; here it is {asked}")
            return default
        notes.converted(statement)
        return target.host if target.is_upstream else ""
    notes.converted(statement)
    return statement.value


def _path(statement: Statement, folder: str) -> str:
    return os.path.join(folder, statement.value)  # noqa: PTH118 - text to text, as the configuration has it
