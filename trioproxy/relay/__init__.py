"""What a relay is, and which engine serves a tunnel.

The words: a `Tunnel` has two `Direction`s; a `Relay` carries tunnels; `streams` is the portable engine and `pump` the
fast one. Both ask `tunnel` for every decision. Handshakes, leases and closing the sockets belong to the caller.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from trioproxy.relay.direction import Direction
from trioproxy.relay.streams import StreamsRelay
from trioproxy.relay.tunnel import Tunnel
from trioproxy.tls.stream import OverSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import trio

    from trioproxy.errors import Ending

__all__ = ["Direction", "Relay", "Tunnel", "open_relay"]


class Relay(Protocol):
    """Carries tunnels from the end of the handshake to their end."""

    @property
    def name(self) -> str:
        """The engine, for logs."""

    def run(self, tunnel: Tunnel) -> Coroutine[Any, Any, Ending]:
        """Relay until both sides have ended, or the tunnel is closed or cut, and say who ended it.

        Never raises for what peers do. Cancelling is always safe and lets go of both streams at once. The streams are
        the caller's to close, after this returns or raises and not before; where a reset is called for they are
        prepared so that closing them sends one.

        To be awaited at once by the task that calls it, so never handed to `start_soon`: some engines are no coroutine
        functions.
        """


@attrs.frozen
class _ByStream:
    """The fast engine for sockets, with or without TLS, the portable one for all else."""

    fast: Relay
    portable: Relay

    @property
    def name(self) -> str:
        return self.fast.name

    def run(self, tunnel: Tunnel) -> Coroutine[Any, Any, Ending]:
        # Not async: a frame more would lie under every tunnel as long as it is open.
        sockets = isinstance(tunnel.client, OverSocket) and isinstance(tunnel.upstream, OverSocket)
        return (self.fast if sockets else self.portable).run(tunnel)


def open_relay(nursery: trio.Nursery, report: Callable[[Exception], object] = traceback.print_exception) -> Relay:
    """The best engine for this machine; what it does in the background it does in `nursery`.

    `report` is called with an exception that is a bug and ended one tunnel, while it is being handled.
    """
    portable = StreamsRelay()
    if not sys.platform.startswith("linux"):
        return portable
    from trioproxy.relay.pump import Pump  # noqa: PLC0415 -- epoll is Linux's alone

    pump = Pump(report)
    nursery.start_soon(pump.serve)
    return _ByStream(pump, portable)
