"""What `top` shows: what came from the proxy, what is selected, what is being asked. Pure.

What it looks like is `view`'s business.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import attrs

from trioproxy.cli._top.tunnels import SORTS, Tunnels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLES: Final = 300
EVENTS: Final = 100


class Told(Enum):
    """What a key asks for that is not done here."""

    QUIT = "quit"
    SUSPEND = "suspend"


@attrs.frozen
class Command:
    """`drain` or `resume` for an upstream."""

    verb: str
    pool: str
    upstream: str


@attrs.define(eq=False)
class State:
    """All there is to show of the proxy at `address`. `trouble` says why nothing new comes, "" while it does."""

    address: str
    trouble: str = "connecting"
    said: str = ""  # what became of the last command
    sort: str = next(iter(SORTS))
    selected: tuple[str, str] | None = None  # pool and upstream
    question: Command | None = None  # to be confirmed
    tunnels: Tunnels = attrs.field(factory=Tunnels)
    samples: deque[Mapping[str, Any]] = attrs.field(factory=lambda: deque(maxlen=SAMPLES))
    events: deque[Mapping[str, Any]] = attrs.field(factory=lambda: deque(maxlen=EVENTS))

    @property
    def newest(self) -> Mapping[str, Any] | None:
        """The last sample there is."""
        return self.samples[-1] if self.samples else None

    @property
    def upstreams(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Those of all pools, each with the pool's name."""
        newest = self.newest
        return [(pool["name"], each) for pool in newest["pools"] for each in pool["upstreams"]] if newest else []

    def take(self, kind: str, document: Any) -> None:
        """What came: `history`, `sample`, `event` as the proxy tells them, a page of `tunnels`, `lost` or `said`."""
        match kind:
            case "history":
                self.trouble = ""
                self.samples = deque(document["samples"], SAMPLES)
                self.events = deque(document["events"], EVENTS)
                self.tunnels.forget()
            case "sample":
                self.trouble = ""
                self.samples.append(document)
            case "event":
                self.events.append(document)
            case "tunnels":
                total, rows, last = document
                self.tunnels.take(total, rows, last=last)
            case "lost":
                self.trouble = document
            case "said":
                self.said = document

    def press(self, key: str) -> Told | Command | None:
        """A key, by its name or character; returns what is to be done."""
        question, self.question = self.question, None
        if key in {"q", "ctrl-c"}:
            return Told.QUIT
        if key == "ctrl-z":
            return Told.SUSPEND
        self.said = ""
        if question is not None:
            self.said = "" if key == "y" else f"no {question.verb}"
            return question if key == "y" else None
        if key == "s":
            sorts = list(SORTS)
            self.sort = sorts[(sorts.index(self.sort) + 1) % len(sorts)]
        elif key in {"up", "k"}:
            self._select(-1)
        elif key in {"down", "j"}:
            self._select(1)
        elif key in {"d", "r"}:
            self._ask("drain" if key == "d" else "resume")
        return None

    def _select(self, step: int) -> None:
        names = [(pool, each["address"]) for pool, each in self.upstreams]
        if not names:
            self.selected = None
        elif self.selected in names:
            self.selected = names[(names.index(self.selected) + step) % len(names)]
        else:
            self.selected = names[0 if step > 0 else -1]

    def _ask(self, verb: str) -> None:
        if self.selected not in [(pool, each["address"]) for pool, each in self.upstreams]:
            self.said = f"which upstream to {verb}? select it with the arrow keys"
        else:
            self.question = Command(verb, *self.selected)
