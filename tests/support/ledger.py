"""What the clients and upstreams of a test counted themselves, under the names and labels of the proxy's metrics.

Filled in by those who send and receive; it knows nothing of how the proxy counts.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

import attrs
from support.frames import CLOSE, MASK, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    Keep = Callable[[Mapping[str, str]], bool]

OPCODES = {0: "continuation", 1: "text", 2: "binary", 3: "other", 8: "close", 9: "ping", 10: "pong"}
T = TypeVar("T")
Key = tuple[str, frozenset[tuple[str, str]]]


def every(_: Mapping[str, str]) -> bool:
    """Keeps all series."""
    return True


@attrs.frozen
class Span:
    """A value the proxy measured and the test saw from outside: not less than `low`, not more than `high`."""

    low: float
    high: float


@attrs.define(eq=False)
class Ledger:
    """Amounts by metric (without the prefix `trioproxy_`) and labels, and spans of what histograms observe."""

    amounts: dict[Key, float] = attrs.Factory(lambda: defaultdict(float))
    spans: dict[Key, list[Span]] = attrs.Factory(lambda: defaultdict(list))

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        self.amounts[name, frozenset(labels.items())] += n

    def observe(self, name: str, low: float, high: float | None = None, **labels: str) -> None:
        """Without `high` the value is known exactly."""
        self.spans[name, frozenset(labels.items())].append(Span(low, low if high is None else high))

    def take(self) -> Ledger:
        """What was entered so far; this one is empty then."""
        taken = Ledger(self.amounts.copy(), self.spans.copy())
        self.amounts.clear()
        self.spans.clear()
        return taken

    def by(self, names: Iterable[str], name: str, keep: Keep = every, **labels: str) -> dict[tuple[str, ...], float]:
        """The values of these labels → the sums over all series that have at least `labels` and that `keep` wants."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for key, amount in _matching(self.amounts, names, name, keep, labels):
            sums[key] += amount
        return dict(sums)

    def seen(
        self, names: Iterable[str], name: str, keep: Keep = every, **labels: str
    ) -> dict[tuple[str, ...], list[Span]]:
        """As `by`: all spans."""
        found: dict[tuple[str, ...], list[Span]] = defaultdict(list)
        for key, spans in _matching(self.spans, names, name, keep, labels):
            found[key] += spans
        return dict(found)


def _matching(
    found: Mapping[Key, T], names: Iterable[str], name: str, keep: Keep, labels: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], T]]:
    names = tuple(names)
    for (metric, own), what in found.items():
        mine = dict(own)
        if metric == name and labels.items() <= mine.items() and keep(mine):
            yield tuple(mine.get(each, "") for each in names), what


@attrs.define(eq=False)
class SentFrames:
    """Enters what one end of a tunnel sends, frame by frame."""

    ledger: Ledger
    pool: str
    upstream: str
    direction: str
    broken: bool = False  # a rule was: from that frame on only octets are counted
    _octets: int = 0  # of the message under way

    def count(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        labels = {"pool": self.pool, "upstream": self.upstream, "direction": self.direction}
        mask = MASK if self.direction == "to_upstream" else None
        self.ledger.add("bytes_total", len(frame(opcode, payload, fin=fin, mask=mask)), **labels)
        if self.broken:
            return
        self.ledger.add("frames_total", **labels, opcode=OPCODES[opcode])
        if opcode < CLOSE:
            self._octets += len(payload)
            if fin:
                self.ledger.add("messages_total", **labels)
                self.ledger.observe("message_size_bytes", self._octets, pool=self.pool, direction=self.direction)
                self._octets = 0
