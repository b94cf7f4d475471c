"""What a tunnel has counted, without a tunnel: numbers a test sets."""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class FakeCounts:
    bytes: int = 0
    messages: int = 0
    frames: int = 0
    close_code: int | None = None


@attrs.define(eq=False)
class FakeTunnel:
    to_upstream: FakeCounts = attrs.field(factory=FakeCounts)
    to_client: FakeCounts = attrs.field(factory=FakeCounts)
    sent_code: int | None = None
