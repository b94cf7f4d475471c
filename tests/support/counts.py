"""What a tunnel has counted, without a tunnel: numbers a test sets."""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class FakeCounts:
    bytes: int = 0
    messages: int = 0
    frames: list[int] = attrs.field(factory=lambda: [0] * 16)
    injected: list[int] = attrs.field(factory=lambda: [0] * 16)
    message_sizes: list[int] = attrs.field(factory=lambda: [0] * 11)
    message_octets: int = 0
    round_trips: list[float] = attrs.field(factory=list)
    close_code: int | None = None

    def take_round_trips(self):
        taken, self.round_trips = self.round_trips, []
        return taken


@attrs.define(eq=False)
class FakeTunnel:
    to_upstream: FakeCounts = attrs.field(factory=FakeCounts)
    to_client: FakeCounts = attrs.field(factory=FakeCounts)
    sent_code: int | None = None
