import attrs
import pytest

from trioproxy.config import (
    AdminConfig,
    Config,
    DiscoverConfig,
    HealthConfig,
    ListenerConfig,
    PassiveConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    StickyCookieConfig,
    UpstreamConfig,
    UpstreamTlsConfig,
    WebSocketConfig,
)
from trioproxy.config_checks import check
from trioproxy.config_structure import Problem

A, B = UpstreamConfig(address="a:1"), UpstreamConfig(address="b:1")
POOL = PoolConfig(name="backend", upstreams=(A, B))
GOOD = Config(
    listeners=(ListenerConfig(address="0.0.0.0:80", name="public"), ListenerConfig(address="[::]:80")),
    routes=(RouteConfig(path="/", pool="backend"), RouteConfig(path="/ws", pool="backend", listeners=("public",))),
    pools={"backend": POOL},
)


def problems(config=GOOD, known=(), **changes):
    found = check(attrs.evolve(config, **changes), known)
    return [(problem.path, problem.message) for problem in found]


def of_pool(**changes):
    return problems(pools={"backend": attrs.evolve(POOL, **changes)})


def of_listener(**changes):
    return problems(listeners=(attrs.evolve(GOOD.listeners[0], **changes),))


def of_routes(*routes):
    return problems(routes=tuple(RouteConfig(pool="backend", **route) for route in routes))


def test_a_good_configuration_has_no_problems():
    assert problems() == []


def test_an_unused_pool_is_fine():
    assert problems(pools={"backend": POOL, "other": attrs.evolve(POOL, name="other")}) == []


def test_at_least_one_listener_route_and_pool():
    assert problems(listeners=(), routes=(), pools={}) == [
        ((key,), "expected at least one, got none") for key in ("listeners", "routes", "pools")
    ]


def test_a_pool_has_upstreams_or_discovers_them():
    path = ("pools", "backend", "upstreams")
    assert of_pool(upstreams=()) == [(path, "expected at least one (or discover), got none")]
    discover = DiscoverConfig(file="x.json")
    assert of_pool(upstreams=(), discover=discover) == [(("pools", "backend", "discover"), "not yet supported")]


@pytest.mark.parametrize(
    ("found", "path"),
    [
        (of_pool(sticky_cookie=StickyCookieConfig(name="n", secret_file="s")), ("pools", "backend", "sticky_cookie")),
        (of_pool(balance="hash"), ("pools", "backend", "balance")),
        (of_pool(balance="random-two"), ("pools", "backend", "balance")),
        (of_pool(health=HealthConfig(on_down="close")), ("pools", "backend", "health", "on_down")),
    ],
)  # fmt: skip
def test_what_is_not_built_yet_is_refused(found, path):
    assert found == [(path, "not yet supported")]


def test_what_is_built_is_not_refused():
    assert of_pool(balance="least-connections", health=HealthConfig(probe="websocket")) == []
    assert of_pool(passive=PassiveConfig(max_failures=1)) == []
    assert of_pool(queue=1, slow_start=1.0) == []
    assert of_listener(handshake_rate=1.0, max_connections_per_client=1, allow=("::1",), deny=("unix:",)) == []
    websocket = WebSocketConfig(
        strict=False,
        ping_interval=1.0,
        ping_timeout=3.0,
        max_message_bytes=1,
        max_message_rate=1.0,
        max_frame_rate=1.0,
        max_age=1.0,
    )
    assert problems(websocket=websocket) == []
    assert of_routes({"path": "/", "websocket": websocket}) == []


def test_upstreams_without_a_host_need_a_name_to_prove():
    unix = (UpstreamConfig(address="127.0.0.1:1"), UpstreamConfig(address="unix:/x"))
    path = ("pools", "backend", "tls", "server_name")
    assert of_pool(tls=UpstreamTlsConfig(), upstreams=unix) == [
        (path, 'expected a name, as "unix:/x" has none, got none')
    ]
    assert of_pool(tls=UpstreamTlsConfig(server_name="a.test"), upstreams=unix) == []
    assert of_pool(tls=UpstreamTlsConfig()) == []


def test_listeners_have_names_and_addresses_of_their_own():
    listeners = (
        ListenerConfig(address="[::]:80", name="public"),
        ListenerConfig(address="[::0]:80", name="other"),
        ListenerConfig(address="unix:/x", name="public"),
    )
    assert problems(listeners=listeners) == [
        (("listeners", 2, "name"), 'expected a name no other listener has, got "public" again'),
        (("listeners", 1, "address"), 'expected an address nothing else has, got "[::0]:80" again'),
    ]


def test_a_proxy_header_is_somebodys_to_be_believed():
    path = ("listeners", 0, "trusted_proxies")
    said = "expected the networks whose PROXY header is believed, as proxy_protocol is on, got none"
    assert of_listener(proxy_protocol=True) == [(path, said)]
    assert of_listener(proxy_protocol=True, trusted_proxies=("10.0.0.0/8",)) == []


def test_the_admin_address_is_no_listener():
    assert problems(admin=AdminConfig(address="0.0.0.0:80", token_file="t")) == [
        (("admin", "address"), 'expected an address nothing else has, got "0.0.0.0:80" again')
    ]


def test_a_handover_has_a_path_of_its_own():
    listeners = (ListenerConfig(address="unix:/x", name="public"),)
    assert problems(listeners=listeners, server=ServerConfig(handover="/y")) == []
    assert problems(listeners=listeners, server=ServerConfig(handover="/x")) == [
        (("server", "handover"), 'expected an address nothing else has, got "unix:/x" again')
    ]


def test_an_admin_address_beyond_loopback_needs_a_token():
    path, message = ("admin", "token_file"), "expected a file, as admin.address is not loopback, got none"
    assert problems(admin=AdminConfig(address="0.0.0.0:9464")) == [(path, message)]
    assert problems(admin=AdminConfig(address="[::1]:9464")) == []
    assert problems(admin=AdminConfig(address="")) == []


def test_ready_pools_exist():
    assert problems(admin=AdminConfig(ready_pools=("backend", "bakend", "zzz"))) == [
        (
            ("admin", "ready_pools", 1),
            'expected a pool of this file, got "bakend", which no one defines (did you mean "backend"?)',
        ),
        (("admin", "ready_pools", 2), 'expected a pool of this file, got "zzz", which no one defines'),
    ]


def test_routes_lead_to_pools_and_listeners_that_exist():
    route = RouteConfig(path="/", pool="other", listeners=("public", "publik"))
    assert problems(routes=(route,)) == [
        (("routes", 0, "pool"), 'expected a pool of this file, got "other", which no one defines'),
        (
            ("routes", 0, "listeners", 1),
            'expected a listener of this file, got "publik", which no one defines (did you mean "public"?)',
        ),
    ]


def test_a_prefix_is_stripped_or_replaced_but_not_both():
    assert of_routes({"path": "/a", "strip_prefix": True, "replace_prefix": "/b"}) == [
        (("routes", 0, "replace_prefix"), "expected either strip_prefix or replace_prefix, got both")
    ]
    assert of_routes({"path": "/a", "strip_prefix": True}, {"path": "/b", "replace_prefix": "/b"}) == []


def test_a_field_is_set_once():
    assert of_routes({"path": "/", "set_headers": {"X-Env": "1", "x-env": "2"}}) == [
        (("routes", 0, "set_headers", "x-env"), 'expected a field no other key names, got "x-env" again')
    ]
    assert of_pool(health=HealthConfig(headers={"X": "1", "x": "2"}))[0][0] == (
        "pools",
        "backend",
        "health",
        "headers",
        "x",
    )


def test_route_names_are_unique():
    assert of_routes({"path": "/a", "name": "x"}, {"path": "/b", "name": "x"}) == [
        (("routes", 1, "name"), 'expected a name no other route has, got "x" again')
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/a", "host": ("x", "y")},
        {"path": "/a", "host": ("y", "z")},
    ],
)
def test_two_routes_that_are_the_same(other):
    found = of_routes({"path": "/a", "host": ("x", "y"), "name": "one"}, {**other, "name": "other"})
    expected = "expected a host and path no other route has on the same listeners, got those of routes[0]"
    assert found == [(("routes", 1, "path"), expected)]


@pytest.mark.parametrize(
    "other",
    [
        {"path": "/b"},
        {"path": "/a", "exact": True},
        {"path": "/a", "host": ("x",)},
        {"path": "/a", "listeners": ("public",)},
    ],
)
def test_routes_that_differ_in_one_thing(other):
    assert of_routes({"path": "/a", "name": "one"}, {**other, "name": "other"}) == []


def test_upstreams_of_a_pool_are_different():
    assert of_pool(upstreams=(A, B, UpstreamConfig(address="A:1"))) == [
        (("pools", "backend", "upstreams", 2), 'expected an address no other upstream of the pool has, got "A:1" again')
    ]


def test_a_probe_ends_before_the_next_begins():
    assert of_pool(health=HealthConfig(interval=1.0, timeout=1.5)) == [
        (("pools", "backend", "health", "timeout"), "expected at most health.interval (1), got 1.5")
    ]
    assert of_pool(health=HealthConfig(interval=1.0, timeout=1.0)) == []


def test_what_only_follows_from_a_known_problem_is_not_reported():
    upstreams = Problem(("pools", "other"), "expected a table, got 3")
    assert problems(routes=(RouteConfig(path="/", pool="other"),), known=[upstreams]) == []
    assert problems(routes=(), known=[Problem(("routes",), "expected a list, got 3")]) == []
    route = RouteConfig(path="/", pool="backend", listeners=("web",))
    assert problems(routes=(route,), known=[Problem(("listeners", 0, "name"), "...")]) == []
    assert problems(routes=(route,), known=[Problem(("listeners", 0), "...")]) == []
    admin = AdminConfig(address="nonsense")
    assert problems(admin=admin, known=[Problem(("admin", "address"), "...")]) == []
