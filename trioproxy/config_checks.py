"""What must hold between the settings of one configuration: names that lead somewhere, nothing twice, nothing unbuilt.

Single values were checked before, by their rules. Every check is a generator of problems; whether one is shown beside
those of single values is decided in `check`.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from trioproxy.config import LATER, Config, PoolConfig, RouteConfig
from trioproxy.config_lines import KeyPath
from trioproxy.config_rules import closest, describe
from trioproxy.config_structure import Problem
from trioproxy.config_syntax import canonical, has_free_port, is_loopback

Places = Iterable[tuple[KeyPath, str]]


def check(config: Config, known: Collection[Problem]) -> list[Problem]:
    """Every problem between settings, without those that only follow from the `known` ones of single values."""
    wrong = {problem.path for problem in known}

    def follows(path: KeyPath) -> bool:
        return any(path[:length] in wrong for length in range(len(path) + 1))

    return [problem for make in _CHECKS for problem in make(config, wrong) if not follows(problem.path)]


def _check_complete(config: Config, _: Collection[KeyPath]) -> Iterator[Problem]:
    for key in ("listeners", "routes", "pools"):
        if not getattr(config, key):
            yield Problem.mismatch((key,), "at least one", "none")
    for name, pool in config.pools.items():
        if not pool.upstreams and pool.discover is None:
            yield Problem.mismatch(("pools", name, "upstreams"), "at least one (or discover)", "none")


def _check_built(config: Config, _: Collection[KeyPath]) -> Iterator[Problem]:
    for path in _unbuilt(config, ()):
        yield Problem(path, "not yet supported")


def _unbuilt(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _unbuilt(item, (*path, index))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _unbuilt(item, (*path, key))
    elif attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            here, found, later = (*path, field.name), getattr(value, field.name), field.metadata.get(LATER, False)
            if (found != field.default) if later is True else (later and found in later):
                yield here
            elif later is not True:
                yield from _unbuilt(found, here)


def _check_listeners(config: Config, _: Collection[KeyPath]) -> Iterator[Problem]:
    names = [(("listeners", at, "name"), listener.name) for at, listener in enumerate(config.listeners)]
    yield from _repeated(names, "a name no other listener has")
    addresses = [(("listeners", at, "address"), listener.address) for at, listener in enumerate(config.listeners)]
    admin = [(("admin", "address"), config.admin.address)] if config.admin.address else []
    handover = config.server.handover
    door = [(("server", "handover"), f"unix:{handover}")] if handover else []
    fixed = [place for place in (*addresses, *admin, *door) if not has_free_port(place[1])]
    yield from _repeated(fixed, "an address nothing else has", canonical)
    for at, listener in enumerate(config.listeners):
        # nginx would believe nobody then, HAProxy everybody: nobody means either without saying so.
        if listener.proxy_protocol and not listener.trusted_proxies:
            expected = "the networks whose PROXY header is believed, as proxy_protocol is on"
            yield Problem.mismatch(("listeners", at, "trusted_proxies"), expected, "none")


def _check_admin(config: Config, wrong: Collection[KeyPath]) -> Iterator[Problem]:
    admin = config.admin
    if admin.address and not is_loopback(admin.address) and not admin.token_file:
        problem = Problem.mismatch(("admin", "token_file"), "a file, as admin.address is not loopback", "none")
        yield problem if ("admin", "address") not in wrong else attrs.evolve(problem, path=("admin", "address"))
    pools = [(("admin", "ready_pools", at), name) for at, name in enumerate(admin.ready_pools)]
    yield from _dangling(pools, _defined_pools(config, wrong), "a pool of this file")


def _check_routes(config: Config, wrong: Collection[KeyPath]) -> Iterator[Problem]:
    names = [(("routes", at, "name"), route.name) for at, route in enumerate(config.routes)]
    yield from _repeated(names, "a name no other route has")
    pools = [(("routes", at, "pool"), route.pool) for at, route in enumerate(config.routes)]
    yield from _dangling(pools, _defined_pools(config, wrong), "a pool of this file")
    if not any(path[:1] == ("listeners",) and path[2:] in {(), ("name",), ("address",)} for path in wrong):
        listeners = {listener.name for listener in config.listeners}
        for at, route in enumerate(config.routes):
            places = [(("routes", at, "listeners", nth), name) for nth, name in enumerate(route.listeners)]
            yield from _dangling(places, listeners, "a listener of this file")
    for at, route in enumerate(config.routes):
        yield from _check_route(route, ("routes", at))
    yield from _same_routes(config.routes)


def _check_route(route: RouteConfig, path: KeyPath) -> Iterator[Problem]:
    if route.strip_prefix and route.replace_prefix is not None:
        yield Problem.mismatch((*path, "replace_prefix"), "either strip_prefix or replace_prefix", "both")
    fields = [((*path, "set_headers", name), name) for name in route.set_headers]
    yield from _repeated(fields, "a field no other key names", str.lower)


def _same_routes(routes: Iterable[RouteConfig]) -> Iterator[Problem]:
    first: dict[Hashable, int] = {}
    for at, route in enumerate(routes):
        wanted = [
            (host, route.path, route.exact, listener)
            for host in route.host or ("",)
            for listener in route.listeners or ("",)
        ]
        earlier = min((first[key] for key in wanted if key in first), default=None)
        for key in wanted:
            first.setdefault(key, at)
        if earlier is not None:
            expected = "a host and path no other route has on the same listeners"
            yield Problem.mismatch(("routes", at, "path"), expected, f"those of routes[{earlier}]")


def _check_pools(config: Config, _: Collection[KeyPath]) -> Iterator[Problem]:
    for name, pool in config.pools.items():
        yield from _check_pool(pool, ("pools", name))


def _check_pool(pool: PoolConfig, path: KeyPath) -> Iterator[Problem]:
    upstreams = [((*path, "upstreams", at), upstream.address) for at, upstream in enumerate(pool.upstreams)]
    yield from _repeated(upstreams, "an address no other upstream of the pool has", canonical)
    unix = next((one.address for one in pool.upstreams if one.address.startswith("unix:")), None)
    if pool.tls is not None and not pool.tls.server_name and unix is not None:
        yield Problem.mismatch((*path, "tls", "server_name"), f"a name, as {describe(unix)} has none", "none")
    health = pool.health
    if health.timeout > health.interval:
        expected = f"at most health.interval ({health.interval:g})"
        yield Problem.mismatch((*path, "health", "timeout"), expected, f"{health.timeout:g}")
    fields = [((*path, "health", "headers", name), name) for name in health.headers]
    yield from _repeated(fields, "a field no other key names", str.lower)


def _repeated(places: Places, expected: str, same: Callable[[str], str] = str) -> Iterator[Problem]:
    seen: set[str] = set()
    for path, value in places:
        if same(value) in seen:
            yield Problem.mismatch(path, expected, f"{describe(value)} again")
        seen.add(same(value))


def _dangling(places: Places, defined: Collection[str], expected: str) -> Iterator[Problem]:
    for path, name in places:
        if name not in defined:
            meant = closest(name, defined)
            yield Problem.mismatch(path, expected, f"{describe(name)}, which no one defines", meant and describe(meant))


def _defined_pools(config: Config, wrong: Collection[KeyPath]) -> set[str]:
    """The names of all pools, those that are wrong in themselves too: their mistake is reported once."""
    return {*config.pools, *(str(path[1]) for path in wrong if path[0] == "pools" and path[1:])}


_CHECKS = (_check_complete, _check_built, _check_listeners, _check_admin, _check_routes, _check_pools)
