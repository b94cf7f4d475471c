"""What passed in one direction between the clients and one upstream: plain ints, shared by all of its tunnels.

So an open tunnel keeps no counts by opcode or size of its own, and nobody has to visit it to publish them. Counting
frames is `websocket`'s, adding the rest `relay`'s, and `metrics` reads.
"""

from __future__ import annotations

from typing import Final

import attrs

OPCODES: Final = 16  # RFC 6455 §5.2: four bits
# Bounds of the sizes of messages: 125 B, which is as much as the shortest header announces, 1 KiB, 4 KiB, ... 64 MiB.
MESSAGE_SIZES: Final = (125, *(1 << bits for bits in range(10, 28, 2)))
UNREAD: Final = 4096  # round trips kept for who reads them, usually once a second

# Where things stand among the cells; the frames received come first, by opcode.
INJECTED: Final = OPCODES  # from here on: frames the proxy sent this way, and Pongs it took out as answers to them
OCTETS: Final = 2 * OPCODES  # payload of whole messages
UNFINISHED: Final = OCTETS + 1  # data frames that ended no message (so far)
LONGER: Final = UNFINISHED + 1  # from here on: messages above the first size, by size
BYTES: Final = LONGER + len(MESSAGE_SIZES)  # octets received
_CELLS: Final = BYTES + 1


@attrs.define(eq=False)
class Traffic:
    """Counts that only grow, but for `bytes` while a Pong turns out to be the answer to a ping of the proxy's own.

    `cells` is for those who count: a list of ints, as an index costs less than an attribute of an attribute. A frame
    counts when its header is complete, a message when its last byte was read. `round_trips` are how many seconds the
    receiving side took to answer pings.
    """

    cells: list[int] = attrs.field(factory=lambda: [0] * _CELLS, init=False)
    round_trips: list[float] = attrs.field(factory=list, init=False)

    @property
    def frames(self) -> list[int]:
        """Frames received by opcode; 16, a copy."""
        return self.cells[:OPCODES]

    @property
    def messages(self) -> int:
        """Messages received to their last byte."""
        continuation, text, binary = self.cells[:3]
        return continuation + text + binary - self.cells[UNFINISHED]

    @property
    def octets(self) -> int:
        """Payload octets of those messages."""
        return self.cells[OCTETS]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many of them were within each of MESSAGE_SIZES (and not the one before), and above all of them."""
        longer = self.cells[LONGER:BYTES]
        return (self.messages - sum(longer), *longer)

    @property
    def injected(self) -> list[int]:
        """Frames the proxy sent in this direction, by opcode, and the Pongs it took out as answers; 16, a copy."""
        return self.cells[INJECTED : INJECTED + OPCODES]

    @property
    def bytes(self) -> int:
        """Octets received, frame headers included."""
        return self.cells[BYTES]

    def add_round_trip(self, seconds: float) -> None:
        """Keep one for `take_round_trips`; of too many unread the oldest are lost."""
        if len(self.round_trips) >= UNREAD:
            del self.round_trips[0]
        self.round_trips.append(seconds)

    def take_round_trips(self) -> list[float]:
        """Those since the last call."""
        taken, self.round_trips = self.round_trips, []
        return taken


@attrs.frozen(eq=False)
class UpstreamTraffic:
    """Both directions of one upstream."""

    to_upstream: Traffic = attrs.field(factory=Traffic)
    to_client: Traffic = attrs.field(factory=Traffic)
