"""The rules values of the configuration keep: each a strict reader of one TOML value and the words for what it expects.

Pure, and about single values only: which setting keeps which rule stands in `config`, what must hold between settings
in `config_checks`.
"""

import difflib
import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

import attrs

from trioproxy import config_syntax as syntax

LARGEST_COUNT = 2**31 - 1  # a C int: what the system calls that take counts can carry
LARGEST_SIZE = 2**63 - 1  # a signed 64-bit counter
LARGEST_SECONDS = 1e9  # thirty years: far above any use, far below where sums of floats lose milliseconds
LONGEST_QUOTE = 60  # of a wrong value in a message: enough to recognise it

_SIZE = re.compile(r"(?P<number>[0-9]{1,19}) ?(?P<unit>B|KiB|MiB|GiB)")
_NEARLY_SIZE = re.compile(r"\s*(?P<number>[0-9]{1,19})\s*(?P<unit>[kmg]?)i?b?\s*", re.IGNORECASE)
_UNITS: Final = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class Unfit(ValueError):  # noqa: N818 - a value is unfit; the error a user sees is ConfigError
    """A value that breaks a rule: what the rule expects, what stood there, and what may have been meant."""

    def __init__(self, expected: str, value: object, meant: str | None = None) -> None:
        super().__init__(expected)
        self.expected = expected
        self.got = describe(value)
        self.meant = meant


@attrs.frozen
class Rule:
    """One strict reader; `read` takes what `tomllib` made and returns the setting's value, or raises `Unfit`.

    `path_after`: behind this prefix stands a path, relative to the configuration file's folder; None: no path.
    """

    expected: str
    read: Callable[[object], Any]
    path_after: str | None = None


def describe(value: object) -> str:
    """A TOML value in a few words for a message: scalars as they are written, at most `LONGEST_QUOTE` characters."""
    match value:
        case bool():
            words = "true" if value else "false"
        case int() if abs(value) > LARGEST_SIZE:
            words = "a huge number"  # str() of more than 4300 digits raises
        case int() | float():
            words = str(value)
        case str():
            quoted = json.dumps(value, ensure_ascii=False)
            shown = quoted if quoted.isprintable() else json.dumps(value)
            words = shown if len(shown) <= LONGEST_QUOTE else f'{shown[: LONGEST_QUOTE - 4]}..."'
        case list():
            words = "a list" if value else "an empty list"
        case dict():
            words = "a table"
        case _:
            words = "a date or time"
    return words


def closest(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` that `word` was probably meant to be, if any is near enough."""
    by_folded = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1)
    return by_folded[found[0]] if found else None


def flag() -> Rule:
    """A boolean, and nothing that looks like one."""
    expected = "true or false"

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise Unfit(expected, value)
        return value

    return Rule(expected, read)


def whole(low: int, high: int = LARGEST_COUNT) -> Rule:
    """A whole number between two bounds, both included; `true` and `3.0` are none."""
    expected = f"a whole number, {low} or more" if high >= LARGEST_COUNT else f"a whole number from {low} to {high}"

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise Unfit(expected, value)
        if value > high:
            raise Unfit(f"a whole number from {low} to {high}", value)
        return value

    return Rule(expected, read)


def number(what: str, *, above: float | None = None) -> Rule:
    """A finite number from 0 (or above `above`) as a float; whole numbers are taken, `true` is not."""
    expected = f"{what} above {above:g}" if above is not None else f"{what}, 0 or more"

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Unfit(expected, value)
        if not value >= 0 or (above is not None and value <= above):  # "not >=" refuses nan, too
            raise Unfit(expected, value)
        if value > LARGEST_SECONDS:
            raise Unfit(f"{what} up to {LARGEST_SECONDS:.0f}", value)
        return float(value)

    return Rule(expected, read)


def size(low: int) -> Rule:
    """Bytes, as a whole number or as a string of a whole number and a unit; read as a number of bytes."""
    expected = f'a whole number of bytes, {low} or more, or a string such as "64 KiB"'

    def read(value: object) -> int:
        size_in_bytes: object = value
        if isinstance(value, str):
            parts = _SIZE.fullmatch(value)
            if parts is None:
                raise Unfit(expected, value, _size_meant(value))
            size_in_bytes = int(parts["number"]) * _UNITS[parts["unit"]]
        if isinstance(size_in_bytes, bool) or not isinstance(size_in_bytes, int):
            raise Unfit(expected, value)
        if not low <= size_in_bytes <= LARGEST_SIZE:
            raise Unfit(expected, value)
        return size_in_bytes

    return Rule(expected, read)


def _size_meant(text: str) -> str | None:
    parts = _NEARLY_SIZE.fullmatch(text)
    if parts is None:
        return None
    unit = f"{parts['unit'].upper()}iB" if parts["unit"] else "B"
    return json.dumps(f"{parts['number']} {unit}")


def choice(*values: str) -> Rule:
    """One of two or more words."""
    *others, last = (json.dumps(value) for value in values)
    expected = f"{', '.join(others)} or {last}"

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Unfit(expected, value)
        if value not in values:
            meant = closest(value, values)
            raise Unfit(expected, value, json.dumps(meant) if meant else None)
        return value

    return Rule(expected, read)


def text(expected: str, fits: Callable[[str], object], *, empty: bool = False, path_after: str | None = None) -> Rule:
    """A string for which `fits` is true (or that is empty, where `empty` allows it)."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise Unfit(expected, value)
        if not ((empty and not value) or fits(value)):
            raise Unfit(expected, value)
        return value

    return Rule(expected, read, path_after)


def hidden(rule: Rule) -> Rule:
    """The same rule for what may be secret: what was wrong is told without the value."""

    def read(value: object) -> Any:
        try:
            return rule.read(value)
        except Unfit as unfit:
            length = len(value) if isinstance(value, str) else 0
            unfit.got = f"something else ({length} characters, not shown)" if length else unfit.got
            raise

    return attrs.evolve(rule, read=read)


def lower(rule: Rule) -> Rule:
    """The same rule for what is compared without regard to case: read in lower case."""

    def read(value: object) -> str:
        found: str = rule.read(value)
        return found.lower()

    return Rule(rule.expected, read)


def network() -> Rule:
    """An IP network in CIDR form, one address, or `unix:` for whoever comes by a Unix socket."""
    expected = 'a network such as "10.0.0.0/8", an address or "unix:"'

    def refuse(value: object, meant: str | None = None) -> NoReturn:
        raise Unfit(expected, value, meant)

    def read(value: object) -> str:
        if not isinstance(value, str):
            refuse(value)
        if value == "unix:":
            return value
        try:
            found = ipaddress.ip_network(value, strict=False)
        except ValueError:
            refuse(value)
        if "/" in value and ipaddress.ip_address(value.partition("/")[0]) != found.network_address:
            refuse(value, json.dumps(str(found)))
        return value

    return Rule(expected, read)


def close_code() -> Rule:
    """A Close code that may be sent: never 1005, 1006, 1015, which stand for what was not received."""
    expected = "a Close code that may be sent (1000-1003, 1007-1009, 1011-1014, 3000-4999)"

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not syntax.is_close_code(value):
            raise Unfit(expected, value)
        return value

    return Rule(expected, read)
