"""The corpus: raw requests and raw answers, one file each, with the reaction they must meet and why.

The format is described in `tests/corpus/README.md`; sending the cases anywhere is the tests' work.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

CORPUS = Path(__file__).parent.parent / "corpus"

EXPECTATIONS = frozenset({"forward", "reject400", "either"})
KEYS = frozenset({"expect", "why", "rule", "status", "reads", "field", "absent", "then"})

ANSWER_EXPECTATIONS = frozenset({"pass", "refuse502", "cut", "wait", "tunnel"})
ANSWER_KEYS = frozenset(
    {"expect", "why", "rule", "to", "ends", "gets", "interim", "field", "absent", "trailer", "kept"}
)
ASKED = frozenset({"GET", "HEAD", "POST", "HTTP/1.0", "websocket", "trailers"})
ENDS = frozenset({"open", "fin", "reset"})

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
    bytes behind the readings must be refused. With `half_close` the client sends FIN behind `raw`. `rules` are the rows of
    docs/reference/protocol.md that it shows. `absent` fields must not go on to the upstream, in any request. `status` is what
    this proxy refuses with, where the case says so; another may have another.
    """

    name: str
    raw: bytes
    expect: str
    why: str
    readings: tuple[Reading, ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    rejected_after: bool = False
    rules: tuple[str, ...] = ()
    absent: tuple[bytes, ...] = ()
    status: int | None = None

    @property
    def half_close(self) -> bool:
        """Whether the client sends FIN behind the bytes: what the name says."""
        return self.name.startswith("eof-")


@attrs.frozen
class AnswerCase:
    """One file of answers: what an upstream sends behind a whole request.

    `asked` is the request it answers, `ends` what the upstream does behind `raw`: leaves the connection open, or ends it.
    `expect` is `pass` (the client gets `status` and `body`, whole, behind the `interim` ones, with `fields` and without
    `absent`, and these `trailers` and no others), `cut` (the same, but the end is seen to be none), `wait` (the same, and nothing more comes), `refuse502`, or
    `tunnel` (`body` are the bytes behind the 101). `kept` is whether the upstream's connection may carry another request.
    """

    name: str
    raw: bytes
    expect: str
    why: str
    rules: tuple[str, ...] = ()
    asked: str = "GET"
    ends: str = "open"
    status: int = 502
    body: bytes = b""
    interim: tuple[int, ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    absent: tuple[bytes, ...] = ()
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    kept: bool = False


def load_cases(kind: str = "http") -> list[Case]:
    """All requests of the corpus, by name. Raises ValueError, with the file's name, for one it cannot read."""
    return [parse_case(path.stem, path.read_bytes()) for path in _files(kind)]


def load_answers(kind: str = "answers") -> list[AnswerCase]:
    """All answers of the corpus, by name. Raises ValueError, with the file's name, for one it cannot read."""
    return [parse_answer(path.stem, path.read_bytes()) for path in _files(kind)]


def parse_case(name: str, text: bytes) -> Case:
    """A request's case from its file's bytes. Raises ValueError."""
    keys, raw = _split(name, text, KEYS)
    expect, why = (keys.only(key) for key in ("expect", "why"))
    status = keys.at_most_one("status", "")
    return Case(
        name,
        raw,
        keys.one_of("expect", expect, EXPECTATIONS),
        why,
        tuple(_reading(name, value) for value in keys.all("reads")),
        tuple(_field(name, value) for value in keys.all("field")),
        keys.at_most_one("then", "") != "" and bool(keys.one_of("then", keys.only("then"), {"reject400"})),
        tuple(keys.all("rule")),
        tuple(value.encode() for value in keys.all("absent")),
        int(status) if status else None,
    )


def parse_answer(name: str, text: bytes) -> AnswerCase:
    """An answer's case from its file's bytes. Raises ValueError."""
    keys, raw = _split(name, text, ANSWER_KEYS)
    expect, why = (keys.only(key) for key in ("expect", "why"))
    status, _, body = keys.at_most_one("gets", "502").partition(" ")
    if (expect == "refuse502") == bool(keys.all("gets")):
        raise ValueError(f"{name}: gets: what the client gets is said of every answer but one that is refused")
    return AnswerCase(
        name,
        raw,
        keys.one_of("expect", expect, ANSWER_EXPECTATIONS),
        why,
        tuple(keys.all("rule")),
        keys.one_of("to", keys.at_most_one("to", "GET"), ASKED),
        keys.one_of("ends", keys.at_most_one("ends", "open"), ENDS),
        int(status),
        unescape(body.encode()),
        tuple(int(value) for value in keys.all("interim")),
        tuple(_field(name, value) for value in keys.all("field")),
        tuple(value.encode() for value in keys.all("absent")),
        tuple(_field(name, value) for value in keys.all("trailer")),
        keys.one_of("kept", keys.at_most_one("kept", "no"), {"yes", "no"}) == "yes",
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


@attrs.frozen
class _Keys:
    """The lines above a case's blank line."""

    name: str
    lines: tuple[tuple[str, str], ...]

    def all(self, wanted: str) -> list[str]:
        return [value for key, value in self.lines if key == wanted]

    def only(self, wanted: str) -> str:
        values = self.all(wanted)
        if len(values) != 1:
            raise ValueError(f"{self.name}: {len(values)} lines of {wanted}:")
        return values[0]

    def at_most_one(self, wanted: str, default: str) -> str:
        return self.only(wanted) if self.all(wanted) else default

    def one_of(self, key: str, value: str, choices: Collection[str]) -> str:
        if value not in choices:
            raise ValueError(f"{self.name}: {key}: {value} is none of {', '.join(sorted(choices))}")
        return value


def _files(kind: str) -> list[Path]:
    return sorted((CORPUS / kind).glob("*.txt"))


def _split(name: str, text: bytes, allowed: Collection[str]) -> tuple[_Keys, bytes]:
    head, blank, raw = text.partition(b"\n\n")
    if not blank:
        raise ValueError(f"{name}: no blank line behind the keys")
    lines = []
    for line in head.decode().split("\n"):
        key, colon, value = line.partition(":")
        if not colon or key not in allowed:
            raise ValueError(f"{name}: {line!r} is no key")
        lines.append((key, value.strip()))
    return _Keys(name, tuple(lines)), unescape(raw.replace(b"\n", b""))


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
