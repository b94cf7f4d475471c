import pytest
from support.nginx_files import convert, location

from trioproxy.nginx_import import Kind

PROXIED = "location /ok/ { proxy_pass http://10.0.0.1:1; }"


def server(inner):
    return f"server {{\n{inner}\n{PROXIED}\n}}\n"


def paths(found):
    return [route["path"] for route in found.tables.get("routes", [])]


@pytest.mark.parametrize(
    ("inner", "part"),
    [
        ("location @back { proxy_pass http://10.0.0.2:1; }", "reached by try_files and error_page alone"),
        ("location /x/ { root /var/www; }", "it serves files"),
        ("location /x/ { }", "there is no proxy_pass in it"),
        ("location /x/ { fastcgi_pass unix:/run/php.sock; }", "in HTTP only"),
        ("location /x/ { return 200 ok; }", "no answers of its own"),
        ("location /x/ { return 301 /y; }", "no answers of its own"),
        ("location /x/ { return 403 'go away'; }", "no answers of its own"),
        ("location /x/ { return 204; proxy_pass http://10.0.0.2:1; }", "its return answers before"),
        ("location ~ [.]php$ { proxy_pass http://10.0.0.2:1; }", "a regular expression is no path"),
        ("location /x/ { proxy_pass http://$host; }", "its proxy_pass or its path has no counterpart"),
    ],
)
def test_a_location_that_does_something_else_is_left_over(tmp_path, inner, part):
    found = convert(tmp_path, server(inner))
    assert paths(found) == ["/ok/"]
    assert any(line == 2 and part in message for line, message in found.left_over)


@pytest.mark.parametrize(
    "guard",
    [
        "auth_basic Members;",
        "auth_request /auth;",
        "internal;",
        "limit_except GET { deny all; }",
        "if ($http_origin != https://a.test) { return 403; }",
    ],
)
def test_what_keeps_somebody_out_leaves_the_location_out(tmp_path, guard):
    found = convert(tmp_path, server(f"location /x/ {{ {guard} proxy_pass http://10.0.0.2:1; }}"))
    assert paths(found) == ["/ok/"]
    assert any(line == 2 and "everybody would get in" in message for line, message in found.left_over)


@pytest.mark.parametrize(
    "inner",
    [
        "auth_basic off; allow all;",
        "if ($slow) { set $limit 1; }",
    ],
)
def test_what_keeps_nobody_out_does_not(tmp_path, inner):
    found = convert(tmp_path, server(f"location /x/ {{ {inner} proxy_pass http://10.0.0.2:1; }}"))
    assert paths(found) == ["/x/", "/ok/"]


def test_a_guard_of_the_server_holds_for_all_its_locations_but_where_it_is_lifted(tmp_path):
    found = convert(tmp_path, server("auth_basic a; location /x/ { auth_basic off; proxy_pass http://10.0.0.2:1; }"))
    assert paths(found) == ["/x/"]


def test_who_gets_the_requests_of_what_is_left_over_is_said(tmp_path):
    found = convert(tmp_path, "server { location /a/ { root /x; } location / { proxy_pass http://b; } }")
    assert any("its requests go where / leads now" in message for _, message in found.left_over)


@pytest.mark.parametrize(
    ("inner", "difference"),
    [
        ("location /x/ { return 404; }", None),
        ("location /x/ { return 410; }", "nginx answers 410; here there is no route, which is 404"),
        ("location /x/ { deny all; }", "nginx answers 403; here there is no route, which is 404"),
    ],
)
def test_a_refusal_is_no_route(tmp_path, inner, difference):
    found = convert(tmp_path, server(inner))
    assert paths(found) == ["/ok/"] and found.found.complete
    said = [message for line, message in found.said(Kind.DIFFERENCE) if line == 2]
    assert said == ([difference] if difference else [])


def test_a_refusal_under_another_route_is_left_over(tmp_path):
    found = convert(tmp_path, server("location /ok/not { return 404; }"))
    assert "its requests go where /ok/ leads now" in found.left_over[0][1]


@pytest.mark.parametrize(
    ("answer", "complete", "difference"),
    [
        ("return 404;", True, False),
        ("return 444;", True, True),
        ("return 301 https://a.test;", False, False),
        ("return 403 no;", False, False),
    ],
)
def test_a_server_may_answer_by_itself(tmp_path, answer, complete, difference):
    found = convert(tmp_path, f"{location()}\nserver {{ listen 80; server_name a.test; {answer} {PROXIED} }}\n")
    assert paths(found) == ["/"] and found.found.complete == complete
    assert (
        "no-route" in [note.meaning for note in found.found.notes.of(Kind.DIFFERENCE) if note.place.line == 9]
    ) == difference
    assert any("answers before" in message for _, message in found.said(Kind.HARMLESS))


def test_a_location_that_only_holds_others_is_no_route_and_nothing_is_lost(tmp_path):
    found = convert(
        tmp_path, server("location /x/ { proxy_set_header X-A 1; location /x/y/ { proxy_pass http://10.0.0.2:1; } }")
    )
    assert paths(found) == ["/x/y/", "/ok/"] and found.found.complete


def test_of_one_that_is_left_over_the_inner_ones_are_converted(tmp_path):
    found = convert(tmp_path, server("location /x/ { root /x; location /x/y/ { proxy_pass http://10.0.0.2:1; } }"))
    assert paths(found) == ["/x/y/", "/ok/"] and [line for line, _ in found.left_over] == [2]


@pytest.mark.parametrize(
    "page",
    [
        "error_page 500 502 503 504 /50x.html; location = /50x.html { root html; }",
        "error_page 404 /404.html; location = /404.html { internal; alias /var/www/404.html; }",
    ],
)
def test_a_page_for_errors_is_a_short_text(tmp_path, page):
    found = convert(tmp_path, server(page))
    assert paths(found) == ["/ok/"] and found.found.complete and "error-page" in found.meanings


@pytest.mark.parametrize(
    "page",
    [
        "error_page 502 =200 /down.html; location = /down.html { root html; }",
        "error_page 502 = @down; location @down { proxy_pass http://10.0.0.2:1; }",
        "error_page 502 /down; location = /down { proxy_pass http://10.0.0.2:1; }",
        "error_page 502 /down/x.html; location /down/ { root html; }",
        "error_page 502 https://status.test/;",
    ],
)
def test_any_other_answer_to_errors_is_left_over(tmp_path, page):
    found = convert(tmp_path, server(page))
    assert any(message.startswith("error_page") for _, message in found.left_over)
    assert "error-page" not in found.meanings


def test_directives_of_other_places_are_left_over(tmp_path):
    found = convert(
        tmp_path,
        server(
            "rewrite ^/a /b; location /x/ { set_real_ip_from 10.0.0.1; error_page 502 /x; proxy_pass http://10.0.0.2:1; }"
        ),
    )
    assert [message.split(":")[0] for _, message in found.left_over] == [
        "rewrite ^/a /b",
        "set_real_ip_from 10.0.0.1",
        "error_page 502 /x",
    ]
