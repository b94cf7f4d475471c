import pytest
from support.nginx_files import mistakes, site_of

from trioproxy.nginx_import.variables import PLAIN, WEBSOCKET, Variables, check_maps

RECIPE = "map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n"


def variables_of(folder, text):
    site, notes = site_of(folder, text)
    check_maps(site.maps.values(), notes)
    return Variables.of(site.http.chain[0], site.maps), site, notes


@pytest.mark.parametrize(
    ("text", "websocket", "plain"),
    [
        ("$connection_upgrade", "upgrade", "close"),
        ("${connection_upgrade}", "upgrade", "close"),
        ("$http_upgrade", "websocket", ""),
        ("upgrade", "upgrade", "upgrade"),
        ("$http_connection", "Upgrade", None),
        ("$other", None, None),
        ("", "", ""),
    ],
)
def test_the_recipe_comes_to_upgrade_or_close(tmp_path, text, websocket, plain):
    known, _, _ = variables_of(tmp_path, RECIPE)
    assert known.evaluate(text, WEBSOCKET) == websocket
    assert known.evaluate(text, PLAIN) == plain


@pytest.mark.parametrize(
    ("entries", "websocket"),
    [
        ("default upgrade; '' close;", "upgrade"),
        ("websocket Upgrade; default close;", "Upgrade"),
        ("WebSocket Upgrade;", "Upgrade"),
        ("'' close;", ""),
        ("~^web x; default y;", None),
        ("include other;", None),
        ("hostnames; default $http_upgrade;", "websocket"),
        ("volatile; default $unknown;", None),
    ],
)
def test_a_map_is_looked_up_as_nginx_does(tmp_path, entries, websocket):
    known, _, _ = variables_of(tmp_path, f"map $http_upgrade $c {{ {entries} }}\n")
    assert known.evaluate("$c", WEBSOCKET) == websocket


def test_maps_that_hang_on_one_another_in_a_circle_are_not_known(tmp_path):
    known, _, _ = variables_of(tmp_path, "map $b $a { default $b; }\nmap $a $b { default $a; }\n")
    assert known.evaluate("$a", PLAIN) is None


def test_all_defined_variables_are_known(tmp_path):
    known, _, _ = variables_of(tmp_path, "geo $g { }\nmap $x $m { }\nserver { set $s 1; location / { set $t 2; } }\n")
    assert known.defined == {"g", "m", "s", "t"}


def test_a_literal_that_is_set_once_is_put_in_where_it_holds(tmp_path):
    known, site, _ = variables_of(
        tmp_path,
        "server { set $app app:3000; set $two a; set $two b; set $odd $host; location / { } location /o { set $in x; } }\n",
    )
    root, other = site.servers[0].locations
    text, used = known.literals("http://$app/$two/$odd/$in", root.levels)
    assert (text, [each.value for each in used]) == ("http://app:3000/$two/$odd/$in", ["$app"])
    assert known.literals("$in", other.levels)[0] == "x"


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("map $a $b {\n close;\n}", 2, '"close;" has no value'),
        ("map $a $b {\n '';\n}", 2, "\"'';\" has no value"),
        ("map $a $b {\n default upgrade\n '' close;\n}", 2, "is a semicolon missing?"),
        ("map $a b { }", 1, "expected a variable such as $connection_upgrade, got b"),
    ],
)
def test_what_is_wrong_with_a_map_is_said(tmp_path, text, line, part):
    _, _, notes = variables_of(tmp_path, text)
    [(where, message)] = mistakes(notes)
    assert where == line and part in message


def test_the_special_words_of_a_map_are_no_mistakes(tmp_path):
    _, _, notes = variables_of(tmp_path, "map $a $b { volatile; hostnames; default x; include y; }\n")
    assert mistakes(notes) == []
