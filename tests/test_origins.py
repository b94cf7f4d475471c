"""Which sites' pages may open a tunnel."""

import pytest

from trioproxy.origins import MAX_ORIGIN, Origins

LIST = (
    "https://example.com",
    "https://*.example.org",
    "http://local.test:8080",
    "https://*.port.test:8443",
    "https://usual.test:443",
    "https://[2001:db8::1]",
)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://example.com",
        b"HTTPS://Example.COM",
        b"https://example.com:443",
        b"https://a.example.org",
        b"https://a.b.Example.org:443",
        b"http://local.test:8080",
        b"https://x.port.test:8443",
        b"https://usual.test",
        b"https://[2001:DB8::1]",
    ],
)
def test_the_same_origin_in_other_words_is_allowed(origin):
    assert origin in Origins.of(LIST)


@pytest.mark.parametrize(
    "origin",
    [
        b"",
        b"null",
        b"http://example.com",
        b"https://example.com:8443",
        b"https://example.com.evil.test",
        b"https://evilexample.com",
        b"https://example.org",
        b"https://evilexample.org",
        b"https://*.example.org",
        b"https://.example.org",
        b"https://a.example.org:8443",
        b"https://x.port.test",
        b"http://local.test",
        b"https://example.com/",
        b"https://example.com https://evil.test",
        b"\xff",
        b"https://" + b"a." * MAX_ORIGIN + b"example.org",
    ],
)
def test_any_other_is_not(origin):
    assert origin not in Origins.of(LIST)


def test_null_is_allowed_where_it_is_listed_alone():
    assert b"null" in Origins.of(("null",))
    assert b"null" not in Origins.of(("https://example.com",))
