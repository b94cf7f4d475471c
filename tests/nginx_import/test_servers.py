import pytest
from support.nginx_files import convert

from trioproxy.nginx_import import Kind
from trioproxy.nginx_import.servers import with_port


def pool_of(folder, servers):
    return convert(folder, f"upstream up {{\n{servers}\n}}\nserver {{ location / {{ proxy_pass http://up; }} }}\n")


@pytest.mark.parametrize(
    ("server", "upstream"),
    [
        ("server a.test;", "a.test:80"),
        ("server a.test:81;", "a.test:81"),
        ("server [::1];", "[::1]:80"),
        ("server unix:/run/a.sock;", "unix:/run/a.sock"),
        ("server a.test weight=1;", "a.test:80"),
        ("server a.test resolve;", "a.test:80"),
        ("server a.test weight=3 max_conns=7;", {"address": "a.test:80", "weight": 3, "max_connections": 7}),
        ("server a.test backup;", {"address": "a.test:80", "backup": True}),
    ],
)
def test_a_server_is_an_upstream(tmp_path, server, upstream):
    found = pool_of(tmp_path, server)
    assert found.pool["upstreams"] == [upstream] and found.found.complete


def test_one_that_is_down_is_left_out(tmp_path):
    found = pool_of(tmp_path, "server a.test;\nserver b.test down;")
    assert found.pool["upstreams"] == ["a.test:80"]
    assert [line for line, _ in found.said(Kind.HARMLESS)] == [3] and found.found.complete


def test_the_same_server_twice_has_both_weights(tmp_path):
    found = pool_of(tmp_path, "server A.test weight=2;\nserver a.test:80;")
    assert found.pool["upstreams"] == [{"address": "A.test:80", "weight": 3}]
    assert "balance" in found.meanings


@pytest.mark.parametrize(
    "parameter", ["weight=0", "weight=x", "max_fails=-1", "fail_timeout=soon", "wieght=3", "backup=1", "slow"]
)
def test_a_wrong_parameter_is_a_mistake(tmp_path, parameter):
    [(line, message)] = pool_of(tmp_path, f"server a.test {parameter};").mistakes
    assert line == 2 and f'invalid parameter "{parameter}"' in message


@pytest.mark.parametrize("parameter", ["slow_start=30s", "drain", "service=http", "route=a"])
def test_parameters_without_a_counterpart_are_left_over(tmp_path, parameter):
    found = pool_of(tmp_path, f"server a.test {parameter};")
    assert found.pool["upstreams"] == ["a.test:80"]
    assert [line for line, message in found.left_over if f": {parameter}: " in message] == [2]


def test_servers_without_the_word_are_mistakes(tmp_path):
    found = pool_of(tmp_path, "192.168.3.1:3000;\n192.168.3.2:300;")
    assert [line for line, _ in found.mistakes] == [2, 3]
    assert all("listed as" in message for _, message in found.mistakes)


def test_an_upstream_without_servers_is_a_mistake(tmp_path):
    assert pool_of(tmp_path, "least_conn;").mistakes == [(1, "upstream up has no servers")]


def test_a_pool_of_servers_that_are_all_down_is_left_over(tmp_path):
    found = pool_of(tmp_path, "server a.test down;")
    assert found.tables == {} and {line for line, _ in found.left_over} == {1, 4}


@pytest.mark.parametrize(
    ("parameters", "passive"),
    [
        ("max_fails=3 fail_timeout=30s", {"max_failures": 3, "window": 30, "eject": 30}),
        ("fail_timeout=20", {"max_failures": 1, "window": 20, "eject": 20}),
        ("max_fails=2", {"max_failures": 2, "window": 10, "eject": 10}),
        ("max_fails=0", None),
        ("fail_timeout=0", None),
        ("", None),
    ],
)
def test_max_fails_is_what_the_configuration_takes_of_it(tmp_path, parameters, passive):
    found = pool_of(tmp_path, f"server a.test {parameters};\nserver b.test {parameters};")
    refused = [line for line, message in found.left_over if "not yet supported" in message]
    assert refused == ([2, 3] if passive and "passive" not in found.pool else [])
    assert found.pool.get("passive", passive if refused else None) == passive
    assert "shared" not in found.meanings


def test_what_servers_say_differently_of_failures_is_the_pools(tmp_path):
    found = pool_of(tmp_path, "server a.test;\nserver b.test max_fails=0;\nserver c.test max_fails=0;")
    assert [note.place.line for note in found.found.notes.of(Kind.DIFFERENCE) if note.meaning == "shared"] == [2]


def test_a_server_needs_an_address(tmp_path):
    assert [line for line, _ in pool_of(tmp_path, "server;\nserver a.test;").mistakes] == [2]


def test_ports_are_added_where_there_is_none():
    assert [with_port(each) for each in ("a", "a:1", "unix:/x")] == ["a:80", "a:1", "unix:/x"]
