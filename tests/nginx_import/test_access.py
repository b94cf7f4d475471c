"""allow and deny: nginx asks them in order, trioproxy takes the smallest network; who gets in is the same."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.nginx_files import convert

from trioproxy.addresses import Admission
from trioproxy.nginx_import import Kind
from trioproxy.nginx_import.access import read_access
from trioproxy.nginx_import.model import Levels
from trioproxy.nginx_import.notes import Notes
from trioproxy.nginx_import.statements import Place, Statement

EVERYBODY = ["0.0.0.0/0", "::/0", "unix:"]


def read(*rules):
    place = Place(0, 1, "nginx.conf")
    level = tuple(Statement(name, (value,), place) for name, value in rules)
    return read_access(Levels((level,)), Notes())


@pytest.mark.parametrize(
    ("text", "allow", "deny"),
    [
        ("", [], []),
        ("allow all;", [], []),
        ("deny all;", [], EVERYBODY),
        ("allow 10.0.0.0/8; deny all;", ["10.0.0.0/8"], []),
        ("deny 10.6.6.6; allow 10.0.0.1/8; deny all;", ["10.0.0.0/8"], ["10.6.6.6"]),
        ("deny 10.0.0.0/8;", [], ["10.0.0.0/8"]),
        ("deny 10.0.0.0/8; deny 2001:db8::1; allow all;", [], ["10.0.0.0/8", "2001:db8::1"]),
        ("allow 10.6.6.6; deny 10.0.0.0/8;", ["10.6.6.6", *EVERYBODY], ["10.0.0.0/8"]),
        ("allow 10.6.6.6;", [], []),
        ("deny 10.0.0.0/8; allow 10.6.6.6; deny all;", [], EVERYBODY),  # the second is never asked
        ("allow unix:; deny all;", ["unix:"], []),
        ("allow 10.0.0.1; deny all; allow 10.0.0.2;", ["10.0.0.1"], []),
    ],
)
def test_a_locations_rules_are_the_lists_of_its_route(tmp_path, text, allow, deny):
    found = convert(tmp_path, f"server {{ location / {{ {text} proxy_pass http://10.0.0.2:1; }} }}")
    (route,) = found.tables["routes"]
    assert (route.get("allow", []), route.get("deny", [])) == (allow, deny)
    assert not found.left_over


def test_the_nearest_level_that_has_any_counts(tmp_path):
    inner = "location /a/ { allow all; proxy_pass http://b; } location /b/ { proxy_pass http://b; }"
    found = convert(tmp_path, f"server {{ deny 10.0.0.0/8; {inner} }}")
    assert [(route["path"], route.get("deny")) for route in found.tables["routes"]] == [
        ("/a/", None),
        ("/b/", ["10.0.0.0/8"]),
    ]


@pytest.mark.parametrize("rule", ["deny example.com", "allow 10.0.0.0/33", "deny", "allow 10.0.0.1 10.0.0.2"])
def test_what_is_no_network_is_a_mistake(tmp_path, rule):
    found = convert(tmp_path, f"server {{ location / {{\n{rule};\nproxy_pass http://10.0.0.2:1; }} }}")
    assert any(line == 2 for line, _ in found.said(Kind.MISTAKE))


networks = st.tuples(st.integers(0, 15), st.integers(28, 32)).map(
    lambda parts: str(ip_network(f"10.0.0.{parts[0]}/{parts[1]}", strict=False))
)
rules = st.tuples(st.sampled_from(["allow", "deny"]), networks | st.just("all") | st.just("unix:"))


@given(st.lists(rules, max_size=8))
def test_whoever_comes_gets_in_where_nginx_would_let_it(said):
    access = read(*said)

    def nginx(client):
        for name, value in said:
            if value == "all" or (value == "unix:" and client == "unix"):
                return name == "allow"
            if value not in {"all", "unix:"} and client != "unix" and ip_address(client) in ip_network(value):
                return name == "allow"
        return True

    admission = Admission.of(access.allow, access.deny)
    for client in ("unix", "192.0.2.1", *(f"10.0.0.{number}" for number in range(16))):
        assert (admission is None or admission.admits(client)) is nginx(client), client
