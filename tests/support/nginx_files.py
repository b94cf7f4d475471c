"""nginx files of the tests that read, understand and convert them, said in a few lines."""

from __future__ import annotations

from trioproxy.nginx_import.model import understand
from trioproxy.nginx_import.notes import Kind, Notes
from trioproxy.nginx_import.reading import read_nginx

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
