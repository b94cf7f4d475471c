"""What is said about an nginx file: a fate for every statement, and notes with their line.

It only keeps them; who decides is the module that knows the directive.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from trioproxy.nginx_import.statements import Place, Statement, one_line, walk

if TYPE_CHECKING:
    from collections.abc import Iterable


class Fate(enum.IntEnum):
    """What becomes of a statement; the higher one wins where several are given."""

    HARMLESS = 1  # nothing is lost without it
    CONVERTED = 2
    LEFT_OVER = 3
    MISTAKE = 4  # nginx itself would refuse it


class Kind(enum.StrEnum):
    """What a note is about; the word it begins with."""

    MISTAKE = "mistake"
    LEFT_OVER = "left over"
    WARNING = "warning"  # nginx takes it, but it does not do what it seems to
    DIFFERENCE = "difference"
    HARMLESS = "harmless"


class Meaning(enum.StrEnum):
    """Where trioproxy means something else than nginx; every note of Kind.DIFFERENCE has one."""

    SEGMENTS = "segments"  # /websocket also matches /websocketx in nginx
    SLASH_REDIRECT = "slash-redirect"  # nginx redirects /ws to a location /ws/
    SEAM = "seam"  # proxy_pass with a URI: a slash lost or doubled
    UPGRADE = "upgrade"  # a WebSocket handshake works here where it does not in nginx
    CONNECTION = "connection"  # of plain requests
    HOST_PORT = "host-port"
    TRAILERS = "trailers"  # of answers: for whom
    FORWARDED = "forwarded"  # X-Forwarded-* and X-Real-IP that a client sent itself
    REGEX = "regex"  # a location by regular expression became a path
    NO_ROUTE = "no-route"  # 404 where nginx answers otherwise
    ERROR_PAGE = "error-page"
    IDLE = "idle"  # how long a silent tunnel stays open
    SHARED = "shared"  # a setting that is one for the whole proxy, or for a whole pool
    BALANCE = "balance"
    PASSIVE = "passive"  # who is out for how long after failures
    NAMES = "names"  # server_name
    VERIFY = "verify"  # an upstream's certificate, which nginx does not look at unless it is told to


@attrs.frozen
class Note:
    """One line for the user."""

    place: Place
    kind: Kind
    message: str
    meaning: Meaning | None = None

    def __str__(self) -> str:
        about = f" ({self.meaning})" if self.meaning is not None else ""
        return one_line(f"{self.place}: {self.kind}{about}: {self.message}")


@attrs.define(eq=False)
class Notes:
    """Everything said so far."""

    _notes: dict[Note, None] = attrs.field(factory=dict, init=False)  # an ordered set: nothing is said twice
    _said: set[Meaning] = attrs.field(factory=set, init=False)
    _fates: dict[Statement, Fate] = attrs.field(factory=dict, init=False)

    def converted(self, *statements: Statement | None) -> None:
        """These have their counterpart; None is passed over."""
        for statement in statements:
            if statement is not None:
                self._settle(statement, Fate.CONVERTED)

    def harmless(self, statement: Statement, reason: str) -> None:
        """Nothing is lost without it and what its block holds."""
        for each in walk([statement]):
            self._settle(each, Fate.HARMLESS)
        self._add(statement.place, Kind.HARMLESS, f"{statement}: {reason}")

    def left_over(self, statement: Statement, reason: str, but: Iterable[Statement] = ()) -> None:
        """It has no counterpart, nor has what its block holds, but for these."""
        kept = set(walk(but))
        for each in walk([statement]):
            if each not in kept:
                self._settle(each, Fate.LEFT_OVER)
        self._add(statement.place, Kind.LEFT_OVER, f"{statement}: {reason}")

    def mistake(self, statement: Statement, message: str) -> None:
        """For this statement nginx refuses the file."""
        self._settle(statement, Fate.MISTAKE)
        self.mistake_at(statement.place, message)

    def mistake_at(self, place: Place, message: str) -> None:
        """For what stands there nginx refuses the file."""
        self._add(place, Kind.MISTAKE, message)

    def warning(self, statement: Statement, message: str) -> None:
        """It does not do what it seems to, though nginx takes it."""
        self._add(statement.place, Kind.WARNING, message)

    def difference(self, statement: Statement, meaning: Meaning, message: str) -> None:
        """It was converted to something that is not quite the same."""
        self._add(statement.place, Kind.DIFFERENCE, message, meaning)

    def general(self, statement: Statement, meaning: Meaning, message: str) -> None:
        """A difference that is the same wherever it occurs: said once, at its first place."""
        if meaning not in self._said:
            self._said.add(meaning)
            self.difference(statement, meaning, message)

    def fate(self, statement: Statement) -> Fate | None:
        """What became of it; None while nobody has decided."""
        return self._fates.get(statement)

    def undecided(self, statements: Iterable[Statement]) -> list[Statement]:
        """Those of the tree without a fate yet."""
        return [statement for statement in walk(statements) if statement not in self._fates]

    @property
    def decided(self) -> frozenset[Statement]:
        """All statements with a fate."""
        return frozenset(self._fates)

    @property
    def all(self) -> list[Note]:
        """All notes by file and line."""
        return sorted(self._notes, key=lambda note: note.place)

    def of(self, kind: Kind) -> list[Note]:
        """The notes of one kind by file and line."""
        return [note for note in self.all if note.kind is kind]

    def count(self, fate: Fate) -> int:
        """How many statements have this fate."""
        return sum(each is fate for each in self._fates.values())

    def _settle(self, statement: Statement, fate: Fate) -> None:
        self._fates[statement] = max(fate, self._fates.get(statement, fate))

    def _add(self, place: Place, kind: Kind, message: str, meaning: Meaning | None = None) -> None:
        self._notes.setdefault(Note(place, kind, message, meaning))
