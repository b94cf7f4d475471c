"""A line of those who wait for a lease, first come first served, also where several processes have a part of it.

Pure: who joins, what a lease is and how long anybody may wait is `queueing`'s work.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# How long room is left to who has waited for longer in another process: some looks of that one, also on a busy machine.
GRACE_SECONDS: Final = 0.05

W = TypeVar("W")


@attrs.frozen
class _Place:
    came: int
    picky: bool


@attrs.define(eq=False)
class Line(Generic[W]):
    """This process's part of the line, in the order of coming.

    When somebody came is a number above 0 that grows, the same for all processes; who came elsewhere by no more than
    `slack` before counts as having come at once. Times are seconds of one clock.
    """

    slack: int = 0
    # What leaves a plain dict at its front stays in the way of who looks for the first: 30,000 that go took 0.7 s.
    _places: OrderedDict[W, _Place] = attrs.field(factory=OrderedDict, init=False)
    _yields_since: float | None = attrs.field(default=None, init=False)
    _passed: set[int] = attrs.field(
        factory=set, init=False
    )  # of other processes, who did not use what was left to them

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[W]:
        return iter(self._places)

    @property
    def first(self) -> W | None:
        """Who has waited for longest here."""
        return next(iter(self._places), None)

    @property
    def head(self) -> int:
        """When that one came; 0 where nobody waits."""
        return next((place.came for place in self._places.values()), 0)

    def join(self, waiter: W, came: int, *, picky: bool) -> None:
        """Wait, from now on; `picky` is who would not take everything that others take."""
        self._places[waiter] = _Place(came, picky)

    def leave(self, waiter: W) -> None:
        """Wait no longer, for whatever reason."""
        del self._places[waiter]

    def turn(self, now: float, heads: Iterable[int], room: Callable[[W], bool]) -> W | None:
        """Whose turn it is, given the `head` of every other process; None where there is no room for anybody.

        For some moments room is left to who came before, elsewhere. Who does not take it then, because that process
        stands still, is waited for no more.
        """
        for waiter, place in self._places.items():
            if room(waiter):
                return None if self._yields(now, place.came, heads) else waiter
            if not place.picky:
                break  # nor is there for who takes less
        self._yields_since = None
        return None

    def _yields(self, now: float, came: int, heads: Iterable[int]) -> bool:
        older = {head for head in heads if 0 < head < came - self.slack}
        self._passed &= older
        if not older - self._passed:
            self._yields_since = None
            return False
        if self._yields_since is None:
            self._yields_since = now
        if now - self._yields_since < GRACE_SECONDS:
            return True
        self._passed, self._yields_since = older, None
        return False
