"""The best route, and the target it sends on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trioproxy.config import RouteConfig
from trioproxy.routing import Router, normalise_host, normalise_path, rewrite_target


def route(path: str, name: str = "", **settings: Any) -> RouteConfig:
    return RouteConfig(name=name or path, path=path, pool="backend", **settings)


def found(
    routes: list[RouteConfig], target: bytes, host: bytes = b"example.com", listener: str = "public"
) -> str | None:
    match = Router(routes).match(listener, host, target)
    return match and match.name


# Paths


@pytest.mark.parametrize(
    ("path", "target", "matches"),
    [
        ("/ws", b"/ws", True),
        ("/ws", b"/ws/", True),
        ("/ws", b"/ws/chat?room=1", True),
        ("/ws", b"/ws?x", True),
        ("/ws", b"/wsx", False),
        ("/ws", b"/WS", False),
        ("/ws/", b"/ws", False),
        ("/ws/", b"/ws/", True),
        ("/ws/", b"/ws/chat", True),
        ("/", b"/", True),
        ("/", b"/anything", True),
        ("/", b"*", True),
        ("/ws", b"*", False),
        ("/caf\u00e9", b"/caf%c3%a9/x", True),
        ("/a%2fb", b"/a%2Fb", True),
        ("/a/b", b"/a%2Fb", False),
        ("/a//b", b"/a/b", False),
    ],
)
def test_a_path_is_a_prefix_by_whole_segments(path, target, matches):
    assert (found([route(path)], target) is not None) == matches


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (b"/", "/"),
        (b"/api", "/api"),
        (b"/api/", "/api/"),
        (b"/api/v1", "/api/"),
        (b"/api/v2/users", "/api/v2"),
        (b"/api/v22", "/api/"),
        (b"/apis", "/"),
    ],
)
def test_the_longest_path_wins_wherever_it_stands(target, name):
    routes = [route("/"), route("/api"), route("/api/v2"), route("/api/")]
    assert found(routes, target) == name
    assert found(routes[::-1], target) == name


def test_an_exact_path_is_that_path_alone_and_beats_the_prefix():
    routes = [route("/ws", "prefix"), route("/ws", "exact", exact=True)]
    assert found(routes, b"/ws?token=1") == "exact"
    assert found(routes, b"/ws/") == "prefix"
    assert found(routes[1:], b"/ws/chat") is None


def test_of_routes_that_say_the_same_the_first_wins():
    assert found([route("/ws", "first"), route("/ws", "second")], b"/ws") == "first"


@pytest.mark.parametrize(
    "target",
    [
        b"/public/../admin",
        b"/%61dmin",
        b"/./admin/",
        b"/%2e/admin",
        b"/public/%2E%2e/%61%64min",
        b"/../admin",
        b"/admin#x",
    ],
)
@pytest.mark.rule("target")
def test_nobody_gets_around_a_route_by_spelling_its_path_differently(target):
    assert found([route("/", "open"), route("/admin", "guarded")], target) == "guarded"


def test_no_route_is_none():
    assert found([route("/ws")], b"/") is None
    assert found([], b"/") is None


# Hosts


def test_exact_host_beats_longer_wildcard_beats_shorter_beats_none():
    routes = [
        route("/", "any"),
        route("/", "wild", host=("*.example.com",)),
        route("/", "wilder", host=("*.eu.example.com",)),
        route("/", "exact", host=("a.eu.example.com", "example.com")),
    ]
    for order in (routes, routes[::-1]):
        assert found(order, b"/", b"a.eu.example.com") == "exact"
        assert found(order, b"/", b"example.com") == "exact"
        assert found(order, b"/", b"b.eu.example.com") == "wilder"
        assert found(order, b"/", b"b.c.eu.example.com") == "wilder"
        assert found(order, b"/", b"eu.example.com") == "wild"
        assert found(order, b"/", b"other.org") == "any"
        assert found(order, b"/", b"") == "any"


def test_a_wildcard_does_not_match_the_name_itself():
    assert found([route("/", host=("*.example.com",))], b"/", b"example.com") is None
    assert found([route("/", host=("*.example.com",))], b"/", b"badexample.com") is None


def test_the_host_is_chosen_before_the_path_as_in_nginx():
    routes = [route("/", "any"), route("/ws", "chat", host=("example.com",))]
    assert found(routes, b"/ws", b"example.com") == "chat"
    assert found(routes, b"/other", b"example.com") is None
    assert found(routes, b"/other", b"elsewhere.com") == "any"


@pytest.mark.parametrize("host", [b"Example.COM", b"example.com:8080", b"example.com.", b"EXAMPLE.com.:80"])
def test_case_port_and_trailing_dot_of_a_host_do_not_matter(host):
    assert found([route("/", host=("example.com",))], b"/", host) == "/"


@pytest.mark.parametrize("configured", ["[2001:DB8::1]", "2001:db8::1"])
@pytest.mark.parametrize("host", [b"[2001:db8::1]", b"[2001:DB8::1]:8080"])
def test_ipv6_literals_match_with_and_without_port(configured, host):
    assert found([route("/", host=(configured,))], b"/", host) == "/"


def test_a_host_no_dns_name_can_be_matches_no_name():
    host = b"a." * 200 + b"example.com"
    assert found([route("/", host=("*.example.com",))], b"/", host) is None


def test_normal_hosts():
    assert normalise_host(b"[::1") == b"[::1]"
    assert normalise_host(b"") == b""


# Listeners


def test_a_route_with_listeners_serves_those_alone():
    routes = [route("/", "all"), route("/admin", "inner", listeners=("private", "local"))]
    assert found(routes, b"/admin", listener="private") == "inner"
    assert found(routes, b"/admin", listener="local") == "inner"
    assert found(routes, b"/admin", listener="public") == "all"
    assert found(routes, b"/", listener="private") == "all"


def test_a_listener_no_route_serves_has_none():
    assert found([route("/", listeners=("private",))], b"/", listener="public") is None


# Normal paths

hostile_paths = st.one_of(
    st.binary(max_size=30),
    st.lists(
        st.sampled_from(
            [
                b"/",
                b".",
                b"..",
                b"%2e",
                b"%2E",
                b"%",
                b"%2",
                b"%25",
                b"2e",
                b"%2f",
                b"a",
                b"%61",
                b"?",
                b"#",
                b"\xff",
                b"//",
                b"b",
            ]
        ),
        max_size=14,
    ).map(lambda parts: b"/" + b"".join(parts)),
)


@pytest.mark.parametrize(
    ("target", "normal"),
    [
        (b"/a/b/c/./../../g", b"/a/g"),  # RFC 3986 section 5.2.4
        (b"/a/..", b"/"),
        (b"/a/.", b"/a/"),
        (b"/..", b"/"),
        (b"/../../a", b"/a"),
        (b"/a/...", b"/a/..."),
        (b"/.a/..b", b"/.a/..b"),
        (b"/a//../b", b"/a/b"),
        (b"/%7euser", b"/~user"),
        (b"/a%2fb%3F", b"/a%2Fb%3F"),
        (b"/%2e%2e/a", b"/a"),
        (b"/%252e", b"/%252e"),
        (b"/100%", b"/100%25"),
        (b"/%zz", b"/%25zz"),
        (b"/%%36%31", b"/%2561"),
        (b"/\xc3\xa9", b"/%C3%A9"),
        (b"/a?b=/../c", b"/a"),
        (b"*", b"/"),
        (b"", b"/"),
        (b"?x", b"/"),
    ],
)
def test_normal_paths(target, normal):
    assert normalise_path(target) == normal


@given(hostile_paths)
@example(b"/%%36%31")
def test_normalising_twice_is_normalising_once(target):
    normal = normalise_path(target)
    assert normalise_path(normal) == normal


@given(hostile_paths)
def test_a_normal_path_has_a_leading_slash_and_no_dot_segments(target):
    normal = normalise_path(target)
    assert normal.startswith(b"/")
    assert not {b".", b".."} & set(normal.split(b"/"))


# Rewriting


@pytest.mark.parametrize("target", [b"/app/../x//y?z", b"*", b"/%61pp"])
def test_without_a_prefix_rule_the_target_goes_on_as_it_came(target):
    assert rewrite_target(route("/"), target) == target


@pytest.mark.parametrize(
    ("path", "target", "rewritten"),
    [
        ("/app", b"/app/chat?x=1", b"/chat?x=1"),
        ("/app", b"/app", b"/"),
        ("/app", b"/app?x", b"/?x"),
        ("/app", b"/app/", b"/"),
        ("/app/", b"/app/chat", b"/chat"),
        ("/app/", b"/app/", b"/"),
        ("/", b"/chat", b"/chat"),
        ("/", b"/", b"/"),
        ("/", b"*", b"*"),
        ("/app", b"/app/%7euser/a%2Fb", b"/%7euser/a%2Fb"),  # the rest as it came
        ("/app", b"/%61pp/%7euser", b"/~user"),  # the front spelt differently: all normal
        ("/app", b"/x/../app/chat", b"/chat"),
        ("/app", b"/app/../app/chat", b"/chat"),  # the rest would lead out
        ("/app", b"/app/a/%2e%2e/b", b"/b"),
        ("/app", b"/app//evil.com/x", b"/evil.com/x"),  # no target that reads as another host's
    ],
)
def test_strip_prefix(path, target, rewritten):
    assert rewrite_target(route(path, strip_prefix=True), target) == rewritten


@pytest.mark.parametrize(
    ("path", "new", "target", "rewritten"),
    [
        ("/app", "/new", b"/app/chat?x", b"/new/chat?x"),
        ("/app", "/new", b"/app", b"/new"),
        ("/app", "/new/", b"/app", b"/new/"),
        ("/app", "/new/", b"/app/chat", b"/new/chat"),  # nginx would double the slash
        ("/app/", "/new", b"/app/chat", b"/new/chat"),  # nginx would lose it
        ("/app/", "/new/", b"/app/chat", b"/new/chat"),
        ("/app/", "/", b"/app/chat", b"/chat"),
        ("/", "/new", b"/", b"/new"),
        ("/", "/new", b"/chat", b"/new/chat"),
        ("/app", "/new", b"/app/../app/..%2fx", b"/new/..%2Fx"),
        ("/app", "/new", b"/app//x", b"/new//x"),
        ("/app", "/caf\u00e9", b"/app/x", b"/caf%C3%A9/x"),
    ],
)
def test_replace_prefix(path, new, target, rewritten):
    assert rewrite_target(route(path, replace_prefix=new), target) == rewritten


def test_an_exact_route_is_replaced_as_a_whole():
    assert rewrite_target(route("/ws", exact=True, replace_prefix="/socket"), b"/ws?a=b") == b"/socket?a=b"


@given(hostile_paths, st.sampled_from(["/", "/a", "/a/", "/a/b"]), st.sampled_from([None, "/", "/new", "/new/"]))
def test_a_rewritten_target_never_leads_out_of_its_prefix(target, path, new):
    rule = route(path, strip_prefix=new is None, replace_prefix=new)
    if Router([rule]).match("public", b"", target) is None or target == b"*":
        return
    rewritten = rewrite_target(rule, target)
    assert rewritten.startswith(b"/")
    assert rewritten[:2] != b"//"
    inside = (new or "/").rstrip("/").encode()
    assert normalise_path(rewritten) == inside or normalise_path(rewritten).startswith(inside + b"/")
