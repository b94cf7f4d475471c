"""What a new configuration changes: tables of before and after."""

from __future__ import annotations

import pytest
from support.serving import POOL, make_config

from trioproxy.changes import Ways, followed, restart_problems
from trioproxy.config import AdminConfig, DrainConfig, RouteConfig, ServerConfig


def test_what_needs_a_restart_is_named_with_both_values():
    old = make_config(admin=AdminConfig(address="127.0.0.1:9464"))
    new = make_config(server=ServerConfig(workers=4, handover="/run/x"), admin=AdminConfig(address=""))
    assert restart_problems(old, new) == [
        "server.workers: takes a restart: 1 is in force, the file says 4",
        'server.handover: takes a restart: "" is in force, the file says "/run/x"',
        'admin.address: takes a restart: "127.0.0.1:9464" is in force, the file says ""',
    ]


def test_nothing_else_needs_a_restart():
    old = make_config("127.0.0.1:1")
    new = make_config("127.0.0.1:2", "127.0.0.1:3", listeners=("[::]:80",), drain=DrainConfig(code=1012), routes=())
    assert restart_problems(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], [], []),
        ([], ["a:1"], [None]),
        (["a:1"], [], []),
        (["a:1", "b:1"], ["b:1", "a:1"], [1, 0]),
        (["a:1", "b:1"], ["b:1", "c:1"], [1, None]),
        (["[::0]:80", "Host:1"], ["host:1", "[::]:80"], [1, 0]),
        (["unix:/a", "unix:/A"], ["unix:/A"], [1]),
        (["a:0", "a:0"], ["a:0", "a:0", "a:0"], [0, 1, None]),
    ],
)
def test_an_address_goes_on_from_the_same_one_before(old, new, expected):
    assert followed(old, new) == expected


def route(path="/", *, pool=POOL, **settings):
    return RouteConfig(path=path, pool=pool, **settings)


ANY, EXACT, WILD = route(), route(host=("a.test",)), route(host=("*.test", "*.b.test", "x.b.test"))


@pytest.mark.parametrize(
    ("old", "new", "host", "stays"),
    [
        (ANY, [ANY], "a.test", True),
        (ANY, [], "a.test", False),
        (ANY, [route(name="renamed", forwarded=False, allowed_origins=("null",))], "a.test", True),
        (ANY, [route("/ws")], "a.test", False),
        (ANY, [ANY, route("/ws", pool="other")], "a.test", True),  # though it would be matched now
        (ANY, [route(pool="other")], "a.test", False),
        (ANY, [route(listeners=("other",))], "a.test", False),
        (ANY, [route(listeners=("other", "public"))], "a.test", True),
        (ANY, [route(pool="other"), route(listeners=("public",))], "a.test", True),
        (ANY, [EXACT], "a.test", False),
        (EXACT, [EXACT], "A.test:80", True),
        (EXACT, [ANY], "a.test", False),
        (EXACT, [route(host=("b.test", "a.test"))], "a.test", True),
        (route("/%7eme"), [route("/~me")], "a.test", True),
        (route("/ws/"), [route("/ws")], "a.test", False),
        # Of several hosts, the one it came for
        (WILD, [route(host=("*.test",))], "y.test", True),
        (WILD, [route(host=("*.test",))], "y.b.test", False),
        (WILD, [route(host=("*.b.test",))], "y.b.test", True),
        (WILD, [route(host=("*.b.test",))], "x.b.test", False),
        (WILD, [route(host=("x.b.test",))], "x.b.test", True),
        (route(host=("[::1]",)), [route(host=("::1", "a"))], "[::1]:80", True),
        # Of two routes for one place, the one of its kind; without that the other
        (route(exact=True), [ANY], "a.test", True),
        (route(exact=True), [route(exact=True, pool="other"), ANY], "a.test", False),
        (ANY, [route(exact=True), route(pool="other")], "a.test", False),
    ],
)
def test_a_way_is_the_same_while_listener_host_path_and_pool_lead_to_each_other(old, new, host, stays):
    found = Ways(new).find("public", old, host.encode(), POOL)
    assert (found in new) is (found is not None) is stays
