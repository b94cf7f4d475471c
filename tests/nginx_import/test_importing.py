"""What holds for imports as a whole; each directive has its tests beside the module that converts it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.fuzz import examples
from support.nginx_files import convert, location

from trioproxy.config_file import parse_config
from trioproxy.nginx_import import Fate, Kind, ReadError, import_nginx
from trioproxy.nginx_import.statements import walk

HERE = Path(__file__).parent
CONFIGS = [*sorted((HERE / "configs").glob("*.conf")), HERE / "configs" / "includes" / "nginx.conf"]

# The second snippet of the how-to this project began with, as it stands there; four mistakes.
HOW_TO = """\
upstream backend {
    192.168.3.1:3000;
    192.168.3.2:300;
}

map $http_upgrade $connection_upgrade {
    default upgrade;
    '' close;
close; }

server {
    ...
    location /websocket {
        proxy_pass http://upstream;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        # これらの2行が重要です
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
    }
}
"""


ELLIPSIS = (
    '"..." is no directive: nginx takes it for one, with what follows as its arguments; '
    "replace it by your own settings, or delete it"
)


def test_the_four_mistakes_of_the_how_to_are_named_with_their_lines(tmp_path):
    found = convert(tmp_path, HOW_TO)
    assert found.found.refused and found.tables == {} and not found.found.complete
    assert found.mistakes == [
        (2, 'servers of an upstream are listed as "server 192.168.3.1:3000;"'),
        (3, 'servers of an upstream are listed as "server 192.168.3.2:300;"'),
        (9, '"close;" has no value: an entry of a map has two words, such as "default upgrade;" or "\'\' close;"'),
        (
            12,
            ELLIPSIS,
        ),
        (14, 'proxy_pass leads to "upstream", and no upstream block has that name (did you mean http://backend?)'),
    ]


@pytest.mark.parametrize("line", [2, 3, 9, 12, 14])
def test_each_mistake_alone_is_enough_for_nothing_to_be_written(tmp_path, line):
    right = {
        2: "    server 192.168.3.1:3000;",
        3: "    server 192.168.3.2:300;",
        9: "}",
        12: "",
        14: "        proxy_pass http://backend;",
    }
    lines = HOW_TO.splitlines()
    for number, text in right.items():
        if number != line:
            lines[number - 1] = text
    found = convert(tmp_path, "\n".join(lines))
    assert [where for where, _ in found.mistakes] == [line] and found.tables == {}


def test_the_corrected_how_to_is_the_readmes_configuration(tmp_path):
    text = (HERE / "configs" / "how-to-two-servers.conf").read_text()
    found = convert(tmp_path, text)
    assert found.found.complete
    assert found.route == {"path": "/websocket", "pool": "backend", "host_header": "strip-port", "forwarded": False}
    assert found.pool == {"upstreams": ["192.168.3.1:3000", "192.168.3.2:300"]}
    assert found.tables["listeners"] == [{"address": "0.0.0.0:8080"}]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_line_is_accounted_for_and_the_result_can_be_used(path):
    found = import_nginx(str(path))
    assert not found.refused
    assert not found.notes.undecided(found.statements)
    if found.text:
        parse_config(found.text, "config.toml")
    left_over = [each for each in walk(found.statements) if found.notes.fate(each) is Fate.LEFT_OVER]
    assert bool(left_over) == bool(found.notes.of(Kind.LEFT_OVER))
    assert found.complete == (not left_over)


def test_every_note_has_its_file_and_line():
    found = import_nginx(str(HERE / "configs" / "includes" / "nginx.conf"))
    files = {str(note).split(":")[0].removeprefix(f"{HERE}/configs/includes/") for note in found.notes.all}
    assert {"conf.d/chat.conf", "snippets/websocket"} <= files


def test_the_summary_counts(tmp_path):
    complete = convert(tmp_path, location("tcp_nodelay on;")).found
    assert complete.summary.endswith("nginx.conf: of 5 directives 4 converted, 1 harmless, 0 left over")
    partly = convert(tmp_path, location("gzip on;")).found
    assert partly.summary.endswith("of 5 directives 4 converted, 0 harmless, 1 left over") and not partly.complete
    nothing = convert(tmp_path, "server { root /var/www; }").found
    assert nothing.summary.endswith("nothing is written: no location with an upstream is left")
    assert convert(tmp_path, "listen").found.summary.endswith("nginx refuses the file, too")


def test_a_missing_file_is_an_error_of_its_own(tmp_path):
    with pytest.raises(ReadError, match="cannot be read"):
        import_nginx(str(tmp_path / "none.conf"))


WORDS = st.sampled_from(
    [
        "http",
        "server",
        "upstream",
        "location",
        "listen",
        "server_name",
        "proxy_pass",
        "proxy_set_header",
        "map",
        "set",
        "if",
        "return",
        "rewrite",
        "include",
        "hash",
        "least_conn",
        "keepalive",
        "proxy_read_timeout",
        "proxy_next_upstream",
        "client_max_body_size",
        "ssl_certificate",
        "ssl_certificate_key",
        "deny",
        "auth_basic",
        "worker_processes",
        "set_real_ip_from",
        "keepalive_timeout",
        "root",
        "gzip",
        "stream",
        "...",
        "/",
        "=",
        "~",
        "^~",
        "/ws",
        "/ws/",
        "^/ws",
        "~x",
        "@n",
        "80",
        "443",
        "ssl",
        "default_server",
        "quic",
        "[::]:80",
        "unix:/x",
        "127.0.0.1:80",
        "a.test",
        "*.a.test",
        ".a.test",
        "_",
        "~^a$",
        "a.*",
        "http://a",
        "http://a/",
        "http://b:1/x",
        "https://a",
        "http://$v",
        "http://unix:/s:/u",
        "$host",
        "$http_upgrade",
        "$connection_upgrade",
        "$v",
        "default",
        "upgrade",
        "close",
        "''",
        '""',
        "'a",
        "b'",
        "Host",
        "Upgrade",
        "Connection",
        "X-A",
        "X-Real-IP",
        "$remote_addr",
        "1.1",
        "10m",
        "0",
        "-1",
        "60s",
        "soon",
        "auto",
        "444",
        "404",
        "all",
        "off",
        "on",
        "break",
        "weight=2",
        "max_fails=3",
        "backup",
        "down",
        "none",
        "\\",
        "\x00",
        "\x7f",
        "é",
        "\u2028",
        "\ud7ff",
        "#",
        "$",
        "${",
        "}",
        "{",
    ]
)
STATEMENTS = st.recursive(
    st.lists(WORDS, min_size=1, max_size=4).map(lambda words: " ".join(words) + ";"),
    lambda inner: st.tuples(st.lists(WORDS, min_size=1, max_size=3), st.lists(inner, max_size=4)).map(
        lambda parts: f"{' '.join(parts[0])} {{\n" + "\n".join(parts[1]) + "\n}"
    ),
    max_leaves=25,
)


def accounts_for(folder, text):
    path = folder / "nginx.conf"
    path.write_bytes(text.encode(errors="surrogatepass"))
    found = import_nginx(str(path))
    assert not found.notes.undecided(found.statements)
    assert not (found.refused and found.text)
    assert all("\n" not in str(note) for note in found.notes.all)
    if found.text:
        parse_config(found.text, "config.toml")


@examples(50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STATEMENTS, max_size=5).map("\n".join))
def test_whatever_is_written_is_accounted_for(tmp_path, text):
    accounts_for(tmp_path, text)


@examples(50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text() | st.binary().map(lambda octets: octets.decode("latin-1")))
def test_garbage_is_a_mistake_or_left_over_and_never_more(tmp_path, text):
    accounts_for(tmp_path, text)


@examples(50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CONFIGS), st.data())
def test_a_damaged_file_is_accounted_for(tmp_path, path, data):
    text = path.read_text()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    accounts_for(tmp_path, text[:start] + data.draw(st.sampled_from(["", "{", "}", ";", "'", " ", "\n"])) + text[end:])
