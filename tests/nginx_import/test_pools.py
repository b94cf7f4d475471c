import pytest
from support.nginx_files import convert, location

from trioproxy.nginx_import import Kind
from trioproxy.nginx_import.pools import _hash_key, _method, _pool_name
from trioproxy.nginx_import.statements import Place, Statement


def pool_of(folder, block, inner=""):
    upstream = f"upstream up {{ server a.test; server b.test; server c.test; {block} }}"
    return convert(folder, location(inner, to="http://up", outside=upstream))


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("least_conn", {"balance": "least-connections"}),
        ("ip_hash", {"balance": "hash", "hash": "client_ip"}),
        ("random", {"balance": "random-two"}),
        ("random two", {"balance": "random-two"}),
        ("random two least_conn", {"balance": "random-two"}),
        ("random two least_time=header", None),
        ("least_time header", None),
        ("sticky cookie srv", None),
        ("hash $remote_addr consistent", {"balance": "hash", "hash": "client_ip"}),
        ("hash $binary_remote_addr", {"balance": "hash", "hash": "client_ip"}),
        ("hash $request_uri", {"balance": "hash", "hash": "path"}),
        ("hash ${cookie_session}", {"balance": "hash", "hash": "cookie:session"}),
        ("hash $http_x_room", {"balance": "hash", "hash": "header:X-Room"}),
        ("hash $arg_room", None),
        ("hash $scheme$uri", None),
    ],
)
def test_a_method_is_a_balance(words, settings):
    name, *args = words.split()
    assert _method(Statement(name, tuple(args), Place(0, 1, "n.conf"))) == settings


def test_a_literal_is_no_key():
    assert _hash_key("same") is None


def test_least_connections_are_converted(tmp_path):
    found = pool_of(tmp_path, "least_conn;")
    assert found.pool["balance"] == "least-connections" and found.found.complete


@pytest.mark.parametrize(
    ("words", "balance", "meant"),
    [("ip_hash", "hash", True), ("random", "random-two", True), ("random two", "random-two", False)],
)
def test_others_are_what_the_configuration_takes_of_them(tmp_path, words, balance, meant):
    found = pool_of(tmp_path, f"{words};")
    refused = [message for _, message in found.left_over]
    assert found.pool.get("balance") == (None if refused else balance)
    assert all("not yet supported" in message for message in refused)
    assert ("balance" in found.meanings) == meant


def test_a_method_without_a_counterpart_is_left_over(tmp_path):
    found = pool_of(tmp_path, "hash $arg_room;")
    assert "balance" not in found.pool and "round robin is used instead" in found.left_over[0][1]


@pytest.mark.parametrize(
    ("block", "settings"),
    [
        ("keepalive 16;", {"keep_alive_connections": 16}),
        (
            "keepalive 16; keepalive_timeout 30s; keepalive_requests 9;",
            {"keep_alive_connections": 16, "keep_alive": 30},
        ),
        ("zone up 64k;", {}),
    ],
)
def test_kept_connections_are_converted(tmp_path, block, settings):
    found = pool_of(tmp_path, block)
    assert {key: value for key, value in found.pool.items() if key.startswith("keep")} == settings
    assert found.found.complete


@pytest.mark.parametrize("block", ["keepalive many;", "keepalive_timeout soon;", "keepalive -1;"])
def test_what_the_configuration_refuses_is_left_over(tmp_path, block):
    found = pool_of(tmp_path, block)
    assert "keep_alive" not in found.pool and len(found.left_over) == 1


def test_a_queue_is_what_the_configuration_takes_of_it(tmp_path):
    found = pool_of(tmp_path, "queue 100 timeout=70;")
    refused = any("not yet supported" in message for _, message in found.left_over)
    assert (found.pool.get("queue"), found.pool.get("queue_timeout")) == ((None, None) if refused else (100, 70))
    assert pool_of(tmp_path, "queue 100 timeout=soon;").left_over


@pytest.mark.parametrize(
    ("inner", "attempts", "retry_on"),
    [
        ("", 3, None),
        ("proxy_next_upstream_tries 2;", None, None),
        ("proxy_next_upstream_tries 0;", 3, None),
        ("proxy_next_upstream_tries 1;", 1, None),
        ("proxy_next_upstream off;", 1, None),
        ("proxy_next_upstream error timeout;", 3, ["connect", "closed"]),
        ("proxy_next_upstream timeout;", 3, ["connect"]),
        ("proxy_next_upstream error invalid_header http_502 http_503;", 3, ["connect", "closed", "5xx"]),
    ],
)
def test_what_is_tried_again_is_the_pools(tmp_path, inner, attempts, retry_on):
    found = pool_of(tmp_path, "", inner)
    assert (found.pool.get("attempts"), found.pool.get("retry_on")) == (attempts, retry_on)
    assert found.found.complete and ("shared" in found.meanings) == ("http_502" in inner)


@pytest.mark.parametrize(
    ("word", "part"), [("non_idempotent", "never repeated"), ("http_404", "http_404: such an answer passes")]
)
def test_what_is_never_tried_again_is_left_over(tmp_path, word, part):
    found = pool_of(tmp_path, "", f"proxy_next_upstream error {word};")
    assert found.pool["retry_on"] == ["connect", "closed"] and part in found.left_over[0][1]


def test_locations_that_share_a_pool_share_what_is_said_of_it(tmp_path):
    text = """
upstream up { server a.test; server b.test; }
server {
    location /a/ { proxy_pass http://up; }
    location /b/ { proxy_pass http://up; proxy_next_upstream off; }
    location /c/ { proxy_pass http://up; }
}
"""
    found = convert(tmp_path, text)
    assert [note.place.line for note in found.found.notes.of(Kind.DIFFERENCE) if note.meaning == "shared"] == [5]
    assert "attempts" not in found.pool and found.found.complete


def test_a_block_nobody_uses_is_converted_and_warned_of(tmp_path):
    found = convert(tmp_path, location(outside="upstream spare.one { server a.test; }"))
    assert found.tables["pools"]["spare.one"]["upstreams"] == ["a.test:80"]
    assert found.said(Kind.WARNING) == [(1, "no location leads to upstream spare.one")]


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("back_end", "back_end"),
        ("none", "pool-none"),
        ("[::1]:80", "1-80"),
        ("unix:/run/a.sock", "unix-run-a.sock"),
        ("~", "pool-"),
    ],
)
def test_names_are_those_a_pool_can_have(server, name):
    assert _pool_name(server) == name


def test_two_servers_with_the_same_name_have_two_pools(tmp_path):
    text = """
upstream a-81 { server x.test; }
server { location / { proxy_pass http://a-81; } location /b/ { proxy_pass http://a:81; } }
"""
    assert list(convert(tmp_path, text).tables["pools"]) == ["a-81", "a-81_"]
