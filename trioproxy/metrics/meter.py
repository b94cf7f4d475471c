"""Carries what a tunnel counted to the metrics of its pool and upstream, as differences: live and exact.

When it is called is the owner's business: about once a second while the tunnel is open, before a scrape, at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.counts import DIRECTIONS, OPCODE_LABELS, TO_CLIENT, TO_UPSTREAM, opcode_label
from trioproxy.metrics.table import BYTES, FRAMES, INJECTED_FRAMES, MESSAGE_SIZE, MESSAGES, PING_RTT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioproxy.counts import DirectionCounts, TunnelCounts
    from trioproxy.metrics.registry import Metrics

_SIDES: Final = {TO_UPSTREAM: "upstream", TO_CLIENT: "client"}  # who gets what is injected into a direction


@attrs.define(eq=False, weakref_slot=False)
class _Published:
    """What of one direction has been added so far; lists without the zeros at their end, as most tunnels are idle."""

    bytes: int = 0
    messages: int = 0
    octets: int = 0
    sizes: tuple[int, ...] = ()
    frames: tuple[int, ...] = ()
    injected: tuple[int, ...] = ()


@attrs.define(eq=False, weakref_slot=False)
class TunnelMeter:
    """The metrics' view of one tunnel."""

    metrics: Metrics
    pool: str
    upstream: str
    _to_upstream: _Published = attrs.field(factory=_Published, init=False)
    _to_client: _Published = attrs.field(factory=_Published, init=False)

    def publish(self, tunnel: TunnelCounts) -> None:
        """Add what `tunnel` counted since the last call; cheap if it stood still. Call it once more at the end."""
        self._direction(TO_UPSTREAM, tunnel.to_upstream, self._to_upstream)
        self._direction(TO_CLIENT, tunnel.to_client, self._to_client)

    def _direction(self, name: str, counts: DirectionCounts, published: _Published) -> None:
        inc, labels = self.metrics.inc, (self.pool, self.upstream, name)
        # Frames and messages are made of bytes. Fewer than before: part of a Pong had been counted, which proved to be
        # the answer to a ping of ours; the next bytes make up for it, as a counter must not fall.
        if (new := counts.bytes - published.bytes) > 0:
            published.bytes += new
            inc(BYTES, labels, new)
            if new := counts.messages - published.messages:
                published.messages += new
                inc(MESSAGES, labels, new)
                self._sizes(name, counts, published)
            frames = _trimmed(counts.frames)
            for opcode, new in enumerate(_differences(frames, published.frames)):
                if new:
                    inc(FRAMES, (*labels, opcode_label(opcode)), new)
            published.frames = frames
        injected = _trimmed(counts.injected)
        if injected != published.injected:
            for opcode, new in enumerate(_differences(injected, published.injected)):
                if new:
                    inc(INJECTED_FRAMES, (self.pool, _SIDES[name], opcode_label(opcode)), new)
            published.injected = injected
            for seconds in counts.take_round_trips():
                self.metrics.observe(PING_RTT, (self.pool, _SIDES[name]), seconds)

    def _sizes(self, name: str, counts: DirectionCounts, published: _Published) -> None:
        sizes, octets = counts.message_sizes, counts.message_octets
        new = _differences(sizes, published.sizes)
        self.metrics.add_observed(MESSAGE_SIZE, (self.pool, name), new, octets - published.octets)
        published.sizes, published.octets = _trimmed(sizes), octets


def _trimmed(counts: Sequence[int]) -> tuple[int, ...]:
    """The counts up to the last that is not 0."""
    length = len(counts)
    while length and not counts[length - 1]:
        length -= 1
    return tuple(counts[:length])


def _differences(now: Sequence[int], before: Sequence[int]) -> Iterator[int]:
    """How much more each is than before."""
    return (count - (before[index] if index < len(before) else 0) for index, count in enumerate(now))


def declare_tunnel_series(metrics: Metrics, pool: str, upstream: str) -> None:
    """Make the series a TunnelMeter counts into exist at 0."""
    for direction in DIRECTIONS:
        metrics.declare(BYTES, (pool, upstream, direction))
        metrics.declare(MESSAGES, (pool, upstream, direction))
        metrics.declare(MESSAGE_SIZE, (pool, direction))
        for opcode in OPCODE_LABELS:
            metrics.declare(FRAMES, (pool, upstream, direction, opcode))
