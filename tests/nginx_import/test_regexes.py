import pytest

from trioproxy.nginx_import.regexes import RegexPath, as_path


@pytest.mark.parametrize(
    ("pattern", "path", "exact", "beyond"),
    [
        ("^/ws", "/ws", False, True),
        ("^/ws/", "/ws/", False, False),
        ("^/ws/.*", "/ws/", False, False),
        ("^/ws(.*)$", "/ws", False, True),
        ("^/ws$", "/ws", True, False),
        ("^/ws(/|$)", "/ws", False, False),
        ("^/ws(?:/|$)", "/ws", False, False),
        ("^/ws(/.*)?$", "/ws", False, False),
        (r"^/socket\.io/", "/socket.io/", False, False),
        (r"^/a\-b/c_d", "/a-b/c_d", False, True),
    ],
)
def test_an_expression_that_is_a_path_is_read(pattern, path, exact, beyond):
    assert as_path(pattern) == RegexPath(path, exact=exact, beyond=beyond)


@pytest.mark.parametrize(
    "pattern", ["/ws", "^/(ws|chat)", "^/ws.io", r"\.php$", "^/ws/?$", "^/a+", "^ws", "", "^/[a-z]", "^/ws/.+"]
)
def test_one_that_stands_for_more_is_not(pattern):
    assert as_path(pattern) is None
