"""Carries what the tunnels of each upstream counted to the metrics, as differences: live and exact.

When it is called is the owner's business: about once a second, and before a scrape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.counts import TO_CLIENT, TO_UPSTREAM, opcode_label
from trioproxy.metrics.table import BYTES, FRAMES, INJECTED_FRAMES, MESSAGE_SIZE, MESSAGES, PING_RTT
from trioproxy.wire.traffic import UpstreamTraffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioproxy.metrics.registry import Metrics
    from trioproxy.wire.traffic import Traffic

_SIDES: Final = {TO_UPSTREAM: "upstream", TO_CLIENT: "client"}  # who gets what is injected into a direction


@attrs.define(eq=False)
class _Published:
    """What of one direction has been added so far."""

    cells: list[int]
    bytes: int = 0
    messages: int = 0
    octets: int = 0
    sizes: Sequence[int] = ()
    frames: Sequence[int] = ()
    injected: Sequence[int] = ()


@attrs.define(eq=False)
class TunnelMeter:
    """The traffic of all upstreams, and the metrics it is published to."""

    metrics: Metrics
    _traffic: dict[tuple[str, str], UpstreamTraffic] = attrs.field(factory=dict, init=False)
    _published: dict[Traffic, _Published] = attrs.field(factory=dict, init=False)

    def traffic(self, pool: str, upstream: str) -> UpstreamTraffic:
        """Where the tunnels of this upstream count; the same at every call."""
        both = self._traffic.get((pool, upstream))
        if both is None:
            both = self._traffic[pool, upstream] = UpstreamTraffic()
            for traffic in (both.to_upstream, both.to_client):
                self._published[traffic] = _Published(traffic.cells.copy())
        return both

    def publish(self) -> None:
        """Add what was counted since the last call; cheap where everything stood still."""
        for (pool, upstream), both in self._traffic.items():
            for name, traffic in ((TO_UPSTREAM, both.to_upstream), (TO_CLIENT, both.to_client)):
                published = self._published[traffic]
                if published.cells != traffic.cells:
                    published.cells = traffic.cells.copy()
                    self._add((pool, upstream, name), traffic, published)
                for seconds in traffic.take_round_trips():
                    self.metrics.observe(PING_RTT, (pool, _SIDES[name]), seconds)

    def _add(self, labels: tuple[str, str, str], traffic: Traffic, published: _Published) -> None:
        inc, (pool, _, name) = self.metrics.inc, labels
        # Fewer than before: part of a Pong had been counted, which proved to be the answer to a ping of ours; the
        # next bytes make up for it, as a counter must not fall.
        if (new := traffic.bytes - published.bytes) > 0:
            published.bytes += new
            inc(BYTES, labels, new)
        if new := traffic.messages - published.messages:
            inc(MESSAGES, labels, new)
            sizes, octets = traffic.sizes, traffic.octets
            new_sizes = _differences(sizes, published.sizes)
            self.metrics.add_observed(MESSAGE_SIZE, (pool, name), new_sizes, octets - published.octets)
            published.messages, published.sizes, published.octets = traffic.messages, sizes, octets
        frames, injected = traffic.frames, traffic.injected
        for opcode, new in enumerate(_differences(frames, published.frames)):
            if new:
                inc(FRAMES, (*labels, opcode_label(opcode)), new)
        for opcode, new in enumerate(_differences(injected, published.injected)):
            if new:
                inc(INJECTED_FRAMES, (pool, _SIDES[name], opcode_label(opcode)), new)
        published.frames, published.injected = frames, injected


def _differences(now: Sequence[int], before: Sequence[int]) -> Iterator[int]:
    """How much more each is than before; `before` may be empty, for zeros."""
    return (count - (before[index] if before else 0) for index, count in enumerate(now))
