"""The last minutes of a proxy's life, kept in bounded memory, and readers who follow what happens.

A reader has a place and no queue: who reads slowly gets the newest sample, and of events those that are still kept.
"""

from __future__ import annotations

import json
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

INTERVAL: Final = 1  # seconds between samples
SAMPLES: Final = 300
EVENTS: Final = 100
MAX_READERS: Final = 16  # each is a descriptor, and what the kernel holds for one that does not read
REPEAT_SECONDS: Final = 60.0  # or a hundred failed accepts would take the place of what led to them
_FIELD_CHARACTERS: Final = 300  # of one field of an event: what failed may be described at length

# Names from the log that are told: what the proxy and its upstreams go through. Never what single clients do.
TOLD: Final = frozenset(
    {
        "accept_failed",
        "chaos",
        "chaos_allowed",
        "cut",
        "drain",
        "drained",
        "few_descriptors",
        "handed_over",
        "handover",
        "handover_failed",
        "listening",
        "reload",
        "resolve_failed",
        "resolved",
        "taking_over",
        "took_over",
        "upstream_down",
        "upstream_drain",
        "upstream_drained",
        "upstream_ejected",
        "upstream_resume",
        "upstream_returned",
        "upstream_up",
        "worker_ended",
        "worker_stands_in",
        "worker_start_failed",
        "worker_started",
    }
)


class TooManyReaders(Exception):  # noqa: N818 - no error of the program
    """There are as many as there may be."""


class Sampled(Protocol):
    """Who is asked how things are."""

    def sample(self) -> dict[str, Any]:
        """Figures of the proxy as a whole, of a size that depends on nobody."""
        ...

    def pools(self) -> list[dict[str, Any]]:
        """Those of each upstream."""
        ...


@attrs.define(eq=False)
class Feed:
    """Takes a sample at each `tick`, hears of events by `tell`, and has `read` for who wants both.

    What it keeps and gives out is JSON, written once for all readers. Of each upstream only the newest figures are
    kept: with hundreds of them, minutes would be tens of megabytes.
    """

    _source: Sampled
    _samples: deque[str] = attrs.field(factory=lambda: deque(maxlen=SAMPLES), init=False)
    _events: deque[str] = attrs.field(factory=lambda: deque(maxlen=EVENTS), init=False)
    _newest: dict[str, Any] = attrs.field(factory=dict, init=False)
    _newest_text: str = attrs.field(default="", init=False)  # with the pools; made when somebody wants it
    _last: str = attrs.field(default="", init=False)  # event, without its time
    _last_told: float = attrs.field(default=0.0, init=False)
    readers: int = attrs.field(default=0, init=False)
    samples_taken: int = attrs.field(default=0, init=False)
    events_told: int = attrs.field(default=0, init=False)
    ended: bool = attrs.field(default=False, init=False)
    changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    def tick(self) -> None:
        """Take a sample."""
        self._newest = self._source.sample()
        self._newest_text = ""
        self._samples.append(_json(self._newest))
        self.samples_taken += 1
        self._wake()

    def tell(self, event: str, level: str, fields: Mapping[str, Any]) -> None:
        """Something happened, as the log has it. What happens again and again is told once a minute."""
        told = {name: _short(value) for name, value in fields.items() if name != "exc_info"}
        what, now = _json({"event": event, "level": level, **told}), time.time()
        if what == self._last and 0 <= now - self._last_told < REPEAT_SECONDS:
            return
        self._last, self._last_told = what, now
        self._events.append(f'{{"time":{now:.3f},{what[1:]}')
        self.events_told += 1
        self._wake()

    def end(self) -> None:
        """Let go of all readers, for good."""
        self.ended = True
        self._wake()

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A reader who begins here and now. Raises TooManyReaders."""
        if self.readers >= MAX_READERS:
            raise TooManyReaders
        self.readers += 1
        try:
            if not self._samples:
                self.tick()
            yield Reader(self, self.samples_taken, self.events_told)
        finally:
            self.readers -= 1

    def history(self) -> str:
        """What is kept: an object with `interval`, `samples` and `events`, oldest first."""
        samples = [*list(self._samples)[:-1], self.newest()]
        return f'{{"interval":{INTERVAL},"samples":[{",".join(samples)}],"events":[{",".join(self._events)}]}}'

    def newest(self) -> str:
        """The last sample, with its pools."""
        if not self._newest_text:
            self._newest_text = _json({**self._newest, "pools": self._source.pools()})
        return self._newest_text

    def events_since(self, seen: int) -> list[str]:
        """What was told behind the first `seen` events, as far as it is kept."""
        new = min(self.events_told - seen, len(self._events))
        return list(self._events)[len(self._events) - new :]

    def _wake(self) -> None:
        changed, self.changed = self.changed, trio.Event()
        changed.set()


@attrs.define(eq=False)
class Reader:
    """Follows a feed from some moment on."""

    _feed: Feed
    _samples: int
    _events: int

    def history(self) -> str:
        """See `Feed.history`; everything up to the moment at which the reader began."""
        return self._feed.history()

    async def news(self) -> list[tuple[str, str]]:
        """Wait for what is new: pairs of `sample` or `event` and the JSON. Empty when the feed has ended."""
        feed = self._feed
        while not feed.ended:
            found = [("event", text) for text in feed.events_since(self._events)]
            if feed.samples_taken > self._samples:
                found.append(("sample", feed.newest()))
            self._events, self._samples = feed.events_told, feed.samples_taken
            if found:
                return found
            await feed.changed.wait()
        return []


def _short(value: Any) -> Any:
    return value[:_FIELD_CHARACTERS] if isinstance(value, str) else value


def _json(document: Any) -> str:
    # Nothing but ASCII, and no line breaks: whatever a reader takes for the end of a line, none is within
    return json.dumps(document, separators=(",", ":"), default=str)
