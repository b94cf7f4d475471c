"""Values as nginx writes them: times, sizes, addresses, variables.

Pure functions over text; which directive takes which value is elsewhere.
"""

from __future__ import annotations

import re
from typing import Final

_SECONDS: Final = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 7 * 86400,
    "M": 30 * 86400,
    "y": 365 * 86400,
}
_BYTES: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_TIME = re.compile(r"(?:[0-9]{1,12}(?:ms|[smhdwMy]?) *)+")
_TIME_PART = re.compile(r"([0-9]+)(ms|[smhdwMy]?)")
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


def seconds(text: str) -> float | None:
    """`90`, `90s`, `1m30s`, `500ms` in seconds (ngx_parse_time); None for anything else."""
    if not _TIME.fullmatch(text):
        return None
    return sum(int(number) * _SECONDS[unit or "s"] for number, unit in _TIME_PART.findall(text))


def size(text: str) -> int | None:
    """`100`, `64k`, `10m` in bytes (ngx_parse_size); None for anything else."""
    found = _SIZE.fullmatch(text)
    return int(found[1]) * _BYTES[found[2].lower()] if found else None


def whole(text: str) -> int | None:
    """A number without sign or unit; None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None  # noqa: PLR2004 - no real one


def split_address(text: str) -> tuple[str, int | None]:
    """Host (IPv6 in brackets) and port of `host`, `host:port`, `[::1]:port`; None where no port is named."""
    host, colon, port = text.rpartition(":")
    if colon and _PORT.fullmatch(port) and not (host.startswith("[") and not host.endswith("]")):
        return host, int(port)
    return text, None


def looks_like_address(text: str) -> bool:
    """Whether this can only be meant as a server: an IP address, something with a port, or a socket."""
    host, port = split_address(text)
    return port is not None or text.startswith(("unix:", "[")) or bool(re.fullmatch(r"[0-9]+(\.[0-9]+){3}", host))


def variables(text: str) -> list[str]:
    """The names of the variables in a text, in order: `$host`, `${host}`."""
    return [braced or plain for braced, plain in _VARIABLE.findall(text)]


def substitute(text: str, known: dict[str, str]) -> str:
    """The text with the variables in `known` replaced; the others stay."""

    def replace(found: re.Match[str]) -> str:
        return known.get(found[1] or found[2], found[0])

    return _VARIABLE.sub(replace, text)


def size_words(octets: int) -> int | str:
    """A number of bytes as config.toml likes it: `"64 KiB"` where it is even, else the number."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if octets and octets % factor == 0:
            return f"{octets // factor} {unit}"
    return octets


def number(value: float) -> int | float:
    """Without decimals where there are none: 60, not 60.0."""
    return int(value) if value == int(value) else round(value, 3)
