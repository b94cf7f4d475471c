"""Configurations for the tests: the smallest useful file plus what a test says about it, as TOML text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Table = dict[str, Any]


def toml(tables: Mapping[str, Any]) -> str:
    """TOML for nested dicts, lists of dicts, and plain values: strings in inline tables never need escapes here."""
    lines: list[str] = []
    _table(lines, "", tables)
    return "\n".join(lines) + "\n"


def _table(lines: list[str], path: str, table: Mapping[str, Any]) -> None:
    deeper = {key: value for key, value in table.items() if isinstance(value, dict) or _is_tables(value)}
    if path and len(deeper) < len(table):
        lines.append(f"[{path}]")
    _plain(lines, table, deeper)
    for key, value in deeper.items():
        inner = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            _table(lines, inner, value)
            continue
        for entry in value:
            lines.append(f"[[{inner}]]")
            _plain(lines, entry, {k: v for k, v in entry.items() if isinstance(v, dict)})
            for name, sub in entry.items():
                if isinstance(sub, dict):
                    _table(lines, f"{inner}.{name}", sub)


def _plain(lines: list[str], table: Mapping[str, Any], deeper: Mapping[str, Any]) -> None:
    lines += [f"{key} = {_value(value)}" for key, value in table.items() if key not in deeper]


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + ", ".join(_value(entry) for entry in value) + "]"
        case dict():
            return "{ " + ", ".join(f'"{key}" = {_value(entry)}' for key, entry in value.items()) + " }"
    return str(value)


def settings(
    upstreams: Sequence[str | Table],
    *,
    pool: Table | None = None,
    health: Table | None = None,
    route: Table | None = None,
    listener: Table | None = None,
    **tables: Table,
) -> Table:
    """One listener on a free port, one route, one pool called "backend"; `tables` are top-level ones such as `limits`.

    Upstreams are named in one inline list; ones with settings of their own are dicts.
    """
    return {
        "admin": {"address": "127.0.0.1:0"},
        "log": {"format": "json", "level": "debug"},
        "server": {"drain": {"spread": 0.2, "timeout": 3}},
        **tables,
        "listeners": [{"name": "public", "address": "127.0.0.1:0", **(listener or {})}],
        "routes": [{"name": "all", "path": "/", "pool": "backend", **(route or {})}],
        "pools": {
            "backend": {
                "upstreams": list(upstreams),
                **(pool or {}),
                "health": {"probe": "none", **(health or {})},
            }
        },
    }
