"""The status page for browsers: the files in `status-page`, and what a browser may do with them.

What the page shows it asks of the API itself, which is `app`'s; nothing in these files is of one proxy.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX: Final = "index.html"
# Scripts, styles and pictures from here alone, none of them inline, connections to here alone; no frames around it.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"  # a browser that knows them takes no markup from scripts
)

_TYPES: Final = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)


@attrs.frozen
class File:
    """One file as it is sent."""

    content: bytes
    content_type: str


def page_files() -> Mapping[str, File]:
    """All files of the page by their names; read from the package anew at each call."""
    found = ((each, PurePath(each.name).suffix) for each in files("trioproxy.admin").joinpath("status-page").iterdir())
    return {each.name: File(each.read_bytes(), _TYPES[suffix]) for each, suffix in found if suffix in _TYPES}
