"""How a run stands: counted from its clients' tunnels, each of which is looked at only while it is open.

Pure. How it looks is `view`'s; what came of a whole run is `chaos.measures`'.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.chaos.measures import quantile
from trioproxy.chaos.records import End

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.records import Tunnel
    from trioproxy.chaos.timeline import Span

LATELY_SECONDS: Final = 3.0


@attrs.frozen(kw_only=True)
class Snapshot:
    """A run at one moment."""

    now: float  # seconds from the beginning of the load
    duration: float
    open: Sequence[int]  # tunnels, by upstream
    elsewhere: int = 0  # of upstreams that nothing told
    without: int = 0  # clients that have lost their tunnel, or got none, and have no other yet
    opened: int = 0
    failed: int = 0
    messages: int = 0
    rate: float = 0.0  # messages a second, lately
    lost: int = 0  # of tunnels that have ended
    p50_ms: float  # of round trips, lately; nan of none
    p99_ms: float
    on: Sequence[Span] = ()  # the faults


@attrs.define(eq=False)
class Tally:
    """Counts on from what it has counted before."""

    tunnels: Sequence[Tunnel]  # of the load, which adds to them
    duration: float
    timeline: Sequence[Span]
    upstreams: int
    _seen: int = attrs.field(default=0, init=False)
    _going: list[Tunnel] = attrs.field(factory=list, init=False)  # those that have not ended
    _waiting: set[int] = attrs.field(factory=set, init=False)  # clients without a tunnel
    _opened: int = attrs.field(default=0, init=False)
    _failed: int = attrs.field(default=0, init=False)
    _messages: int = attrs.field(default=0, init=False)
    _lost: int = attrs.field(default=0, init=False)

    def look(self, now: float) -> Snapshot:
        """How it stands at this time of the load."""
        self._going += self.tunnels[self._seen :]
        self._seen = len(self.tunnels)
        for tunnel in self._going:
            self._look_at(tunnel)
        self._going = [tunnel for tunnel in self._going if tunnel.ended is None]
        open_ = [tunnel for tunnel in self._going if tunnel.opened is not None]
        by_upstream = Counter(tunnel.upstream for tunnel in open_)
        trips = [trip for tunnel in open_ for trip in _since(tunnel, now - LATELY_SECONDS)]
        known = [by_upstream[number] for number in range(self.upstreams)]
        return Snapshot(
            now=now,
            duration=self.duration,
            open=known,
            elsewhere=len(open_) - sum(known),
            without=len(self._waiting),
            opened=self._opened + len(open_),
            failed=self._failed,
            messages=self._messages + sum(tunnel.echoed for tunnel in open_),
            rate=len(trips) / min(max(now, 0.1), LATELY_SECONDS),
            lost=self._lost,
            p50_ms=quantile(trips, 0.5) * 1000,
            p99_ms=quantile(trips, 0.99) * 1000,
            on=[span for span in self.timeline if span.begin <= now < span.end and not span.fault.instant],
        )

    def _look_at(self, tunnel: Tunnel) -> None:
        if tunnel.opened is not None:
            self._waiting.discard(tunnel.client)
        if tunnel.ended is None:
            return
        if tunnel.opened is None:
            self._failed += 1
        else:
            self._opened += 1
            self._messages += tunnel.echoed
            self._lost += tunnel.lost
        if tunnel.end is not End.CLIENT:
            self._waiting.add(tunnel.client)


def _since(tunnel: Tunnel, time: float) -> list[float]:
    """The round trips of what came back since then, in seconds; echoes come in order, or nearly."""
    found = []
    for sent, took in reversed(tunnel.round_trips):
        if sent + took < time:
            break
        found.append(took)
    return found
