import pytest
from support.nginx_files import RECIPE, convert, location

from trioproxy.nginx_import import Kind

MAP = "map $http_upgrade $connection_upgrade { default upgrade; '' close; }"


def fields(folder, inner, **how):
    return convert(folder, location(inner, **how))


@pytest.mark.parametrize(
    ("inner", "host"),
    [
        ("", "upstream"),
        ("proxy_set_header Host $proxy_host;", "upstream"),
        ("proxy_set_header Host $host;", "strip-port"),
        ("proxy_set_header host $http_host;", "keep"),
        ("proxy_set_header Host $host:$server_port;", "keep"),
        ("proxy_set_header Host $server_name;", "literal:a.test"),
        ("proxy_set_header Host app.internal:8080;", "literal:app.internal:8080"),
        ("set $name b.test; proxy_set_header Host $name;", "literal:b.test"),
    ],
)
def test_host_is_one_of_four(tmp_path, inner, host):
    found = fields(tmp_path, inner, server="server_name a.test;")
    assert found.route["host_header"] == host and found.found.complete
    assert ("host-port" in found.meanings) == ("server_port" in inner)


@pytest.mark.parametrize("value", ["$http_x_host", "''", "$hostname", "$server_name"])
def test_any_other_host_is_left_over(tmp_path, value):
    found = fields(tmp_path, f"proxy_set_header Host {value};")
    assert "host_header" not in found.route and [line for line, _ in found.left_over] == [6]


def test_the_recipe_is_silent_about_handshakes(tmp_path):
    inner = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;"
    found = fields(tmp_path, inner, outside=MAP)
    assert "upgrade" not in found.meanings and found.found.complete
    assert found.said(Kind.WARNING) == found.said(Kind.HARMLESS) == []


def test_where_nginx_upgrades_nothing_that_is_a_difference(tmp_path):
    found = fields(tmp_path, "")
    assert "upgrade" in found.meanings and found.said(Kind.WARNING) == []


@pytest.mark.parametrize(
    ("inner", "missing"),
    [
        (RECIPE.replace("proxy_http_version 1.1;", ""), ["proxy_http_version 1.1"]),
        (RECIPE.replace("1.1", "1.0"), ["proxy_http_version 1.1"]),
        (RECIPE.replace('"upgrade"', "close"), ["proxy_set_header Connection with upgrade"]),
        (RECIPE.replace("$http_upgrade", "h2c"), ["proxy_set_header Upgrade $http_upgrade"]),
        ("proxy_set_header Connection upgrade;", ["proxy_set_header Upgrade $http_upgrade", "proxy_http_version 1.1"]),
    ],
)
def test_where_the_recipe_is_not_whole_a_warning_says_what_is_missing(tmp_path, inner, missing):
    found = fields(tmp_path, inner)
    [(line, message)] = found.said(Kind.WARNING)
    assert line == 4 and message.endswith(f"for want of {', '.join(missing)}")
    assert "upgrade" in found.meanings


def test_a_map_the_wrong_way_round_is_warned_of(tmp_path):
    inner = RECIPE.replace('"upgrade"', "$connection_upgrade")
    found = fields(tmp_path, inner, outside="map $http_upgrade $connection_upgrade { default close; '' upgrade; }")
    assert "Connection with upgrade" in found.said(Kind.WARNING)[0][1]


def test_a_missing_map_is_a_mistake(tmp_path):
    found = fields(tmp_path, RECIPE.replace('"upgrade"', "$connection_upgrade"))
    [(_, message)] = found.mistakes
    assert "$connection_upgrade is defined nowhere" in message and "default upgrade; '' close;" in message


@pytest.mark.parametrize(
    ("connection", "said"),
    [
        ("", "Connection: close"),
        ('proxy_set_header Connection "upgrade";', "Connection: upgrade"),
        ("proxy_set_header Connection $http_connection;", "Connection as $http_connection says"),
        ('proxy_set_header Connection "";', None),
    ],
)
def test_what_plain_requests_say_of_their_connection_is_a_difference(tmp_path, connection, said):
    found = fields(tmp_path, connection)
    messages = [message for _, message in found.said(Kind.DIFFERENCE) if "plain requests" in message]
    assert [said in message for message in messages] == ([True] if said else [])


def test_without_x_forwarded_asked_for_none_is_sent(tmp_path):
    found = fields(tmp_path, "")
    assert found.route["forwarded"] is False and "set_headers" not in found.route


def test_those_asked_for_are_sent_and_no_others(tmp_path):
    found = fields(tmp_path, "proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;")
    assert found.route["forwarded"] is True
    assert found.route["set_headers"] == {"X-Forwarded-For": "", "X-Forwarded-Host": ""}
    assert "forwarded" in found.meanings


@pytest.mark.parametrize(
    ("value", "difference"), [("$http_host", False), ("$host", True), ("$host:$server_port", True)]
)
def test_x_forwarded_host_is_host_as_it_came(tmp_path, value, difference):
    found = fields(tmp_path, f"proxy_set_header X-Forwarded-Host {value};")
    assert "X-Forwarded-Host" not in found.route["set_headers"]
    assert ("host-port" in found.meanings) == difference


@pytest.mark.parametrize(
    ("inner", "headers"),
    [
        ("X-Forwarded-Proto https", {"X-Forwarded-Proto": "https"}),
        ("X-Forwarded-For ''", {"X-Forwarded-For": ""}),
        ("X-Forwarded-For $http_x_forwarded_for", None),
        ("X-Tenant blue", {"X-Tenant": "blue"}),
        ("X-Port $server_port", {"X-Port": "80"}),
        ("X-Scheme $scheme", {"X-Scheme": "http"}),
        ("X-Name ' ${server_name} '", {"X-Name": "a.test"}),
        ("X-Target $proxy_host", {"X-Target": "10.0.0.1:3000"}),
        ("Origin ''", {"Origin": ""}),
        ("Origin $http_origin", None),
        ("Sec-WebSocket-Key $http_sec_websocket_key", None),
        ("TE ''", None),
    ],
)
def test_fields_that_are_the_same_for_all_requests_are_set(tmp_path, inner, headers):
    found = fields(tmp_path, f"proxy_set_header {inner};", server="server_name a.test;")
    assert found.route.get("set_headers") == headers and found.found.complete


def test_trailers_are_asked_for_where_the_client_has_asked(tmp_path):
    found = fields(tmp_path, "proxy_set_header TE trailers;")
    assert found.route.get("set_headers") is None and found.found.complete
    assert "trailers" in found.meanings
    assert "trailers" not in fields(tmp_path, "proxy_set_header TE $http_te;").meanings


@pytest.mark.parametrize(
    "inner",
    [
        "proxy_set_header X-Trace $request_id;",
        "proxy_set_header X-Forwarded-For $http_cf_connecting_ip;",
        "proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $http_x_forwarded_for;",
        "proxy_set_header X-A 1; proxy_set_header x-a 2;",
        "proxy_set_header Content-Length '';",
    ],
)
def test_what_hangs_on_the_request_is_left_over(tmp_path, inner):
    assert [line for line, _ in fields(tmp_path, inner).left_over] == [6]


@pytest.mark.parametrize("value", ["$ssl_client_s_dn", '"$remote_user;a"'])
def test_a_field_that_vouches_for_a_client_is_none_a_client_can_send(tmp_path, value):
    found = fields(tmp_path, f"proxy_set_header X-User {value};")
    assert found.route["set_headers"] == {"X-User": ""} and "is taken away" in found.left_over[0][1]


def test_a_request_id_is_set_where_nginx_sets_its_own(tmp_path):
    found = fields(tmp_path, "proxy_set_header X-Request-ID $request_id;")
    assert found.route["request_id"] == "set" and found.found.complete
    found = fields(tmp_path, "proxy_set_header X-Request-ID $http_x_request_id;")
    assert "request_id" not in found.route and found.found.complete


def test_of_several_ports_none_can_be_named(tmp_path):
    found = fields(tmp_path, "proxy_set_header X-Forwarded-Port $server_port;", server="listen 81;")
    assert [line for line, _ in found.left_over] == [6]


def test_a_locations_own_fields_hide_the_servers(tmp_path):
    server = "proxy_set_header Host $host; proxy_set_header X-Env prod;"
    assert fields(tmp_path, "", server=server).route["set_headers"] == {"X-Env": "prod"}
    found = fields(tmp_path, "proxy_set_header X-Tenant blue;", server=server)
    assert (found.route["set_headers"], found.route["host_header"]) == ({"X-Tenant": "blue"}, "upstream")
    [(line, message)] = found.said(Kind.WARNING)
    assert line == 6 and "(Host, X-Env)" in message


def test_a_field_without_a_value_is_a_mistake(tmp_path):
    assert [line for line, _ in fields(tmp_path, "proxy_set_header X-A;").mistakes] == [6]


def test_where_all_own_fields_are_wrong_the_mistakes_are_all_that_is_said(tmp_path):
    found = fields(tmp_path, "proxy_set_header Host;", server="proxy_set_header Host a.test;")
    assert [line for line, _ in found.mistakes] == [6]
