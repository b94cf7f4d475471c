import pytest
from support.nginx_files import mistakes, said, site_of

from trioproxy.nginx_import.notes import Kind


def test_what_stands_in_http_is_found(tmp_path):
    site, notes = site_of(
        tmp_path,
        "user www;\nhttp { map $a $b { } upstream up { server a:1; } server { listen 80; } server { listen 81; } }\n",
    )
    assert [each.name for each in site.main] == ["user", "http"]
    assert (list(site.upstreams), list(site.maps), len(site.servers)) == (["up"], ["b"], 2)
    assert notes.all == []


def test_a_file_without_http_stands_in_one(tmp_path):
    site, _ = site_of(tmp_path, "upstream up { server a:1; } server { }\n")
    assert (site.main, list(site.upstreams), len(site.servers)) == ((), ["up"], 1)


@pytest.mark.parametrize(
    ("words", "match", "path"),
    [
        ("/ws", "prefix", "/ws"),
        ("= /ws", "exact", "/ws"),
        ("=/ws", "exact", "/ws"),
        ("^~ /ws", "prefix", "/ws"),
        ("^~/ws", "prefix", "/ws"),
        ("~ ^/ws", "regex", "^/ws"),
        ("~* ^/ws", "regex", "^/ws"),
        ("@back", "named", "@back"),
    ],
)
def test_locations_are_told_apart(tmp_path, words, match, path):
    site, _ = site_of(tmp_path, f"server {{ location {words} {{ }} }}\n")
    [location] = site.servers[0].locations
    assert (location.match, location.path) == (match, path)
    assert location.ignores_case == words.startswith("~*")
    assert location.above_regex == words.startswith("^~")


def test_inner_locations_follow_outer_ones_and_see_their_levels(tmp_path):
    site, notes = site_of(
        tmp_path,
        "http { root /h; server { location /a { root /a; location /a/b { } }\nlocation ~ x { location ~ xy { } } } }\n",
    )
    outer, inner, regex = site.servers[0].locations
    assert [outer.path, inner.path, regex.path] == ["/a", "/a/b", "x"]
    assert (inner.levels.value("root"), regex.levels.value("root"), inner.levels.value("index", "no")) == (
        "/a",
        "/h",
        "no",
    )
    assert said(notes, Kind.LEFT_OVER) == [(2, "location ~ xy: it stands in a location by regular expression")]


def test_the_nearest_level_hides_the_others(tmp_path):
    site, _ = site_of(
        tmp_path,
        "http { proxy_set_header A 1; proxy_set_header B 2; server { location / { proxy_set_header C 3; } } }\n",
    )
    levels = site.servers[0].locations[0].levels
    assert [each.value for each in levels.all("proxy_set_header")] == ["C"]
    assert [each.value for each in levels.hidden("proxy_set_header")] == ["A", "B"]
    assert levels.find("proxy_pass") is None and levels.hidden("proxy_pass") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("location / { }", "a location stands in a server { } block, and nowhere else"),
        ("http { location / { } }", "a location stands in a server { } block, and nowhere else"),
        ("server { location ! / { } }", "expected location [= | ~ | ~* | ^~] PATH { ... }"),
        ("server { location { } }", "expected location [= | ~ | ~* | ^~] PATH { ... }"),
        ("server { location /; }", "expected location [= | ~ | ~* | ^~] PATH { ... }"),
        ("server { location /a { } location /a { } }", "location /a stands in line 1 already"),
        ("server { location = /a { } location =/a { } }", "location =/a stands in line 1 already"),
        ("upstream { }", "expected upstream NAME { ... }"),
        ("upstream a;", "expected upstream NAME { ... }"),
        ("upstream a { } upstream a { }", "upstream a stands in line 1 already"),
    ],
)
def test_what_nginx_refuses_is_a_mistake(tmp_path, text, message):
    _, notes = site_of(tmp_path, text)
    assert mistakes(notes) == [(1, message)]


def test_the_same_path_may_be_a_prefix_and_a_whole_one(tmp_path):
    site, notes = site_of(tmp_path, "server { location /a { } location = /a { } location ~ /a { } }")
    assert len(site.servers[0].locations) == 3 and mistakes(notes) == []
