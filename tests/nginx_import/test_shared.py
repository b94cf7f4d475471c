import pytest
from support.nginx_files import convert, location

from trioproxy.nginx_import import Kind


def two_locations(first, second, server=""):
    to = "proxy_pass http://10.0.0.1:1;"
    return f"server {{\n{server}\nlocation /a/ {{\n{to} {first}\n}} location /b/ {{\n{to} {second}\n}} }}\n"


def shared(found):
    return [note.place.line for note in found.found.notes.of(Kind.DIFFERENCE) if note.meaning == "shared"]


@pytest.mark.parametrize(
    ("first", "second", "limit", "lines"),
    [
        ("", "", "1 MiB", []),
        ("client_max_body_size 10m;", "", "10 MiB", [4]),
        ("client_max_body_size 10m;", "client_max_body_size 20m;", "20 MiB", [4]),
        ("client_max_body_size 20m;", "client_max_body_size 20m;", "20 MiB", []),
        ("client_max_body_size 0;", "client_max_body_size 1g;", None, [6]),
        ("client_max_body_size 10k;", "", "1 MiB", [4]),
        ("client_max_body_size 1000;", "client_max_body_size 1000;", 1000, []),
    ],
)
def test_the_largest_body_of_all_routes_is_the_limit(tmp_path, first, second, limit, lines):
    found = convert(tmp_path, two_locations(first, second))
    assert found.tables.get("limits", {}).get("max_body_bytes") == limit
    assert shared(found) == lines and found.found.complete


def test_a_size_that_is_none_is_a_mistake(tmp_path):
    assert [line for line, _ in convert(tmp_path, location("client_max_body_size lots;")).mistakes] == [6]


@pytest.mark.parametrize(
    ("server", "second", "timeouts", "lines"),
    [
        ("", "", None, []),
        ("keepalive_timeout 65;", "", {"keep_alive": 65}, []),
        ("keepalive_timeout 65; client_header_timeout 30s;", "", {"head": 30, "keep_alive": 65}, []),
        ("keepalive_timeout 65;", "keepalive_timeout 70;", {"keep_alive": 65}, [6]),
        ("keepalive_timeout 65;", "keepalive_timeout 65;", {"keep_alive": 65}, []),
    ],
)
def test_clients_timeouts_are_one_for_all(tmp_path, server, second, timeouts, lines):
    found = convert(tmp_path, two_locations("", second, server))
    assert found.tables.get("timeouts") == timeouts
    assert shared(found) == lines and found.found.complete


@pytest.mark.parametrize("value", ["0", "soon"])
def test_a_timeout_the_configuration_refuses_is_left_over(tmp_path, value):
    found = convert(tmp_path, location(server=f"keepalive_timeout {value};"))
    assert "timeouts" not in found.tables and "keep_alive" in found.left_over[0][1]


@pytest.mark.parametrize(("value", "workers"), [("1", None), ("auto", 0), ("4", 4)])
def test_workers_are_what_the_configuration_takes_of_them(tmp_path, value, workers):
    found = convert(tmp_path, f"worker_processes {value}; events {{ }} http {{ {location()} }}")
    refused = [message for _, message in found.said(Kind.HARMLESS) if "worker_processes" in message]
    assert found.tables.get("server", {}).get("workers") == (None if refused else workers)
    assert found.found.complete


def test_workers_are_counted(tmp_path):
    found = convert(tmp_path, f"worker_processes many;\nhttp {{ {location()} }}")
    assert [line for line, _ in found.mistakes] == [1]


def test_without_a_route_nothing_is_said_of_limits(tmp_path):
    assert convert(tmp_path, "server { listen 80; }").tables == {}
