import pytest
from support.nginx_files import convert, location

from trioproxy.nginx_import import Kind


def server(*locations, inner=""):
    return (
        f"server {{ {inner}\n"
        + "\n".join(f"location {each} {{ proxy_pass http://10.0.0.1:1; }}" for each in locations)
        + "\n}\n"
    )


def places(found):
    return [(route["path"], route.get("exact", False)) for route in found.tables["routes"]]


@pytest.mark.parametrize(
    ("words", "place", "meanings"),
    [
        ("/", ("/", False), set()),
        ("/ws", ("/ws", False), {"segments"}),
        ("/ws/", ("/ws/", False), {"slash-redirect"}),
        ("^~ /ws/", ("/ws/", False), {"slash-redirect"}),
        ("= /ws", ("/ws", True), set()),
        ("= /ws/", ("/ws/", True), set()),
        ("~ ^/ws/", ("/ws/", False), {"regex"}),
        ("~ ^/ws", ("/ws", False), {"regex", "segments"}),
        ("~* ^/ws/", ("/ws/", False), {"regex"}),
        ("~ ^/ws$", ("/ws", True), {"regex"}),
        ("~ ^/ws(/|$)", ("/ws", False), {"regex"}),
    ],
)
def test_a_location_is_a_path(tmp_path, words, place, meanings):
    found = convert(tmp_path, server(words))
    assert places(found) == [place] and found.found.complete
    assert set(found.meanings) & {"segments", "slash-redirect", "regex"} == meanings


def test_where_the_path_without_slash_is_a_location_nothing_is_redirected(tmp_path):
    assert "slash-redirect" not in convert(tmp_path, server("/ws/", "= /ws")).meanings


def test_what_a_difference_is_about_is_named(tmp_path):
    [message] = [
        said for _, said in convert(tmp_path, server("/websocket", "/")).said(Kind.DIFFERENCE) if "segments" in said
    ]
    assert (
        message == "nginx also takes /websocketx here; trioproxy matches whole segments: /websocket and /websocket/..."
    )


def test_a_path_no_request_can_have_is_left_over(tmp_path):
    found = convert(tmp_path, server("ws", "/ok/"))
    assert places(found) == [("/ok/", False)] and {line for line, _ in found.left_over} == {2}


@pytest.mark.parametrize(
    ("inner", "timeouts"),
    [
        ("", None),
        ("proxy_read_timeout 60s;", {"tunnel_idle": 60}),
        ("proxy_read_timeout 1h;", {"response": 3600, "tunnel_idle": 3600}),
        ("proxy_read_timeout 1500ms;", {"handshake": 1.5, "response": 1.5, "tunnel_idle": 1.5}),
        ("proxy_connect_timeout 5;", {"connect": 5}),
        ("proxy_connect_timeout 5; proxy_send_timeout 9;", {"connect": 5}),
    ],
)
def test_timeouts_are_the_routes_own(tmp_path, inner, timeouts):
    found = convert(tmp_path, location(inner))
    assert found.route.get("timeouts") == timeouts and found.found.complete
    assert ("idle" in found.meanings) == ("read" not in inner)


@pytest.mark.parametrize(
    "inner",
    ["proxy_read_timeout 0;", "proxy_read_timeout soon;", "proxy_connect_timeout 0;", "proxy_connect_timeout x;"],
)
def test_timeouts_the_configuration_refuses_are_left_over(tmp_path, inner):
    found = convert(tmp_path, location(inner))
    assert "timeouts" not in found.route and [line for line, _ in found.left_over] == [6]


def test_routes_that_would_have_the_same_name_get_names(tmp_path):
    found = convert(
        tmp_path, server("/a/", "= /a/") + server("/a/", inner="listen 81;") + server("/a/", inner="listen 82;")
    )
    names = [route.get("name") for route in found.tables["routes"]]
    assert names == [None, "/a/ exact", "/a/ 2", "/a/ 3"] or len(set(names)) == len(names)


def test_what_no_location_takes_is_a_difference_without_one_for_everything(tmp_path):
    assert "no-route" in convert(tmp_path, server("/a/")).meanings
    assert "no-route" not in convert(tmp_path, server("/a/", "/")).meanings


def test_where_everything_is_proxied_a_root_is_harmless(tmp_path):
    assert convert(tmp_path, server("/", inner="root /var/www; index index.html;")).found.complete
    assert "root" in convert(tmp_path, server("/a/", inner="root /var/www;")).left_over[0][1]


def test_one_location_of_several_audiences_is_several_routes(tmp_path):
    text = server("/", inner="listen 80 default_server; listen 81; server_name a.test;") + server(
        "/", inner="listen 81 default_server;"
    )
    found = convert(tmp_path, text)
    assert [route.get("host") for route in found.tables["routes"]] == [None, ["a.test"], None]
    assert len(found.tables["pools"]) == 1
