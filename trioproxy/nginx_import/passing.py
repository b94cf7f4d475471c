"""proxy_pass: where it leads, what Host nginx sends there, and what becomes of the path.

Which settings the target's pool gets is `pools`' work.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.config_rules import closest
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.statements import walk
from trioproxy.nginx_import.values import split_address, variables

if TYPE_CHECKING:
    from trioproxy.nginx_import.model import Location, Site
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement
    from trioproxy.nginx_import.variables import Variables

_PARTS = re.compile(
    r"(?P<scheme>https?)://(?P<server>unix:[^:]+:?|\$[^/?]*|[^/?$]*)(?P<uri>.*)", re.DOTALL | re.IGNORECASE
)
_DEFAULT_PORT: Final = {False: 80, True: 443}
# `rewrite ^/ws/(.*)$ /$1 break;` is how the prefix was taken off before proxy_pass with a URI was known well.
_REWRITE = re.compile(r"\^(?P<prefix>/[\w./-]*?)(?P<slash>/\?)?\(\.[*+]\)\$?", re.ASCII)
_REWRITTEN = re.compile(r"(?P<new>/[\w./-]*|)\$1", re.ASCII)


@attrs.frozen
class Target:
    """Where a proxy_pass leads."""

    statement: Statement
    server: str  # the name of an `upstream`, or an address with its port
    is_upstream: bool
    tls: bool
    uri: str  # what takes the place of the location's path; "" for nothing
    host: str  # nginx's $proxy_host: what Host is unless something else is set

    @property
    def shown_as_address(self) -> bool:
        """Whether `host` is what trioproxy makes of an upstream's address."""
        return not self.is_upstream and (self.host == self.server or self.server.startswith("unix:"))


def find_target(location: Location, site: Site, known: Variables, notes: Notes) -> Target | None:
    """Where the location's own proxy_pass leads; None with a note where that cannot be said."""
    statement = next(each for each in location.own if each.name == "proxy_pass")
    if len(statement.args) != 1:
        return None  # `checking` has said what is wrong
    text, used = known.literals(statement.value, location.levels)
    parts = _PARTS.fullmatch(text)
    if parts is None:
        if variables(text):
            notes.left_over(statement, "a route has one pool, which cannot hang on a variable")
        else:
            notes.mistake(statement, f"{statement}: expected http:// or https:// and a server")
        return None
    server, uri = parts["server"], parts["uri"]
    if server.startswith("unix:") and not server.endswith(":"):
        server, uri = f"unix:{server.removeprefix('unix:')}{uri}", ""
    if variables(server):
        notes.left_over(statement, "a route has one pool, which cannot hang on a variable")
        return None
    uri = _uri(statement, uri, location, by_variable=bool(used), notes=notes)
    if uri is None:
        return None
    notes.converted(*used)
    return _target(statement, server.removesuffix(":"), parts["scheme"].lower() == "https", uri, site, notes)


def _uri(statement: Statement, uri: str, location: Location, *, by_variable: bool, notes: Notes) -> str | None:
    """The URI that takes the location's place; None with a note where it has no counterpart."""
    if uri == "$request_uri":
        return ""
    if uri and location.match in {"regex", "named"} and not variables(uri):
        notes.mistake(statement, f"{statement}: nginx takes no URI behind the server in such a location")
        return None
    if variables(uri) or "?" in uri:
        notes.left_over(statement, "a path made of variables, or with a query, has no counterpart")
        return None
    if uri and by_variable:
        said = f"behind a server named by a variable nginx sends {uri} instead of every path"
        notes.left_over(statement, f"{said}; leave it away to have paths go on as they came")
        return None
    return uri


def _target(statement: Statement, server: str, tls: bool, uri: str, site: Site, notes: Notes) -> Target | None:  # noqa: FBT001
    if server in site.upstreams:
        return Target(statement, server, is_upstream=True, tls=tls, uri=uri, host=server)
    if server.startswith("unix:"):
        return Target(statement, server, is_upstream=False, tls=tls, uri=uri, host="localhost")
    host, port = split_address(server)
    if host in site.upstreams:
        notes.mistake(statement, f'{statement}: "{host}" is an upstream block, which can have no port here')
        return None
    if not host:
        notes.mistake(statement, f"{statement}: no server between the slashes")
        return None
    if port is None and _meant_as_upstream(host, site):
        meant = closest(host, site.upstreams) or (next(iter(site.upstreams)) if len(site.upstreams) == 1 else None)
        hint = f" (did you mean http://{meant}?)" if meant else ""
        notes.mistake(statement, f'proxy_pass leads to "{host}", and no upstream block has that name{hint}')
        return None
    default = _DEFAULT_PORT[tls]
    address = f"{host}:{port or default}"
    shown = host if port in {None, default} else f"{host}:{port}"
    return Target(statement, address, is_upstream=False, tls=tls, uri=uri, host=shown)


def _meant_as_upstream(host: str, site: Site) -> bool:
    """Whether a name without dot and port stands for a block that is not there, and not for a host such as `app`.

    So it is where it is "upstream" itself, or where some block is there that nobody uses.
    """
    if "." in host or host.startswith("[") or host == "localhost":
        return False
    passes = [each for each in walk(site.http.chain[0]) if each.name == "proxy_pass"]
    used = {re.sub(r"^https?://|[/:].*$", "", each.value) for each in passes}
    return host == "upstream" or any(name not in used for name in site.upstreams)


def path_settings(location: Location, target: Target, notes: Notes) -> dict[str, str | bool] | None:
    """What has to be done to the path: nothing, strip_prefix or replace_prefix; None where it has no counterpart."""
    path, uri = location.path, target.uri
    rewrites = [each for each in location.own if each.name == "rewrite"]
    if rewrites:
        return _by_rewrite(location, rewrites, target, notes)
    if uri and location.match == "prefix":
        inner = f"{path.rstrip('/')}/x"
        _note_seam(target.statement, inner, uri + inner.removeprefix(path), uri, notes)
    return _exchange(path, uri or path)


def _exchange(path: str, uri: str) -> dict[str, str | bool]:
    if uri == path:
        return {}
    return {"strip_prefix": True} if uri == "/" else {"replace_prefix": uri}


def _note_seam(statement: Statement, inner: str, theirs: str, uri: str, notes: Notes) -> None:
    """Say where nginx makes something else of a path below the location's: it joins texts, trioproxy segments."""
    ours = f"{uri.rstrip('/')}/x"
    if theirs != ours:
        said = f"nginx makes {theirs} of {inner} here; trioproxy neither loses nor doubles a slash: {ours}"
        notes.difference(statement, Meaning.SEAM, said)


def _by_rewrite(
    location: Location, rewrites: list[Statement], target: Target, notes: Notes
) -> dict[str, str | bool] | None:
    """The same for a single `rewrite ... break` that exchanges the location's path; None with notes for any other."""
    statement, path = rewrites[0], location.path
    pattern = _REWRITE.fullmatch(statement.value)
    new = _REWRITTEN.fullmatch(statement.args[1]) if len(statement.args) == 3 else None  # noqa: PLR2004 - regex, replacement, flag
    fits = pattern is not None and pattern["prefix"].rstrip("/") == path.rstrip("/") and len(rewrites) == 1
    if pattern is None or new is None or not fits or statement.args[2] != "break" or target.uri:
        for each in rewrites:
            notes.left_over(
                each, "paths are changed by strip_prefix and replace_prefix alone: see proxy_pass with a URI"
            )
        return None
    notes.converted(statement)
    inner = f"{path.rstrip('/')}/x"
    rest = inner.removeprefix(pattern["prefix"])
    theirs = new["new"] + (rest.removeprefix("/") if pattern["slash"] else rest)
    base = theirs.removesuffix("x").rstrip("/")
    uri = f"{base}/" if path.endswith("/") or not base else base
    _note_seam(statement, inner, theirs, uri, notes)
    if pattern["prefix"].endswith("/") and not path.endswith("/"):
        notes.difference(statement, Meaning.SEAM, f"nginx leaves {path} itself as it is; here it becomes {uri}")
    return _exchange(path, uri)
