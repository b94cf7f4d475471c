"""Regular expressions of locations that are only a path in disguise: `^/ws/`, `^/ws$`, `^/ws(/|$)`.

All others have no counterpart.
"""

from __future__ import annotations

import re

import attrs

_LITERAL = re.compile(
    r"""\^(?P<path>/(?:[\w/-]|\\[./-])*)
    (?:(?P<exact>\$)|(?P<inside>\((?:\?:)?/\|\$\)|\((?:\?:)?/\.\*\)\?\$)|(?P<anything>(?:\.\*|\(\.\*\))\$?)?)""",
    re.ASCII | re.VERBOSE,
)


@attrs.frozen
class RegexPath:
    """The path an expression stands for."""

    path: str
    exact: bool  # that path alone
    beyond: bool  # what begins like it too, as /wsx for ^/ws


def as_path(pattern: str) -> RegexPath | None:
    """The path a case-sensitive expression stands for; None if it stands for more than that."""
    found = _LITERAL.fullmatch(pattern)
    if found is None:
        return None
    path = found["path"].replace("\\", "")
    exact, inside = found["exact"] is not None, found["inside"] is not None
    return RegexPath(path, exact, beyond=not (exact or inside or path.endswith("/")))
