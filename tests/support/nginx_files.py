"""Texts of nginx files for the tests that read, understand and convert them, said in a few lines."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from trioproxy.config_file import parse_config
from trioproxy.nginx_import import import_nginx
from trioproxy.nginx_import.model import understand
from trioproxy.nginx_import.notes import Kind, Notes
from trioproxy.nginx_import.reading import read_nginx

if TYPE_CHECKING:
    from trioproxy.nginx_import import Imported

RECIPE = """
proxy_http_version 1.1;
proxy_set_header Upgrade $http_upgrade;
proxy_set_header Connection "upgrade";
"""


def read(folder, text, name="nginx.conf"):
    """The statements of a text, and what was noted of them."""
    path = folder / name
    path.write_text(text)
    notes = Notes()
    return read_nginx(str(path), notes), notes


def site_of(folder, text):
    """The site that a text describes, and what was noted of it."""
    statements, notes = read(folder, text)
    return understand(statements, notes), notes


def said(notes, kind):
    """What was noted of one kind: (line, message) pairs by line."""
    return [(note.place.line, note.message) for note in notes.of(kind)]


def mistakes(notes):
    return said(notes, Kind.MISTAKE)


@attrs.frozen
class Converted:
    """A text that was imported: its config.toml as tables, checked, and what was noted."""

    tables: dict[str, Any]
    found: Imported

    @property
    def route(self) -> dict[str, Any]:
        [route] = self.tables["routes"]
        return route

    @property
    def pool(self) -> dict[str, Any]:
        [pool] = self.tables["pools"].values()
        return pool

    def said(self, kind: Kind) -> list[tuple[int, str]]:
        return said(self.found.notes, kind)

    @property
    def left_over(self) -> list[tuple[int, str]]:
        return self.said(Kind.LEFT_OVER)

    @property
    def mistakes(self) -> list[tuple[int, str]]:
        return self.said(Kind.MISTAKE)

    @property
    def meanings(self) -> list[str]:
        return [note.meaning for note in self.found.notes.of(Kind.DIFFERENCE)]


def convert(folder, text) -> Converted:
    """Imports a text; what comes out must be a configuration that can be used."""
    path = folder / "nginx.conf"
    path.write_text(text)
    found = import_nginx(str(path))
    if found.text:
        parse_config(found.text, "config.toml")
    assert not found.notes.undecided(found.statements)
    return Converted(tomllib.loads(found.text), found)


def location(inner="", path="/", server="", outside="", to="http://10.0.0.1:3000") -> str:
    """A server with one location that proxies, on lines of their own: the location's settings begin in line 6."""
    return f"{outside}\nserver {{\nlisten 80; {server}\nlocation {path} {{\nproxy_pass {to};\n{inner}\n}} }}\n"
