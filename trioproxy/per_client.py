"""How many connections each client has open on each listener, over all processes.

What counts as one client is told in `addresses`; what happens to connections above the limit is `listening`'s work.
"""

from __future__ import annotations

from hashlib import blake2b
from threading import Lock
from typing import Final

import attrs

from trioproxy.addresses import client_key
from trioproxy.board import CLIENT_TABLE_CELLS

# A client's count stands in one of so many places: with 10,000 clients in a process, one in 10^8 finds them all taken,
# and is counted in this process alone.
WAYS: Final = 16
_SET: Final = 2 * WAYS  # cells: each place has a key and a count
_SETS: Final = CLIENT_TABLE_CELLS // _SET


@attrs.define(eq=False)
class PerClient:
    """Counts of this process, in `own` for the others to see, and what `others` have there; None where there are none.

    Each table has one writer and no lock. A claim stands before the others' are read, so the limit is never exceeded,
    whoever claims meanwhile; of two at the last place both may be refused.
    """

    own: memoryview | None = None
    others: tuple[memoryview, ...] = ()
    _open: dict[int, int] = attrs.field(factory=dict, init=False)  # by key
    _fence: Lock = attrs.field(factory=Lock, init=False)

    def claim(self, listener: str, client: str, most: int) -> int:
        """Count one connection more: a key to `release`, or 0 where that would be more than `most`.

        `client` is its IP address.
        """
        digest = blake2b(f"{listener} {client_key(client)}".encode(), digest_size=8).digest()
        key = int.from_bytes(digest, signed=True) or 1
        self._set(key, self._open.get(key, 0) + 1)
        if self.others:
            with self._fence:  # the same as in `board.Tally.claim`: the write is seen before the others' are read
                pass
        if self._open[key] + self._elsewhere(key) <= most:
            return key
        self.release(key)
        return 0

    def release(self, key: int) -> None:
        """Count it off again."""
        self._set(key, self._open[key] - 1)

    def _set(self, key: int, count: int) -> None:
        if count:
            self._open[key] = count
        else:
            del self._open[key]
        if self.own is None:
            return
        free = 0
        for at in _places(key):
            if self.own[at] == key:
                self.own[at + 1] = count
                return
            if not self.own[at + 1]:
                free = free or at + 1
        if free and count:
            self.own[free - 1] = key
            self.own[free] = count

    def _elsewhere(self, key: int) -> int:
        start = key % _SETS * _SET
        found = 0
        for table in self.others:
            cells = table[start : start + _SET].tolist()
            found += sum(cells[at + 1] for at in range(0, _SET, 2) if cells[at] == key)
        return found


def _places(key: int) -> range:
    start = key % _SETS * _SET
    return range(start, start + _SET, 2)
