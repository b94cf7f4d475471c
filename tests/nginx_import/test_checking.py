import pytest
from support.nginx_files import mistakes, read

from trioproxy.nginx_import.checking import check_statements
from trioproxy.nginx_import.model import understand


def checked(folder, text):
    statements, notes = read(folder, text)
    check_statements(statements, understand(statements, notes), notes)
    return mistakes(notes)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("server {\n proxy_read_timeout;\n}", 2, 'invalid number of arguments in "proxy_read_timeout" directive'),
        ("server {\n proxy_pass http://a;\n}", 2, '"proxy_pass" directive is not allowed here'),
        ("http { server {\n listen 80 { }\n} }", 2, 'directive "listen" is not terminated by ";"'),
        ("server {\n location / {\n  location /x;\n }\n}", 3, 'directive "location" has no opening "{"'),
        ("upstream a {\n 10.0.0.1:80;\n}", 2, 'servers of an upstream are listed as "server 10.0.0.1:80;"'),
        ("map $a $b {\n close;\n}", 2, "has no value"),
    ],
)
def test_what_nginx_refuses_is_a_mistake_with_its_line(tmp_path, text, line, message):
    assert any(where == line and message in said for where, said in checked(tmp_path, text)), checked(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "http { server { listen 80; location / { proxy_pass http://a; } } }",
        "server { listen 80; location /a { location /a/b { proxy_pass http://a; } } }",
        "upstream u { server a:1; } server { if ($a) { return 403; } }",
        "gzip maybe; worker_connections many;",
        "map $a $b { server x; include y; }",
    ],
)
def test_what_nginx_takes_or_trioproxy_does_not_convert_is_none(tmp_path, text):
    assert checked(tmp_path, text) == []
