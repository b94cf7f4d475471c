"""Answers a scrape: which format, what serves others who ask within half a second, and never long at a time.

The moment is read in one go; then it is written in slices on the loop, between which everybody else has their turn. A
thread would hold the loop for longer: whoever wants the interpreter back from one that computes waits 5 ms for it.
What stands in an answer is `rendering`'s; `process_*` and `python_info` are written by prometheus-client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio
from prometheus_client import PlatformCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from trioproxy.metrics.rendering import Format, head_of, text_of

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from trioproxy.metrics.reading import Reading
    from trioproxy.metrics.registry import Metrics

KEPT_SECONDS: Final = 0.5  # an answer's age; well below any scrape interval, so no scrape sees the same answer twice
SLICE: Final = 500  # lines at a time: about half a millisecond
_END: Final = b"# EOF\n"


@attrs.frozen
class _Answer:
    body: bytes
    taken: float
    news: int


@attrs.define(eq=False)
class Exposition:
    """The answers to scrapes of `metrics`; for one Trio run."""

    metrics: Metrics
    _kept: dict[Format, _Answer] = attrs.field(factory=dict, init=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _others: tuple[Collector, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._others = (self.metrics.process, PlatformCollector(registry=None))

    async def answer(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for a scrape with this Accept header: at most half a second old, older than no news."""
        kind = Format.OPENMETRICS if accepts_openmetrics(accept) else Format.TEXT
        # Who waits while one is written gets the next, and all who wait the same: however long it takes to write it
        asked = trio.current_time()
        async with self._lock:
            kept = self._kept.get(kind)
            now, news = trio.current_time(), self.metrics.news
            fresh = kept is not None and (kept.taken >= asked or now - kept.taken < KEPT_SECONDS)
            if kept is None or not fresh or kept.news != news:
                await self.metrics.prepare()
                kept = self._kept[kind] = _Answer(await self._write(self.metrics.read(), kind), now, news)
        return kept.body, kind.value

    async def _write(self, reading: Reading, kind: Format) -> bytes:
        parts, lines = [], 0
        for metric, entries in reading.entries:
            parts.append(head_of(metric, kind))
            for entry in entries:
                parts.append(text_of(entry, reading))
                lines += metric.width
                if lines >= SLICE:
                    lines = 0
                    await trio.lowlevel.checkpoint()
        encode = openmetrics.generate_latest if kind is Format.OPENMETRICS else generate_latest
        rest = [encode(other).removesuffix(_END) for other in self._others]
        return b"".join(["".join(parts).encode(), *rest, _END if kind is Format.OPENMETRICS else b""])


def accepts_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics at all; scrapers that can read it ask for it first."""
    return any(part.partition(";")[0].strip().lower() == "application/openmetrics-text" for part in accept.split(","))
