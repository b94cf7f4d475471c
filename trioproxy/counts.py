"""What a tunnel has counted, as the layers below `relay` see it, and the closed sets of labels those counts fall into.

Pure: `relay` does the counting, `metrics` and `access_log` read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

from trioproxy.errors import Source

TO_UPSTREAM: Final = "to_upstream"
TO_CLIENT: Final = "to_client"
DIRECTIONS: Final = (TO_UPSTREAM, TO_CLIENT)

# RFC 6455 section 5.2. The reserved opcodes pass only where `websocket.strict` is off; together they are "other".
OPCODE_NAMES: Final[dict[int, str]] = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
OPCODE_LABELS: Final = tuple(OPCODE_NAMES.values())
OTHER: Final = "other"

EMPTY_CLOSE: Final = 1005  # RFC 6455 section 7.1.5: stands for a Close frame without a code, never on the wire
_NAMED_CLOSE_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
_LIBRARY_CODES: Final = range(3000, 4000)  # RFC 6455 section 7.4.2
_PRIVATE_CODES: Final = range(4000, 5000)


class HandshakeResult(StrEnum):
    """What came of an upgrade: the `result` label of `trioproxy_handshakes_total`."""

    ACCEPTED = "accepted"  # a valid 101
    REFUSED = "refused"  # another status
    INVALID = "invalid"  # a wrong 101, no HTTP, or the connection ended
    TIMEOUT = "timeout"  # no answer within `timeouts.handshake`
    UNREACHABLE = "unreachable"  # no upstream, or no connection to one
    CHAOS = "chaos"  # refused by a fault that was injected, not by the upstream


class DirectionCounts(Protocol):
    """One direction of a tunnel; what the proxy itself sent is in none of it."""

    @property
    def bytes(self) -> int:
        """Octets received from the sender behind the handshake heads, frame headers included."""
        ...

    @property
    def frames(self) -> int:
        """Frames whose header is complete."""
        ...

    @property
    def messages(self) -> int:
        """Messages whose last byte was read."""
        ...

    @property
    def close_code(self) -> int | None:
        """The code of the Close frame that passed this way, EMPTY_CLOSE for one without; None: no Close passed."""
        ...


class TunnelCounts(Protocol):
    """Both directions of a tunnel; plain ints that only grow."""

    @property
    def to_upstream(self) -> DirectionCounts:
        """What came from the client."""
        ...

    @property
    def to_client(self) -> DirectionCounts:
        """What came from the upstream."""
        ...

    @property
    def sent_code(self) -> int | None:
        """The code of the Close frame the proxy itself sent; None if it sent none."""
        ...


def opcode_label(opcode: int) -> str:
    """The `opcode` label of the metrics that count frames."""
    return OPCODE_NAMES.get(opcode, OTHER)


def close_code(tunnel: TunnelCounts, by: Source) -> int | None:
    """The code of the Close frame of whoever ended the tunnel; None where there was no such frame: a cut."""
    match by:
        case Source.CLIENT:
            return tunnel.to_upstream.close_code
        case Source.UPSTREAM:
            return tunnel.to_client.close_code
        case _:
            return tunnel.sent_code


def close_code_label(code: int | None) -> str:
    """The `code` label of `trioproxy_closes_total`: a closed set, whatever peers send."""
    if code is None:
        return "none"
    if code == EMPTY_CLOSE:
        return "empty"
    if code in _NAMED_CLOSE_CODES:
        return str(code)
    if code in _LIBRARY_CODES:
        return "3xxx"
    return "4xxx" if code in _PRIVATE_CODES else OTHER


def status_label(status: int) -> str:
    """The `code` label of `trioproxy_requests_total`: 100 to 599, or "other" (0: nothing was answered)."""
    return str(status) if 100 <= status <= 599 else OTHER  # noqa: PLR2004  # the range is the rule
