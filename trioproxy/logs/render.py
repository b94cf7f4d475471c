"""Events to lines: text for people, JSON for machines; nothing a peer sent can start a line or reach a terminal.

Pure but for the time stamp, which structlog's processor adds before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_LEVEL_WIDTH: Final = len("warning")
_QUOTED: Final = frozenset(' "=\\')  # printable, yet not to stand bare in key=value
_HEAD: Final = ("timestamp", "level", "event")


def render_json(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    """One JSON object, ASCII only: control characters, line separators and lone surrogates are escapes."""
    head = {key: event.pop(key) for key in _HEAD if key in event}
    return _json({**head, **event}) + "\n"


def render_text(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> str:
    """`timestamp level event key=value …`; a traceback follows in indented lines."""
    traceback = event.pop("exception", "")
    timestamp, level, name = (str(event.pop(key, "-")) for key in _HEAD)
    fields = "".join(f" {key}={_value(value)}" for key, value in event.items())
    indented = "".join(f"    {_printable(line)}\n" for line in traceback.splitlines())
    return f"{timestamp} {level:{_LEVEL_WIDTH}} {_value(name)}{fields}\n{indented}"


def _value(value: object) -> str:
    if isinstance(value, bool | None):
        return _json(value)
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    text = value if isinstance(value, str) else str(value)
    # isprintable() is false for every control, format (bidi overrides), surrogate and separator character but the space
    if text and text.isprintable() and _QUOTED.isdisjoint(text):
        return text
    return _json(text)


def _printable(line: str) -> str:
    return line if line.isprintable() else _json(line)[1:-1]


def _json(value: object) -> str:
    # DEL is the one control character JSON lets stand
    return json.dumps(value, default=str).replace("\x7f", "\\u007f")
