"""What clients saw, tunnel by tunnel, and all else that is known of a run when it is over.

Pure: numbers are made of it in `measures`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.timeline import Span


class End(StrEnum):
    """Who ended a tunnel, as its client sees it."""

    CLIENT = "client"  # it had enough
    CLOSED = "closed"  # the other side sent Close
    CUT = "cut"  # the other side was gone without a Close (what WebSocket calls 1006)


@attrs.define(eq=False)
class Tunnel:
    """One handshake of a client, and the tunnel if it became one. Times are seconds from the beginning of the load."""

    name: str  # of the connection, see `trail`
    client: int
    asked: float
    opened: float | None = None
    upstream: int | None = None
    failure: str = ""  # why it did not open
    ended: float | None = None
    end: End | None = None
    code: int | None = None  # of the Close; None where it had none
    sent: int = 0
    echoed: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0  # messages that were never sent
    round_trips: list[tuple[float, float]] = attrs.field(factory=list)  # (sent at, seconds)
    unanswered: list[float] = attrs.field(factory=list)  # when each message without an echo was sent
    invalid: bool = False  # something came that is no frame; its client could only give up
    silence: float = 0.0  # the longest that an echo was due and nothing came, in seconds
    harmed: bool = False  # a fault may have touched it

    @property
    def lost(self) -> int:
        """Messages without an echo."""
        return self.sent - self.echoed


@attrs.frozen(kw_only=True)
class Comparison:
    """A number that the proxy's metrics have, and the least and most it can be by what the clients saw.

    They differ by what was on its way where a tunnel was cut: who was told of it then, nobody can know.
    """

    what: str
    proxy: float
    least: float
    most: float

    @property
    def agree(self) -> bool:
        """Whether one can be true with the other."""
        return self.least <= self.proxy <= self.most


@attrs.frozen
class Sample:
    """What the proxy's metrics said while the load went on; seconds from its beginning."""

    time: float
    open_tunnels: float


@attrs.frozen(kw_only=True)
class Outcome:
    """A run that is over."""

    duration: float  # seconds of load
    tunnels: Sequence[Tunnel]
    spans: Sequence[Span] = ()  # when faults were to be on
    happened: Sequence[Span] = ()  # when they were: from their beginning until what they do was done
    upstreams: int = 0
    comparisons: Sequence[Comparison] = ()
    samples: Sequence[Sample] = ()  # none where its metrics do not tell
    exit_status: int | None = None  # the proxy's, at its end; None for one that was not started here
    errors: Sequence[str] = ()  # lines of its log that say that something is broken in it
