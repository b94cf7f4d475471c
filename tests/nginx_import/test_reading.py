from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.fuzz import examples
from support.nginx_files import mistakes, read

from trioproxy.nginx_import import reading
from trioproxy.nginx_import.notes import Fate, Kind, Notes
from trioproxy.nginx_import.reading import MOST_DEPTH, ReadError, read_nginx
from trioproxy.nginx_import.statements import walk


def shown(statements):
    return [(each.place.line, each.name, *each.args) for each in walk(statements)]


def test_statements_know_their_lines(tmp_path):
    statements, notes = read(tmp_path, "# a comment\nhttp {\n  server {\n    listen\n      80;\n  }\n}\n")
    assert shown(statements) == [(2, "http"), (3, "server"), (4, "listen", "80")]
    assert notes.all == []


def test_quotes_and_escapes_are_taken_away(tmp_path):
    statements, _ = read(tmp_path, """set $a "x \\" y"; set $b '';\nlocation ~ \\.php$ {} set $c "a\\tb" ${d};\n""")
    assert shown(statements) == [
        (1, "set", "$a", 'x " y'),
        (1, "set", "$b", ""),
        (2, "location", "~", "\\.php$"),
        (2, "set", "$c", "a\tb", "${d}"),
    ]


def test_windows_line_ends_a_byte_order_mark_and_foreign_octets_are_read(tmp_path):
    (tmp_path / "n.conf").write_bytes(b"\xef\xbb\xbflisten 80;\r\n# caf\xe9\r\nlisten 81;")
    notes = Notes()
    assert shown(read_nginx(str(tmp_path / "n.conf"), notes)) == [(1, "listen", "80"), (3, "listen", "81")]
    assert notes.all == []


def test_an_ellipsis_is_named_and_what_follows_is_read(tmp_path):
    statements, notes = read(tmp_path, "server {\n    ...\n    location /ws {\n        listen 80;\n    }\n}\n")
    assert [line for line, _ in mistakes(notes)] == [2]
    assert '"..." is no directive' in mistakes(notes)[0][1]
    assert (3, "location", "/ws") in shown(statements)


def test_a_forgotten_semicolon_is_named_and_what_follows_is_read(tmp_path):
    statements, notes = read(tmp_path, "proxy_http_version 1.1\nproxy_set_header Host $host;\n")
    assert mistakes(notes) == [(1, '"proxy_http_version" has no ";" at its end: "proxy_set_header" follows')]
    assert shown(statements) == [(1, "proxy_http_version", "1.1"), (2, "proxy_set_header", "Host", "$host")]


def test_arguments_may_go_on_in_the_next_line(tmp_path):
    statements, notes = read(tmp_path, "server_name a.test\n  b.test;\nlog_format main 'a'\n 'server';\n")
    assert shown(statements) == [(1, "server_name", "a.test", "b.test"), (3, "log_format", "main", "a", "server")]
    assert notes.all == []


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("listen 80", 1, '"listen" has no ";" at its end'),
        ("listen 80; }\n", 1, 'unexpected "}": it closes nothing'),
        ("server {\n listen 80\n}\n", 2, '"listen" has no ";" at its end'),
        ("http {\n server {\n }\n", 1, '"http" opens a block that no "}" closes'),
        ("listen 80;\n;\n", 2, 'unexpected ";"'),
        ("listen 80;\n{ listen 81; }\n", 2, 'unexpected "{"'),
        ('set $a "b;\n}\n', 1, "unexpected end of file: a quote that opens here or below is not closed"),
        ('listen 80;\n"', 1, "unexpected end of file: a quote that opens here or below is not closed"),
        ('"', 1, "unexpected end of file: a quote that opens here or below is not closed"),
        ("set_by_lua_block x;", 1, "expected { to start Lua block"),
    ],
)
def test_what_nginx_could_not_read_is_named_with_its_line(tmp_path, text, line, message):
    _, notes = read(tmp_path, text)
    assert (line, message) in mistakes(notes)


def test_an_unfinished_word_at_the_end_is_not_lost(tmp_path):
    _, notes = read(tmp_path, "listen 80;\nroot")
    assert mistakes(notes) == [(2, '"root" has no ";" at its end')]


def test_blocks_are_not_nested_without_end(tmp_path):
    _, notes = read(tmp_path, "a {" * 5000 + "}" * 5000)
    assert mistakes(notes)[0] == (1, f"more than {MOST_DEPTH} blocks within one another")


def test_included_files_stand_where_they_are_included(tmp_path):
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "b.conf").write_text("listen 82;\n")
    (tmp_path / "sites" / "a.conf").write_text("\nlisten 81;\n")
    statements, notes = read(tmp_path, "listen 80;\ninclude sites/*.conf;\ninclude none/*.conf;\nlisten 83;\n")
    listens = [
        (each.value, Path(each.place.file).name, each.place.line) for each in statements if each.name == "listen"
    ]
    assert listens == [("80", "nginx.conf", 1), ("81", "a.conf", 2), ("82", "b.conf", 1), ("83", "nginx.conf", 4)]
    assert [notes.fate(each) for each in statements if each.name == "include"] == [Fate.CONVERTED, Fate.HARMLESS]


def test_a_file_may_be_included_many_times(tmp_path):
    (tmp_path / "headers").write_text("proxy_http_version 1.1;\n")
    statements, notes = read(tmp_path, f"a {{ include headers; }}\nb {{ include {tmp_path}/headers; }}\n")
    assert [len(each.inner) for each in statements] == [2, 2]
    assert mistakes(notes) == []


def test_a_missing_include_is_left_over_but_for_the_content_types(tmp_path):
    _, notes = read(tmp_path, "include mime.types;\ninclude proxy_params;\n")
    assert [(note.place.line, note.kind) for note in notes.all] == [(1, Kind.HARMLESS), (2, Kind.LEFT_OVER)]
    assert "No such file" in notes.all[1].message


def test_a_file_that_includes_itself_is_a_mistake(tmp_path):
    (tmp_path / "b.conf").write_text("include nginx.conf;\n")
    _, notes = read(tmp_path, "include b.conf;\n")
    assert [str(note).removeprefix(f"{tmp_path}/") for note in notes.of(Kind.MISTAKE)] == [
        "b.conf:1: mistake: include nginx.conf: includes the file it stands in"
    ]


def test_files_are_not_included_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_FILES", 3)
    (tmp_path / "x").write_text("listen 80;\n")
    _, notes = read(tmp_path, "include x;\ninclude x;\ninclude x;\n")
    assert mistakes(notes) == [(3, "include x: more than 3 files are included")]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(ReadError, match=r"missing\.conf: cannot be read: No such file"):
        read_nginx(str(tmp_path / "missing.conf"), Notes())
    with pytest.raises(ReadError, match="Is a directory"):
        read_nginx(str(tmp_path), Notes())


@examples(100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["{", "}", ";", " ", "\n", '"', "'", "\\", "#", "$", "a", "include ", "..."]), max_size=60)
)
def test_anything_is_read_or_is_a_mistake(tmp_path, parts):
    statements, notes = read(tmp_path, "".join(parts))
    assert statements or notes.all or not "".join(parts).strip() or "#" in parts
