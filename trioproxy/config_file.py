"""From a TOML file to a `Config`, or to every problem of it at once, each with its line, key and what was expected.

Here is the order of the steps; reading values is `config_structure`'s work, what holds between them `config_checks`',
the place of a key `config_lines`'.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trioproxy.config import Config
from trioproxy.config_checks import check
from trioproxy.config_converter import make_converter
from trioproxy.config_lines import KeyPath, line_index, line_of
from trioproxy.config_structure import Problem, inherit, structure

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r" \(at (?:line (?P<line>[0-9]+), column (?P<column>[0-9]+)|end of document)\)$")


class ConfigError(ValueError):
    """A configuration that cannot be used; `problems` has a line for each mistake, in the order of the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a file; blocks. Raises ConfigError also for a file that cannot be read."""
    return parse_config(read_text(path), os.fspath(path))


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a TOML file; blocks. Raises ConfigError for one that cannot be read or is not UTF-8."""
    filename = os.fspath(path)
    try:
        content = Path(filename).read_bytes()
    except OSError as error:
        raise ConfigError([f"{filename}: cannot be read: {error.strerror}"]) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([f"{filename}:{line}: expected UTF-8, got byte 0x{error.object[error.start]:02x}"]) from None


def parse_config(text: str, filename: str) -> Config:
    """Check the text of a file; `filename` is for messages and for what relative paths are relative to.

    Raises ConfigError.
    """
    with nesting_bounded(filename):
        raw = parse_toml(text, filename)
        config, problems = structure(raw, Config, make_converter(folder_of(filename)))
        problems += check(config, problems)
        if problems:
            raise located(problems, text, filename)
        return inherit(config, raw)


@contextmanager
def nesting_bounded(filename: str) -> Iterator[None]:
    """Around reading and checking: what is nested too deeply is a problem of the file."""
    try:
        yield
    except RecursionError:
        raise ConfigError([f"{filename}:1: expected less nesting, got more than can be read"]) from None


def parse_toml(text: str, filename: str) -> dict[str, Any]:
    """What `tomllib` makes of it; raises ConfigError with the line where it is no TOML."""
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError([_syntax_problem(error, text, filename)]) from None


def folder_of(filename: str) -> str:
    """What relative paths in the file are relative to."""
    return str(Path(filename).absolute().parent)


def located(problems: Iterable[Problem], text: str, filename: str) -> ConfigError:
    """The problems with the lines where they stand in the text, in that order."""
    lines = line_index(text)
    found = sorted((line_of(lines, problem.path), at, problem) for at, problem in enumerate(problems))
    return ConfigError(
        [f"{filename}:{line}: {key_path(problem.path)}: {problem.message}" for line, _, problem in found]
    )


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
