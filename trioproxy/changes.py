"""What differs between the configuration in force and the next one, and which ways through the proxy remain.

Pure: it decides, `reloading` does.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import attrs

from trioproxy.config_reload import Reload, heeded
from trioproxy.config_rules import describe
from trioproxy.config_syntax import canonical
from trioproxy.routing import normalise_host, normalise_path, normalise_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioproxy.config import Config, RouteConfig


def restart_problems(old: Config, new: Config) -> list[str]:
    """What of `new` cannot come into force while the proxy runs: a line for each key."""
    return [
        f"{key}: takes a restart: {describe(now)} is in force, the file says {describe(wanted)}"
        for (key, now), (_, wanted) in zip(_fixed(old), _fixed(new), strict=True)
        if now != wanted
    ]


def _fixed(settings: Any, where: str = "") -> Iterator[tuple[str, object]]:
    for field in attrs.fields(type(settings)):
        value, key = getattr(settings, field.name), f"{where}{field.name}"
        if attrs.has(type(value)):
            yield from _fixed(value, f"{key}.")
        elif heeded(type(settings), field.name) is Reload.RESTART:
            yield key, value


def followed(old: Sequence[str], new: Sequence[str]) -> list[int | None]:
    """For each address of `new` which one of `old` it goes on from, however they are spelt; None where it is a new one.

    An address that is there several times (port 0) is matched in order.
    """
    known: defaultdict[str, deque[int]] = defaultdict(deque)
    for at, address in enumerate(old):
        known[canonical(address)].append(at)
    return [known[name].popleft() if known[name := canonical(address)] else None for address in new]


@attrs.frozen(init=False)
class Ways:
    """The ways of a configuration: by which listener and route which pool is reached."""

    _routes: dict[tuple[bytes, bytes], list[RouteConfig]]  # by host pattern and path

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        by_place: defaultdict[tuple[bytes, bytes], list[RouteConfig]] = defaultdict(list)
        for route in routes:
            for name in route.host or ("",):
                by_place[normalise_pattern(name), _path(route)].append(route)
        self.__attrs_init__(routes=dict(by_place))

    def find(self, listener: str, route: RouteConfig, host: bytes, pool: str) -> RouteConfig | None:
        """The route that leads what came for `host` by `route`, of whatever configuration, to `pool` still, or None.

        `listener` is the name in this configuration. A route is the same as long as host and path are; where there is
        one of its kind (`exact` or not), that alone counts.
        """
        found = self._routes.get((_pattern(route, host), _path(route)), [])
        kind = [one for one in found if one.exact is route.exact] or found
        leading = (one for one in kind if one.pool == pool and (not one.listeners or listener in one.listeners))
        return next(leading, None)


def _path(route: RouteConfig) -> bytes:
    return normalise_path(route.path.encode())


def _pattern(route: RouteConfig, host: bytes) -> bytes:
    """Which of a route's host patterns a request for `host` matched: the exact one, else the longest wildcard."""
    patterns = [normalise_pattern(name) for name in route.host]
    name = normalise_host(host)
    fitting = [each for each in patterns if each == name or (each.startswith(b".") and name.endswith(each))]
    return max(fitting, key=lambda each: (each == name, len(each)), default=b"")
