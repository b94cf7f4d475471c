"""The how-to page has the tables of the code, row by row."""

from __future__ import annotations

import re
from pathlib import Path

from trioproxy.nginx_import import Kind, Meaning
from trioproxy.nginx_import.known import CLOSES, CONVERTED, FAMILIES, HARMLESS, HARMLESS_FAMILIES, UNSUPPORTED

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "import-nginx.md").read_text()


def section(title):
    return re.split(r"^#+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def first_cells(text):
    return [
        name for cell in re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    ]


def rows(table, end=""):
    return "".join(f"| `{name}{end}` | {reason} |\n" for name, reason in sorted(table.items()))


def directives():
    return (
        f"Converted:\n\n| directive | becomes |\n|---|---|\n{rows(CONVERTED)}\n"
        f"Harmless, and why:\n\n| directive | because |\n|---|---|\n{rows(HARMLESS)}{rows(HARMLESS_FAMILIES, '...')}\n"
        f"Keeping somebody out, so that what they guard is left out:\n\n| directive | because |\n|---|---|\n{rows(CLOSES)}\n"
        f"Without a counterpart:\n\n| directive | because |\n|---|---|\n{rows(UNSUPPORTED)}\n"
        f"And whole families:\n\n| directives | because |\n|---|---|\n{rows(FAMILIES, '...')}"
    )


def test_the_tables_of_directives_are_those_of_the_code():
    assert section("Directives").strip() == directives().strip()


def test_every_difference_has_its_row():
    assert first_cells(section("Differences")) == sorted(Meaning, key=first_cells(section("Differences")).index)


def test_every_kind_of_note_has_its_row():
    assert set(first_cells(section("What is said"))) == set(Kind)
