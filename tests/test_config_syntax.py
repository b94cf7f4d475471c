import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy import config_syntax as syntax

PREDICATES = [
    syntax.split_host_port,
    syntax.is_host,
    syntax.is_loopback,
    syntax.canonical,
    syntax.is_upstream_address,
    syntax.is_listener_address,
    syntax.is_host_pattern,
    syntax.is_host_value,
    syntax.is_host_header,
    syntax.is_hash_key,
    syntax.is_origin,
    syntax.is_path,
    syntax.is_target,
    syntax.is_file_path,
    syntax.is_token,
    syntax.is_settable_field,
    syntax.is_field_value,
    syntax.is_name,
    syntax.is_label,
]

TABLE = {
    syntax.is_host: (
        ["example.com", "localhost", "a_b", "127.0.0.1", "xn--bcher-kva.example", "x" * 63],
        ["", "a..b", "-a", "a-", "1.2.3", "256.0.0.1", "a b", "bücher.example", "x" * 64, ".".join(["x" * 60] * 5), "a."],
    ),
    syntax.is_upstream_address: (
        ["192.168.3.1:3000", "localhost:300", "[::1]:1", "unix:/run/x.sock", "unix:x.sock", "unix:" + "x" * 107],
        ["", "x", ":80", "x:0", "x:65536", "x:99999", "::1:80", "[::1]", "[x]:80", "[1.2.3.4]:80", "http://x:80", "x:80/",
         "unix:", "unix:a\0b", "unix:" + "x" * 108, "fd:web", "x:\uff18\uff10"],
    ),
    syntax.is_listener_address: (
        ["0.0.0.0:8080", "[::]:8080", "[::]:0", "127.0.0.1:0", "unix:/run/x.sock", "fd:web", "fd:web-1.socket"],
        ["fd:", "fd:a:b", "fd:a b", "fd:" + "x" * 256, "*:80", "8080"],
    ),
    syntax.is_socket_path: (["/run/x.sock", "x" * 107], ["", "x" * 108, "\u00e4" * 54, "a\0b"]),
    syntax.is_bindable: (["0.0.0.0:8080", "[::]:0"], ["unix:/run/x.sock", "fd:web", "x:65536"]),
    syntax.has_free_port: (["0.0.0.0:0", "[::]:00"], ["0.0.0.0:1", "unix:/run/x.sock", "nonsense"]),
    syntax.is_loopback: (
        ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "localhost:80", "LOCALHOST:80"],
        ["0.0.0.0:80", "[::]:80", "example.com:80", "nonsense"],
    ),
    syntax.is_host_pattern: (
        ["example.com", "*.example.com", "192.168.3.1", "[::1]"],
        ["*", "*.", "a.*.com", "*.1.2.3.4", "example.com:80", "[x]", "**.example.com"],
    ),
    syntax.is_host_value: (["example.com", "example.com:80", "[::1]", "[::1]:80"], ["*.example.com", "", "a b", "a:x", "a:0"]),
    syntax.is_server_name: (
        ["backend.internal", "my_service", "192.168.3.1", "::1", "2001:db8::1"],
        ["", "a:80", "[::1]", "fe80::1%eth0", "*.a.test", "a.test.", "1.2.3", "a b", "ä.test", "a\0", "x" * 64],
    ),
    syntax.is_host_header: (
        ["keep", "strip-port", "upstream", "literal:example.com", "literal:example.com:81"],
        ["", "Keep", "literal:", "literal:a b", "example.com"],
    ),
    syntax.is_hash_key: (["client_ip", "path", "header:X-User", "cookie:id"], ["", "header:", "header:a b", "x:y", "header"]),
    syntax.is_origin: (
        ["https://example.com", "http://localhost:3000", "null", "chrome-extension://abc", "https://*.a.test", "http://*.a.test:81"],
        ["example.com", "https://example.com/", "https://", "://x", "*", "https://*", "https://*.", "https://a.*.test",
         "https://*.10.0.0.1", "https://*.[::1]", "https://*.a.test:x"],
    ),
    syntax.is_path: (["/", "/ws", "/a/", "/a%20b", "/..a", "//"], ["", "ws", "/a b", "/a?b", "/a#b", "/a/../b", "/.", "/ä", "/a\n"]),
    syntax.is_target: (["/", "/a?b=c"], ["", "a", "/a b", "/a#b", "/a\r\nX: y"]),
    syntax.is_file_path: (["x", "/a b/ä"], ["", "a\0"]),
    syntax.is_settable_field: (
        ["X-Env", "Origin", "Sec-WebSocket-Extensions"],
        ["", "X Env", "X:", "Host", "connection", "Content-Length", "Transfer-Encoding", "Upgrade", "ä"],
    ),
    syntax.is_field_value: (["", "a b", "ä"], ["a\r\nb", "\0", "\x7f", " a", "a ", "a\tb"]),
    syntax.is_name: (["backend", "a.b-c_1"], ["", "a b", "none", "a/b", "ä"]),
    syntax.is_label: (["0.0.0.0:80", "a b", "ä"], ["", "none", "a\nb"]),
    syntax.is_close_code: ([1000, 1001, 1014, 3000, 4999], [999, 1004, 1005, 1006, 1010, 1015, 1016, 2999, 5000]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("fits", "word"),
    [pytest.param(fits, word, id=f"{fits.__name__}-{word}"[:60]) for fits, (good, _) in TABLE.items() for word in good],
)
def test_words_that_fit(fits, word):
    assert fits(word)


@pytest.mark.parametrize(
    ("fits", "word"),
    [pytest.param(fits, word, id=f"{fits.__name__}-{word}"[:60]) for fits, (_, bad) in TABLE.items() for word in bad],
)
def test_words_that_do_not_fit(fits, word):
    assert not fits(word)


@given(st.text() | st.text("[]:.*/-%019azAZ \0\n"), st.sampled_from(PREDICATES))
def test_any_text_is_judged_without_an_exception(text, fits):
    fits(text)


def test_host_and_port_come_apart():
    assert syntax.split_host_port("Example.com:80") == ("Example.com", 80)
    assert syntax.split_host_port("[fe80::1]:80") == ("fe80::1", 80)


@pytest.mark.parametrize(
    ("one", "other"),
    [("[::0]:80", "[::]:80"), ("LocalHost:80", "localhost:80"), ("a:080", "a:80"), ("[::FF]:1", "[::ff]:1")],
)
def test_spellings_of_one_address_compare_equal(one, other):
    assert syntax.canonical(one) == syntax.canonical(other)


def test_what_is_no_host_and_port_stays_as_it_is():
    assert syntax.canonical("unix:/Run/X.sock") == "unix:/Run/X.sock"
