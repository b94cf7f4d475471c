"""Counting: each series of a metric is a few cells of a board.

What can be counted is `table`'s; nothing here knows how Prometheus wants it written, that is `exposition`'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from trioproxy.board import CELL_BYTES, CLIENT_TABLE_CELLS, Board, Layout, Marks, Tally
from trioproxy.metrics.exposition import Exposition
from trioproxy.metrics.process import Process
from trioproxy.metrics.reading import Catalogue, Labels, Reading, Sample
from trioproxy.metrics.table import ALL_METRICS, SERIES_DROPPED, Kind, Metric

Source: TypeAlias = Callable[[], Iterable[tuple[Metric, Labels, float]]]


class Metrics:
    """All counters, gauges and histograms of one process.

    Label values have to come from the configuration or from closed sets, never from traffic. For one thread alone.
    """

    def __init__(self, board: Board | None = None, row: int = 0) -> None:
        self.board = Board(Layout()) if board is None else board
        self._row = row
        self._cells = self.board.rows[row].cells
        self._columns: dict[tuple[Metric, Labels], int] = {}
        self._metrics = {metric.name: metric for metric in ALL_METRICS}
        self._sources: list[Source] = []
        self.news = 0  # how often something changed that no scrape may miss: an answer older than that is not kept
        self._refreshers: list[Callable[[], None]] = []
        self._preparations: list[Callable[[], Awaitable[None]]] = []
        self._catalogue = Catalogue()
        self.process = Process()
        self._exposition = Exposition(self)

    def declare(self, metric: Metric, labels: Labels = ()) -> int:
        """Make a series exist at 0 before anything happened, so that `rate()` sees its first event. Returns its column.

        Raises ValueError if the number of labels does not fit the metric.
        """
        column = self._columns.get((metric, labels))
        if column is not None:
            return column
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
        column = self._columns[metric, labels] = self.board.layout.intern(metric.name, labels, metric.width)
        if not column:
            self.inc(SERIES_DROPPED)
        return column

    def inc(self, metric: Metric, labels: Labels = (), n: int = 1) -> None:
        """Add to a counter, or add to or (n < 0) take from a gauge of scale 1."""
        try:
            column = self._columns[metric, labels]
        except KeyError:
            column = self.declare(metric, labels)
        self._cells[column] += n

    def set(self, metric: Metric, labels: Labels, value: float) -> None:
        """Set a gauge, in its unit."""
        self._cells[self.declare(metric, labels)] = round(value * metric.scale)

    def observe(self, metric: Metric, labels: Labels, value: float) -> None:
        """Count a value, in seconds, into a histogram; one that equals a bound is within it."""
        column = self.declare(metric, labels)
        bounds = metric.buckets.bounds
        self._cells[column + bisect_left(bounds, value)] += 1
        self._cells[column + len(bounds) + 1] += round(value * metric.scale)

    def add_observed(self, metric: Metric, labels: Labels, counts: Iterable[int], total: int) -> None:
        """Count values that were sorted elsewhere: how many within each bound and above all, and their sum in cells."""
        column = self.declare(metric, labels)
        for at, count in enumerate((*counts, total)):
            self._cells[column + at] += count

    def tally(self, metric: Metric, labels: Labels = ()) -> Tally:
        """A gauge as a number that can be claimed up to a limit, whichever processes count it."""
        column = self.declare(metric, labels)
        return Tally.of(self.board, self._row, column) if column else Tally.alone()

    def private_tally(self, name: str) -> Tally:
        """A number of the program's own, no metric, over all processes."""
        column = self.board.layout.intern(name, ())
        return Tally.of(self.board, self._row, column) if column else Tally.alone()

    def marks(self, name: str, labels: Labels) -> Marks:
        """A number of the program's own that each process has one of."""
        column = self.board.layout.intern(name, labels)
        return Marks.of(self.board, self._row, column) if column else Marks.alone()

    def client_tables(self) -> tuple[memoryview | None, tuple[memoryview, ...]]:
        """This process's table of connections by client, and those of the others; where it is alone there is none."""
        tables, own = self.board.client_tables, self._row
        others = (table for row, table in enumerate(tables) if row not in {0, own})  # the supervisor has no clients
        return (tables[own] if tables else None), tuple(others)

    def value(self, metric: Metric, labels: Labels = ()) -> float:
        """What a series stands at over all rows, in its unit; a histogram: how many values it saw. 0 where unknown."""
        if metric.kind is Kind.HISTOGRAM:
            return sum(self.board.find(metric.name, labels, i) for i in range(len(metric.buckets.bounds) + 1))
        total = self.board.find(metric.name, labels)
        return total if metric.scale == 1 else total / metric.scale

    def total(self, metric: Metric, **labels: str) -> float:
        """The sum of `value` over all series that have these labels."""
        wanted = [(metric.labels.index(name), value) for name, value in labels.items()]
        found = {
            series.labels
            for layout, _ in self.board.layouts()
            for series in layout.series
            if series.name == metric.name and all(series.labels[i] == value for i, value in wanted)
        }
        return sum(self.value(metric, each) for each in found)

    def sums(self, *metrics: Metric, by: Sequence[str]) -> dict[Metric, dict[Labels, float]]:
        """As `total`, of each metric for every combination of values of the labels `by`, in one go over all series."""
        named = {metric.name: metric for metric in metrics}
        found = {
            (named[series.name], series.labels)
            for layout, _ in self.board.layouts()
            for series in layout.series
            if series.name in named
        }
        places = {metric: [metric.labels.index(name) for name in by] for metric in metrics}
        sums: dict[Metric, dict[Labels, float]] = {metric: {} for metric in metrics}
        for metric, labels in found:
            key = tuple(labels[place] for place in places[metric])
            sums[metric][key] = sums[metric].get(key, 0) + self.value(metric, labels)
        return sums

    def retire(self, row: int, into: int) -> None:
        """Move what only grows from the row of a process that is no more to another, and drop what does not.

        This process has to be the one that writes `into`.
        """
        if self.board.client_tables:
            self.board.client_tables[row][:] = memoryview(bytes(CLIENT_TABLE_CELLS * CELL_BYTES)).cast("q")
        dead, kept = self.board.rows[row].cells, self.board.rows[into].cells
        for layout, rows in self.board.layouts():
            if self.board.rows[row] in rows:
                for series in layout.series:
                    metric = self._metrics.get(series.name)
                    grows = metric is not None and metric.kind is not Kind.GAUGE
                    for column in range(series.column, series.column + series.width):
                        if value := dead[column]:  # most are 0
                            kept[column] += value if grows else 0
                            dead[column] = 0

    def add_source(self, source: Source) -> None:
        """Have `source` called at every scrape, for values that are computed rather than counted.

        It yields (metric, labels, value in the metric's unit) of gauges or counters and must not block.
        """
        self._sources.append(source)

    def add_preparation(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Have `prepare` called before every answer to a scrape, to bring cells up to date some at a time (tunnels)."""
        self._preparations.append(prepare)

    def add_refresher(self, refresh: Callable[[], None]) -> None:
        """Have `refresh` called before every scrape, to bring cells up to date. It must not block."""
        self._refreshers.append(refresh)

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The answer to a scrape with this Accept header, and its content type; at most half a second old."""
        return await self._exposition.answer(accept)

    async def prepare(self) -> None:
        """Bring up to date what takes long, giving everybody else their turn meanwhile."""
        for prepare in self._preparations:
            await prepare()

    def read(self) -> Reading:
        """Everything as it stands now. This is the part of a scrape that holds the loop."""
        for refresh in self._refreshers:
            refresh()
        computed = (each for source in self._sources for each in source())
        return self._catalogue.read(self.board.snapshot(), computed)

    def samples(self) -> list[Sample]:
        """What a scrape would find now."""
        return self.read().samples()
