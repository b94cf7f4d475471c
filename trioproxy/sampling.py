"""Looks at a proxy once a second: what it has counted since the last time, as rates.

When it looks is its caller's business; whoever counts has to have published (`housekeeping`) before.
"""

from __future__ import annotations

import time
from collections import deque
from operator import sub
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy import metrics as m
from trioproxy.counts import DIRECTIONS
from trioproxy.live.rates import per_second, quantile
from trioproxy.metrics.watch import Watch
from trioproxy.status import describe_pool, describe_upstream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trioproxy.metrics import Metric
    from trioproxy.status import Status
    from trioproxy.upstreams import Upstream

QUANTILE_SAMPLES: Final = 10  # that handshake quantiles look back: in one second there may be two
ACCEPTED: Final = "accepted"  # of HANDSHAKES' results

_UPSTREAM: Final = ("pool", "upstream")
_WATCHED: Final = (
    (m.MESSAGES, ("direction",)),
    (m.MESSAGES, (*_UPSTREAM, "direction")),
    (m.BYTES, ("direction",)),
    (m.BYTES, (*_UPSTREAM, "direction")),
    (m.TUNNELS_ACTIVE, _UPSTREAM),
    (m.REQUESTS, ()),
    (m.HANDSHAKES, ("result",)),
    (m.HANDSHAKE_DURATION, ()),
    (m.ENDINGS, ("reason",)),
)


@attrs.define(eq=False)
class Sampler:
    """Keeps the two last readings of one proxy, and of handshakes some more."""

    _status: Status
    _watch: Watch = attrs.field(init=False)
    _now: Sequence[int] = attrs.field(init=False)
    _before: Sequence[int] = attrs.field(init=False)
    _when: float = attrs.field(factory=trio.current_time, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)  # between the two
    _durations: deque[list[int]] = attrs.field(factory=lambda: deque(maxlen=QUANTILE_SAMPLES + 1), init=False)

    def __attrs_post_init__(self) -> None:
        self._watch = Watch(self._status.context.metrics.board, _WATCHED)
        self._now = self._before = self._watch.read()
        self._durations.append(self._handshake_cells())

    def sample(self) -> dict[str, Any]:
        """How all of it does, with rates since the last call."""
        now = trio.current_time()
        self._before, self._now = self._now, self._watch.read()
        self._when, self._seconds = now, now - self._when
        self._durations.append(self._handshake_cells())
        context = self._status.context
        handshakes = self._rates(m.HANDSHAKES)
        return {
            "time": round(time.time(), 3),
            "state": self._status.state,
            "connections": context.clients.total,
            "tunnels": context.open_tunnels.total,
            "chaos": None if context.injections is None else len(context.injections()),
            "messages_per_second": self._both(m.MESSAGES),
            "bytes_per_second": self._both(m.BYTES),
            "requests_per_second": self._rate(m.REQUESTS),
            "handshakes_per_second": {
                "accepted": handshakes.pop(ACCEPTED, 0.0),
                "failed": round(sum(handshakes.values()), 1),
            },
            "handshake_seconds": self._handshake_seconds(),
            "endings_per_second": self._rates(m.ENDINGS),
        }

    def pools(self) -> list[dict[str, Any]]:
        """How each upstream stands at this moment, with the rates of the last sample."""
        return [
            {
                **describe_pool(pool),
                "upstreams": [self._upstream(upstream) for upstream in pool.upstreams],
            }
            for pool in self._status.context.pools.values()
        ]

    def _upstream(self, upstream: Upstream) -> dict[str, Any]:
        place = self._watch.places.get((m.TUNNELS_ACTIVE, upstream.labels))
        return {
            **describe_upstream(upstream),
            "tunnels": self._now[place] if place is not None and place < len(self._now) else 0,
            "messages_per_second": self._both(m.MESSAGES, *upstream.labels),
            "bytes_per_second": self._both(m.BYTES, *upstream.labels),
        }

    def _both(self, metric: Metric, *labels: str) -> Mapping[str, float]:
        return {direction: self._rate(metric, *labels, direction) for direction in DIRECTIONS}

    def _rates(self, metric: Metric) -> dict[str, float]:
        """By the value of its one label, those above 0."""
        found = {}
        for watched, labels in self._watch.places:
            if watched is metric and (rate := self._rate(metric, *labels)):
                found[labels[0]] = rate
        return found

    def _rate(self, metric: Metric, *labels: str) -> float:
        place = self._watch.places.get((metric, labels))
        if place is None or place >= len(self._now):
            return 0.0
        # A series that was not there a second ago stood at 0
        before = self._before[place] if place < len(self._before) else 0
        return per_second(before, self._now[place], self._seconds)

    def _handshake_cells(self) -> list[int]:
        """How many handshakes were in each bucket so far."""
        buckets = len(m.HANDSHAKE_DURATION.buckets.bounds) + 1
        place = self._watch.places.get((m.HANDSHAKE_DURATION, ()))
        return [0] * buckets if place is None else list(self._now[place : place + buckets])

    def _handshake_seconds(self) -> Mapping[str, float] | None:
        recent = list(map(sub, self._durations[-1], self._durations[0]))
        found: dict[str, float] = {}
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            seconds = quantile(m.HANDSHAKE_DURATION.buckets.bounds, recent, share)
            if seconds is None:
                return None
            found[name] = round(seconds, 6)
        return found
