"""From a TOML file to a `Config`, or to every problem of it at once, each with its line, key and what was expected.

Here is the order of the steps; reading values is `config_structure`'s work, what holds between them `config_checks`',
the place of a key `config_lines`'.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from trioproxy.config import Config
from trioproxy.config_checks import check
from trioproxy.config_lines import KeyPath, line_index, line_of
from trioproxy.config_structure import inherit, structure

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r" \(at (?:line (?P<line>[0-9]+), column (?P<column>[0-9]+)|end of document)\)$")


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` has a line for each mistake, in the order of the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a file; blocks. Raises ConfigError also for a file that cannot be read."""
    filename = os.fspath(path)
    try:
        content = Path(filename).read_bytes()
    except OSError as error:
        raise ConfigError([f"{filename}: cannot be read: {error.strerror}"]) from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{filename}:{line}: expected UTF-8, got byte 0x{error.object[error.start]:02x}"]) from None
    return parse_config(text, filename)


def parse_config(text: str, filename: str) -> Config:
    """Check the text of a file; `filename` is for messages and for what relative paths are relative to.

    Raises ConfigError.
    """
    try:
        return _parse(text, filename)
    except RecursionError:
        raise ConfigError([f"{filename}:1: expected less nesting, got more than can be read"]) from None


def _parse(text: str, filename: str) -> Config:
    try:
        raw = tomllib.loads(text)
    except ValueError as error:
        raise ConfigError([_syntax_problem(error, text, filename)]) from None
    config, problems = structure(raw, str(Path(filename).absolute().parent))
    problems += check(config, problems)
    if not problems:
        return inherit(config, raw)
    lines = line_index(text)
    found = sorted((line_of(lines, problem.path), at, problem) for at, problem in enumerate(problems))
    raise ConfigError([f"{filename}:{line}: {key_path(problem.path)}: {problem.message}" for line, _, problem in found])


def key_path(path: KeyPath) -> str:
    """A path as people write it: `routes[0].set_headers."X Env"`."""
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += f".{step}" if _BARE_KEY.fullmatch(step) else f".{_quoted(step)}"
    return words.removeprefix(".")


def _quoted(key: str) -> str:
    return ascii(key) if not key.isprintable() else f'"{key}"'


def _syntax_problem(error: ValueError, text: str, filename: str) -> str:
    reason = str(error)
    place: Any = _PLACE.search(reason)
    if place is None:  # int() of more digits than it takes
        return f"{filename}:1: not valid TOML: {reason}"
    line = int(place["line"]) if place["line"] else text.rstrip("\n").count("\n") + 1
    column = f" (column {place['column']})" if place["column"] else " (end of file)"
    return f"{filename}:{line}: not valid TOML: {reason[: place.start()]}{column}"
