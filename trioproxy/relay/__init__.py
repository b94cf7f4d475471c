"""What a relay is, and which engine serves a tunnel.

The words: a `Tunnel` has two `Direction`s; a `Relay` carries tunnels; `streams` is the portable engine and `pump` the
fast one. Both ask `tunnel` for every decision. Handshakes, leases and closing the sockets belong to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from trioproxy.relay.streams import StreamsRelay
from trioproxy.relay.tunnel import Direction, Tunnel

if TYPE_CHECKING:
    import trio

    from trioproxy.errors import Ending

__all__ = ["Direction", "Relay", "Tunnel", "open_relay"]


class Relay(Protocol):
    """Carries tunnels from the end of the handshake to their end."""

    @property
    def name(self) -> str:
        """The engine, for logs."""

    async def run(self, tunnel: Tunnel) -> Ending:
        """Relay until both sides have ended, or the tunnel is closed or cut, and say who ended it.

        Never raises for what peers do. Cancelling is always safe and lets go of both streams at once. The streams are
        the caller's to close, after this returns or raises; where a reset is called for they are prepared so that
        closing them sends one.
        """


def open_relay(nursery: trio.Nursery) -> Relay:  # noqa: ARG001
    """The best engine for this machine; what it needs to run in the background runs in `nursery`."""
    return StreamsRelay()
