"""Everything that was counted as it stood at one moment, series by series in the order of the table.

Counting is `registry`'s, how it is written for Prometheus `rendering`'s. What does not change from one moment to the
next (which series there are, and where on the board their cells stand) is kept in the catalogue.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, TypeAlias

import attrs

from trioproxy.metrics.table import ALL_METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trioproxy.board import Block

Labels: TypeAlias = tuple[str, ...]


@attrs.frozen
class Sample:
    """One series at one moment: its cells, or the value a source gave (already in the metric's unit)."""

    metric: Metric
    labels: Labels
    cells: tuple[int, ...]
    value: float | None = None


@attrs.define(eq=False)
class Entry:
    """One series as scrapes find it: in no block, where a source computes it, or in several, where processes share it.

    `text` is for who writes it down: what of that is the same every time.
    """

    metric: Metric
    labels: Labels
    places: list[tuple[int, int]] = attrs.field(factory=list)  # which block, and where in it
    text: str = ""


@attrs.frozen(eq=False)
class Reading:
    """Everything as it stood at one moment, copied; what is slow about it can be done later, piece by piece."""

    blocks: Sequence[Block]
    computed: Mapping[Entry, float]
    entries: Sequence[tuple[Metric, Sequence[Entry]]]  # of every metric there is

    def cells(self, entry: Entry) -> tuple[int, ...]:
        """The cells of a series, over all blocks that have it; none where it is not on the board, or was not yet."""
        found: tuple[int, ...] = ()
        for block, start in entry.places:
            if cells := self.blocks[block].cells(start, entry.metric.width):
                found = tuple(map(add, found, cells)) if found else cells
        return found

    def samples(self) -> list[Sample]:
        """One sample a series; what a source computed stands for the cells of its own."""
        samples = []
        for metric, entries in self.entries:
            for entry in entries:
                value = self.computed.get(entry)
                cells = self.cells(entry) if value is None else ()
                if cells or value is not None:
                    samples.append(Sample(metric, entry.labels, cells, value))
        return samples


@attrs.define(eq=False)
class Catalogue:
    """All series that scrapes ever found; columns of the board that are no metric's are left out."""

    _entries: Mapping[Metric, dict[Labels, Entry]] = attrs.field(
        factory=lambda: {metric: {} for metric in ALL_METRICS}, init=False
    )
    _metrics: Mapping[str, Metric] = attrs.field(
        factory=lambda: {metric.name: metric for metric in ALL_METRICS}, init=False
    )
    _seen: dict[int, int] = attrs.field(factory=dict, init=False)  # how many series of each block are in it

    def read(self, blocks: Sequence[Block], computed: Iterable[tuple[Metric, Labels, float]]) -> Reading:
        """The board as `blocks` have it, and what sources computed."""
        for at, block in enumerate(blocks):
            for series in block.series[self._seen.get(at, 0) :]:
                metric = self._metrics.get(series.name)
                if metric is not None:
                    self._entry(metric, series.labels).places.append((at, series.column - block.first))
            self._seen[at] = len(block.series)
        values = {self._entry(metric, labels): value for metric, labels, value in computed}
        return Reading(blocks, values, [(metric, [*found.values()]) for metric, found in self._entries.items()])

    def _entry(self, metric: Metric, labels: Labels) -> Entry:
        entries = self._entries[metric]
        entry = entries.get(labels)
        if entry is None:
            entry = entries[labels] = Entry(metric, labels)
        return entry
