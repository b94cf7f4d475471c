"""The open tunnels as far as they were listed, and how busy each is. Pure.

Asking for the list, page by page, is `following`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@attrs.frozen
class Listed:
    """A tunnel as the API lists it, and what it carried a second, both ways, between the last two looks at it."""

    row: Mapping[str, Any]
    messages: float
    bytes: float
    round: int


SORTS: Final[Mapping[str, Callable[[Listed], float]]] = {
    "bytes": lambda listed: listed.bytes,
    "messages": lambda listed: listed.messages,
    "age": lambda listed: listed.row["age"],
    "idle": lambda listed: listed.row["idle"],
}


@attrs.define(eq=False)
class Tunnels:
    """All tunnels, of which each page shows some: a round has come through them all. `total` is how many there are."""

    total: int = 0
    _known: dict[str, Listed] = attrs.field(factory=dict, init=False)
    _round: int = attrs.field(default=0, init=False)

    def take(self, total: int, rows: Sequence[Mapping[str, Any]], *, last: bool) -> None:
        """One page, `last` of its round: whatever was not listed in that has ended."""
        self.total = total
        for row in rows:
            before = self._known.get(row["id"])
            # By the proxy's clock; of a tunnel not seen before, since it was opened
            seconds = row["age"] - (before.row["age"] if before else 0.0)
            messages, octets = (
                _grown(row, before, what) / seconds if seconds > 0 else 0.0 for what in ("messages", "bytes")
            )
            self._known[row["id"]] = Listed(row, messages, octets, self._round)
        if last:
            self._known = {name: listed for name, listed in self._known.items() if listed.round == self._round}
            self._round += 1

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """It may be another process that is asked next."""
        self._known.clear()
        self.total = 0

    def most(self, sort: str, count: int) -> list[Listed]:
        """Those that have most of what is sorted by (of SORTS)."""
        return sorted(self._known.values(), key=SORTS[sort], reverse=True)[:count]


def _grown(row: Mapping[str, Any], before: Listed | None, what: str) -> float:
    now: float = sum(row[what].values())
    return now - (sum(before.row[what].values()) if before else 0)
