"""The corpus: raw requests, one file each, with the reaction they must meet and why.

The format is described in `tests/corpus/README.md`; sending the cases anywhere is the tests' work.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parent.parent / "corpus"

EXPECTATIONS = frozenset({"forward", "reject400", "either"})

_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|(.))", re.DOTALL)
_SHORT = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@attrs.frozen
class Reading:
    """What one request must be read as."""

    method: bytes
    target: bytes
    body: bytes


@attrs.frozen
class Case:
    """One file of the corpus.

    `expect` is `forward` (an upstream must see `readings`, and `fields` in the first of them), `reject400` (a 4xx or 5xx
    answer and a close; no upstream sees a complete request but `readings`) or `either`. `rejected_after` is a `forward` whose
    bytes behind the readings must be refused. With `half_close` the client sends FIN behind `raw`.
    """

    name: str
    raw: bytes
    expect: str
    why: str
    readings: tuple[Reading, ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    rejected_after: bool = False

    @property
    def half_close(self) -> bool:
        """Whether the client sends FIN behind the bytes: what the name says."""
        return self.name.startswith("eof-")


def load_cases(kind: str = "http") -> list[Case]:
    """All cases of one folder of the corpus, by name. Raises ValueError, with the file's name, for one it cannot read."""
    return [parse_case(path.stem, path.read_bytes()) for path in sorted((CORPUS / kind).glob("*.txt"))]


def parse_case(name: str, text: bytes) -> Case:
    """A case from its file's bytes. Raises ValueError."""
    head, blank, raw = text.partition(b"\n\n")
    if not blank:
        raise ValueError(f"{name}: no blank line behind the keys")
    keys = list(_keys(name, head))
    expect, why = (_only(name, keys, key) for key in ("expect", "why"))
    if expect not in EXPECTATIONS:
        raise ValueError(f"{name}: expect: {expect} is none of {', '.join(sorted(EXPECTATIONS))}")
    return Case(
        name,
        unescape(raw.replace(b"\n", b"")),
        expect,
        why,
        tuple(_reading(name, value) for key, value in keys if key == "reads"),
        tuple(_field(name, value) for key, value in keys if key == "field"),
        any(key == "then" for key, _ in keys),
    )


def unescape(text: bytes) -> bytes:
    r"""The bytes that text stands for: `\r`, `\n`, `\t`, `\\`, `\xNN`. Raises ValueError for another escape."""

    def octet(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes.fromhex(match[1].decode())
        if match[2] not in _SHORT:
            raise ValueError(f"unknown escape {match[0]!r}")
        return _SHORT[match[2]]

    return _ESCAPE.sub(octet, text)


def _keys(name: str, head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.decode().split("\n"):
        key, colon, value = line.partition(":")
        if not colon or key not in {"expect", "why", "reads", "field", "then"}:
            raise ValueError(f"{name}: {line!r} is no key")
        if key == "then" and value.strip() != "reject400":
            raise ValueError(f"{name}: then: can only be reject400")
        yield key, value.strip()


def _only(name: str, keys: list[tuple[str, str]], wanted: str) -> str:
    values = [value for key, value in keys if key == wanted]
    if len(values) != 1:
        raise ValueError(f"{name}: {len(values)} lines of {wanted}:")
    return values[0]


def _reading(name: str, value: str) -> Reading:
    method, _, rest = value.partition(" ")
    target, _, body = rest.partition(" ")
    if not target:
        raise ValueError(f"{name}: reads: {value!r} is not METHOD TARGET [BODY]")
    return Reading(method.encode(), target.encode(), unescape(body.encode()))


def _field(name: str, value: str) -> tuple[bytes, bytes]:
    field, colon, content = value.partition(":")
    if not colon:
        raise ValueError(f"{name}: field: {value!r} is not NAME: VALUE")
    return field.encode(), unescape(content.strip().encode())
