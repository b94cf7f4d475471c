"""Finds the route of a request by listener, host and path, and the target its upstream gets to see.

Pure; what happens where no route matches is `connection`'s work. The choice is made as nginx makes it: the listener
first, then the most specific host that any route names (exact, longest wildcard, any), then the path among that host's
routes alone. No path matching there means no route, even where a less specific host has one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trioproxy.config import RouteConfig

# DNS allows 253 octets; anything longer is nobody's name, and walking its labels would cost the square of its length.
MAX_HOST_BYTES = 253

_PLAIN_PATH = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})|[%\x00-\x20\x7f-\xff]")
_UNSAFE = re.compile(rb"[\x00-\x20\x7f-\xff]")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_QUERY = re.compile(rb"[?#]")


def normalise_host(host: bytes) -> bytes:
    """A Host value as routes compare it: lower case, without port and trailing dot; an IPv6 literal in brackets."""
    host = host.lower()
    if host.startswith(b"["):
        return host.partition(b"]")[0] + b"]"
    return host.partition(b":")[0].removesuffix(b".")


def normalise_pattern(name: str) -> bytes:
    """A host of a route as `normalise_host` would have it; ".example.com" for "*.example.com", empty for any host."""
    if name.startswith("*."):
        return normalise_host(name[1:].encode())
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"
    return normalise_host(name.encode())


def normalise_path(target: bytes) -> bytes:
    """A request target's path as routes compare it; always begins with "/".

    The query is cut off, escapes of unreserved characters are decoded, other escapes get upper-case digits, then dot
    segments are removed (RFC 3986 §6.2.2, §5.2.4), so nobody gets around a route by spelling its path differently.
    `%2F` stays one character of a segment; slashes are not merged. A "%" that starts no escape is taken for `%25`. `*`
    and anything else without a leading slash is "/", the server as a whole. Idempotent.
    """
    plain = _PLAIN_PATH.match(target)
    if plain is None:
        return b"/"
    path = plain[0]
    if len(path) < len(target) and target[len(path)] not in b"?#":
        path = _ESCAPE.sub(_normal_escape, _split(target)[0])
    return _remove_dot_segments(path) if b"/." in path else path


def rewrite_target(route: RouteConfig, target: bytes) -> bytes:
    """The target to send upstream: `target` itself, or what nginx's proxy_pass with a URI makes of it.

    With `strip_prefix` or `replace_prefix` the route's path at the front is exchanged; the rest and the query go on as
    they came. Where the front is spelt with escapes, or dot segments follow, the rest is taken from the normalised
    path, so that no rewritten target leads out of the new prefix. Unlike in nginx, a slash is neither lost nor doubled
    at the seam. Begins with "/" (but for `*`, which passes). `target` must be one that `route` matched.
    """
    if target == b"*" or not (route.strip_prefix or route.replace_prefix is not None):
        return target
    new = _UNSAFE.sub(_quote, (route.replace_prefix or "/").encode())
    path, query = _split(target)
    whole = normalise_path(_route_path(route))
    normal = normalise_path(path)
    if normal == whole:
        return new + query
    front = _route_path(route).rstrip(b"/")
    rest = path[len(front) :]
    if not path.startswith(front) or not rest.startswith(b"/") or normalise_path(rest) != _decoded(rest):
        rest = normal.removeprefix(whole.rstrip(b"/"))
    new = new.rstrip(b"/")
    # A target of "//name" could be read as another host's; no prefix before it means one slash.
    return (new + rest if new else b"/" + rest.lstrip(b"/")) + query


@attrs.frozen(init=False)
class Router:
    """All routes, ready to be searched."""

    _listeners: dict[str, _Hosts]  # those that some route names
    _others: _Hosts

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        named = {name for route in routes for name in route.listeners}
        self.__attrs_init__(
            listeners={
                name: _Hosts.of(route for route in routes if not route.listeners or name in route.listeners)
                for name in named
            },
            others=_Hosts.of(route for route in routes if not route.listeners),
        )

    def match(self, listener: str, host: bytes, target: bytes) -> RouteConfig | None:
        """The route of a request that came in on the listener of that name, or None. `host` may carry a port."""
        path = normalise_path(target)
        for place in self._listeners.get(listener, self._others).find(normalise_host(host)):
            if place.matches(path):
                return place.route
        return None


@attrs.frozen
class _Place:
    """One route's path, normalised."""

    route: RouteConfig
    path: bytes
    inside: bytes  # what a path below it begins with

    @classmethod
    def of(cls, route: RouteConfig) -> _Place:
        path = normalise_path(_route_path(route))
        return cls(route=route, path=path, inside=path.rstrip(b"/") + b"/")

    def matches(self, path: bytes) -> bool:
        return path == self.path or (not self.route.exact and path.startswith(self.inside))

    @property
    def precedence(self) -> tuple[int, bool]:
        return -len(self.path), not self.route.exact


@attrs.frozen
class _Hosts:
    """The routes of one listener by host, each list with the most specific path first."""

    exact: dict[bytes, list[_Place]] = attrs.field(factory=dict)
    wildcard: dict[bytes, list[_Place]] = attrs.field(factory=dict)  # by ".example.com"
    any: list[_Place] = attrs.field(factory=list)

    @classmethod
    def of(cls, routes: Iterable[RouteConfig]) -> _Hosts:
        hosts = cls()
        for place in sorted(map(_Place.of, routes), key=lambda place: place.precedence):
            for name in place.route.host or ("",):
                hosts._list(name).append(place)
        return hosts

    def _list(self, name: str) -> list[_Place]:
        pattern = normalise_pattern(name)
        if not pattern:
            return self.any
        return (self.wildcard if pattern.startswith(b".") else self.exact).setdefault(pattern, [])

    def find(self, host: bytes) -> list[_Place]:
        if len(host) > MAX_HOST_BYTES:
            return self.any
        if (exact := self.exact.get(host)) is not None:
            return exact
        if self.wildcard:
            dot = host.find(b".")
            while dot != -1:
                if (found := self.wildcard.get(host[dot:])) is not None:
                    return found
                dot = host.find(b".", dot + 1)
        return self.any


def _route_path(route: RouteConfig) -> bytes:
    return route.path.encode()


def _split(target: bytes) -> tuple[bytes, bytes]:
    """The path, and the query with its question mark (or a fragment, which no client should send)."""
    found = _QUERY.search(target)
    return (target[: found.start()], target[found.start() :]) if found else (target, b"")


def _decoded(path: bytes) -> bytes:
    return _ESCAPE.sub(_normal_escape, path)


def _normal_escape(found: re.Match[bytes]) -> bytes:
    digits = found[1]
    if digits is None:
        return _quote(found)
    octet = int(digits, 16)
    return bytes((octet,)) if octet in _UNRESERVED else found[0].upper()


def _quote(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]


def _remove_dot_segments(path: bytes) -> bytes:
    """RFC 3986 §5.2.4 for a path that begins with a slash."""
    kept: list[bytes] = []
    segments = path.split(b"/")[1:]
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in {b".", b".."}:
        kept.append(b"")
    return b"/" + b"/".join(kept)
