"""The effective settings as TOML that loads again to an equal `Config`, each with its sentence of documentation.

It writes only; that every value has a form here follows from the types in `config`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from trioproxy.config import DOC, Config, PoolConfig

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def show_config(config: Config) -> str:
    """The whole configuration, defaults filled in, as a TOML text."""
    lines: list[str] = []
    for field in attrs.fields(Config):
        value = getattr(config, field.name)
        if isinstance(value, Mapping):
            for name, pool in value.items():
                lines += _table(f"pools.{toml_key(name)}", pool)
        elif isinstance(value, tuple):
            for item in value:
                lines += _table(field.name, item, "[[{}]]")
        else:
            lines += _table(field.name, value)
    return "\n".join(lines).lstrip("\n") + "\n"


def _table(name: str, settings: Any, header: str = "[{}]") -> Iterator[str]:
    yield ""
    yield header.format(name)
    inner: list[str] = []
    for field in attrs.fields(type(settings)):
        value = getattr(settings, field.name)
        if attrs.has(type(value)) and attrs.has(field.type):
            inner += _table(f"{name}.{field.name}", value)
        elif value is not None and (type(settings), field.name) != (PoolConfig, "name"):
            yield f"{_setting(field.name, value)}  # {field.metadata[DOC]}"
    yield from inner


def _setting(name: str, value: Any) -> str:
    if isinstance(value, tuple) and any(attrs.has(type(item)) for item in value):
        items = "".join(f"  {toml_value(item)},\n" for item in value)
        return f"{name} = [\n{items}]"
    return f"{name} = {toml_value(value)}"


def toml_value(value: Any) -> str:
    """A value as TOML writes it: strings, numbers, booleans, tuples and lists as arrays, mappings as inline tables."""
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(int(value)) if value == int(value) else repr(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml_value(item) for item in value)}]"
    pairs = value.items() if isinstance(value, Mapping) else attrs.asdict(value, recurse=False).items()
    inner = ", ".join(f"{toml_key(name)} = {toml_value(item)}" for name, item in pairs)
    return f"{{ {inner} }}" if inner else "{}"


def toml_key(name: str) -> str:
    """A key, in quotes where it needs them."""
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, which wants DEL escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
