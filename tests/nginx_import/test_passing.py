import pytest
from support.nginx_files import convert, location

from trioproxy.nginx_import import Kind

UP = "upstream backend { server 10.0.0.9:1; }"


def route_to(folder, to, path="/ws/", inner="", outside=UP):
    return convert(folder, location(inner, path=path, to=to, outside=outside))


@pytest.mark.parametrize(
    ("to", "upstreams", "host"),
    [
        ("http://backend", ["10.0.0.9:1"], "literal:backend"),
        ("http://localhost:3000", ["localhost:3000"], "upstream"),
        ("HTTP://10.0.0.1:3000", ["10.0.0.1:3000"], "upstream"),
        ("http://app.example.com", ["app.example.com:80"], "literal:app.example.com"),
        ("http://app.example.com:80", ["app.example.com:80"], "literal:app.example.com"),
        ("http://[::1]:3000", ["[::1]:3000"], "upstream"),
        ("http://unix:/run/a.sock", ["unix:/run/a.sock"], "upstream"),
        ("http://unix:/run/a.sock:/x/", ["unix:/run/a.sock"], "upstream"),
    ],
)
def test_a_target_is_a_pool_and_a_host(tmp_path, to, upstreams, host):
    found = route_to(tmp_path, to)
    assert found.tables["pools"][found.route["pool"]]["upstreams"] == upstreams
    assert found.route["host_header"] == host and found.found.complete


@pytest.mark.parametrize(
    ("path", "to", "rewriting", "seam"),
    [
        ("/ws/", "http://backend", {}, False),
        ("/ws/", "http://backend/", {"strip_prefix": True}, False),
        ("/", "http://backend/", {}, False),
        ("/ws/", "http://backend/ws/", {}, False),
        ("/ws", "http://backend/app", {"replace_prefix": "/app"}, False),
        ("/ws", "http://backend/", {"strip_prefix": True}, True),
        ("/ws/", "http://backend/app", {"replace_prefix": "/app"}, True),
        ("= /ws", "http://backend/", {"strip_prefix": True}, False),
        ("/ws/", "http://backend$request_uri", {}, False),
    ],
)
def test_a_uri_takes_the_place_of_the_path(tmp_path, path, to, rewriting, seam):
    found = route_to(tmp_path, to, path=path)
    assert {key: found.route[key] for key in ("strip_prefix", "replace_prefix") if key in found.route} == rewriting
    assert ("seam" in found.meanings) == seam and found.found.complete


@pytest.mark.parametrize(
    ("rewrite", "path", "rewriting", "seam"),
    [
        ("^/live/(.*)$ /$1 break", "/live/", {"strip_prefix": True}, []),
        ("^/live/?(.*)$ /$1 break", "/live", {"strip_prefix": True}, []),
        ("^/live(.*)$ $1 break", "/live", {"strip_prefix": True}, []),
        ("^/live(.*)$ $1 break", "/live/", {"strip_prefix": True}, []),
        ("^/live/(.*) /new/$1 break", "/live/", {"replace_prefix": "/new/"}, []),
        ("^/live(.*) /new$1 break", "/live", {"replace_prefix": "/new"}, []),
        ("^/live(.*) /live$1 break", "/live", {}, []),
        ("^/live(.*) /$1 break", "/live", {"strip_prefix": True}, ["nginx makes //x of /live/x"]),
        ("^/live/(.*) /$1 break", "/live", {"strip_prefix": True}, ["nginx leaves /live itself as it is"]),
        ("^/live/(.*) /new$1 break", "/live/", {"replace_prefix": "/new/"}, ["nginx makes /newx of /live/x"]),
    ],
)
def test_a_rewrite_that_exchanges_the_prefix_is_the_same(tmp_path, rewrite, path, rewriting, seam):
    found = route_to(tmp_path, "http://backend", path=path, inner=f"rewrite {rewrite};")
    assert {key: found.route[key] for key in ("strip_prefix", "replace_prefix") if key in found.route} == rewriting
    assert found.found.complete
    said = [note.message for note in found.found.notes.of(Kind.DIFFERENCE) if note.meaning == "seam"]
    assert [message.startswith(part) for message, part in zip(said, seam, strict=True)] == [True] * len(seam)


@pytest.mark.parametrize(
    ("rewrite", "to"),
    [
        ("rewrite ^/live/(.*)$ /$1 last;", "http://backend"),
        ("rewrite ^/live/(.*)$ /$1;", "http://backend"),
        ("rewrite ^/other/(.*)$ /$1 break;", "http://backend"),
        ("rewrite ^/live/(.*)$ /x?q=$1 break;", "http://backend"),
        ("rewrite (a|b) /x break;", "http://backend"),
        ("rewrite ^/live/(.*)$ /$1 break;", "http://backend/x"),
        ("rewrite ^/live/(.*)$ /$1 break; rewrite ^/a(.*)$ $1 break;", "http://backend"),
    ],
)
def test_any_other_rewrite_leaves_the_location_over(tmp_path, rewrite, to):
    found = route_to(tmp_path, to, path="/live/", inner=rewrite)
    assert found.tables == {} and {line for line, _ in found.left_over} == {4, 6}


@pytest.mark.parametrize(
    ("to", "path", "message"),
    [
        (
            "http://upstream",
            "/",
            'proxy_pass leads to "upstream", and no upstream block has that name (did you mean http://backend?)',
        ),
        ("http://bakend", "/", "(did you mean http://backend?)"),
        ("http://backend:80", "/", '"backend" is an upstream block, which can have no port here'),
        ("backend", "/", "expected http:// or https:// and a server"),
        ("http://", "/", "no server between the slashes"),
        ("http://backend/x", "~ ^/ws", "nginx takes no URI behind the server"),
        ("http://backend extra", "/", 'invalid number of arguments in "proxy_pass" directive'),
    ],
)
def test_what_nginx_refuses_is_a_mistake(tmp_path, to, path, message):
    assert [line for line, said in route_to(tmp_path, to, path).mistakes if message in said] == [5]


@pytest.mark.parametrize(
    "outside", ["", "upstream backend { server a:1; } server { listen 81; location / { proxy_pass http://backend; } }"]
)
def test_a_name_of_its_own_is_a_host_where_no_block_is_forgotten(tmp_path, outside):
    found = route_to(tmp_path, "http://app", outside=outside)
    assert found.tables["pools"]["app"]["upstreams"] == ["app:80"]


@pytest.mark.parametrize(
    ("to", "inner", "part"),
    [
        ("http://$backend", "", "cannot hang on a variable"),
        ("$scheme://backend", "", "cannot hang on a variable"),
        ("http://backend$uri", "", "a path made of variables"),
        ("http://backend/x?y=1", "", "or with a query"),
        ("http://$app/", "set $app a:1;", "nginx sends / instead of every path"),
    ],
)
def test_what_hangs_on_the_request_is_left_over(tmp_path, to, inner, part):
    found = route_to(tmp_path, to, inner=inner)
    assert [line for line, said in found.left_over if part in said] == [5]


def test_a_variable_that_is_a_literal_is_put_in(tmp_path):
    found = route_to(tmp_path, "http://$app", inner="set $app app:3000;", outside="")
    assert found.pool["upstreams"] == ["app:3000"] and found.found.complete
    assert found.said(Kind.HARMLESS) == []
