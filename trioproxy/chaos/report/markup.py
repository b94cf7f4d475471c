"""Elements of HTML and SVG as text: whatever is not markup already is escaped, so that nothing from outside can be any.

Pure. Which elements a page has is `page`'s.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_VOID: Final = frozenset({"meta", "br"})  # those of HTML's void elements that are written here


class Markup(str):
    """Text that is markup; made of elements, or what the program itself has written."""

    __slots__ = ()


def element(name: str, /, *children: str, **attributes: str | float | None) -> Markup:
    """One element. Of an attribute's name, "_" stands for "-", a last one for nothing; None leaves it out."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value if isinstance(value, str) else f"{value:g}")}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>" if name in _VOID else f"<{name}{said}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Markup:
    """One after the other; what is not markup is text."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))
