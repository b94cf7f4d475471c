"""The listening sockets of several workers: one for each where the kernel can spread clients, else one for all.

Who has no worker at the moment has clients waiting in the queues of its sockets: another one is given those, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trioproxy import transport
from trioproxy.control_messages import Adopt, Release

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

    from trioproxy.config import ListenerConfig
    from trioproxy.listening import Listener
    from trioproxy.logs import Log
    from trioproxy.slots import Slot


@attrs.define(eq=False)
class Sharing:
    """Owns the sockets of `listeners`, with the first of each; workers have descriptors of their own for them."""

    listeners: list[Listener]
    slots: Sequence[Slot]
    log: Log
    _sockets: dict[Listener, list[socket.socket]] = attrs.field(factory=dict, init=False)  # for each slot
    _adopted: dict[Slot, Slot] = attrs.field(factory=dict, init=False)  # whose sockets which other one has
    _orphans: set[Slot] = attrs.field(factory=set, init=False)  # whose worker is gone

    def add(self, listener: Listener, handed_over: Sequence[socket.socket] = ()) -> None:
        """Make the sockets of a listener that has its first one. Raises ListenError.

        Where another process has `handed_over` what there is, that has to do: clients would wait on a new one at once,
        and nobody accepts yet. Several workers may share one.
        """
        if handed_over:
            self._sockets[listener] = [handed_over[slot.number % len(handed_over)] for slot in self.slots]
            return
        own = transport.parse_address(listener.config.address).kind == "tcp"
        count = len(self.slots) - 1
        more = transport.more_like(listener.sock, count) if own else [listener.sock] * count
        self._sockets[listener] = [listener.sock, *more]

    def close(self, listener: Listener) -> None:
        """Listen there no more; a second time does nothing."""
        for sock in self._sockets.pop(listener, ()):
            if sock is not listener.sock:
                sock.close()
        listener.close()

    def close_all(self) -> None:
        """Listen nowhere."""
        for listener in list(self._sockets):
            self.close(listener)

    def all(self) -> list[tuple[str, socket.socket]]:
        """Every socket, with the address it is configured by; one that is shared comes several times."""
        return [(each.config.address, sock) for each, sockets in self._sockets.items() for sock in sockets]

    def of(self, slot: Slot, listeners: Iterable[Listener]) -> list[int]:
        """The descriptors of one worker's sockets of these listeners."""
        return [self._sockets[listener][slot.number].fileno() for listener in listeners]

    def orphaned(self, slot: Slot) -> None:
        """Its worker is gone: another one stands in, as soon as there is one, until it is back."""
        self._orphans.add(slot)
        self.hand_over()

    def ended(self, slot: Slot) -> None:
        """Its worker is gone, and with it what it did for others."""
        for orphan in [one for one, other in self._adopted.items() if other is slot]:
            del self._adopted[orphan]
        self.hand_over()

    def began(self, slot: Slot) -> None:
        """It has a worker of its own again."""
        self._orphans.discard(slot)
        if (other := self._adopted.pop(slot, None)) is not None:
            other.send(Release(slot.number))
        self.hand_over()

    def take_back(self) -> None:
        """Nobody stands in any more, until `hand_over`: before places of listeners change."""
        for slot, other in self._adopted.items():
            other.send(Release(slot.number))
        self._adopted.clear()

    def hand_over(self) -> None:
        """Give the sockets of every orphan to a worker that accepts, if there is one; closed ones are nobody's."""
        places = [place for place, each in enumerate(self.listeners) if len(set(self._sockets.get(each, ()))) > 1]
        for slot in sorted(self._orphans - self._adopted.keys(), key=lambda each: each.number):
            serving = [other for other in self.slots if other.serving]
            if not serving or not places:
                return
            other = min(serving, key=lambda each: list(self._adopted.values()).count(each))
            self._adopted[slot] = other
            other.send(Adopt(slot.number, places), self.of(slot, (self.listeners[place] for place in places)))
            self.log.info("worker_stands_in", worker=other.number, missing=slot.number)


def portions(
    bound: Iterable[tuple[ListenerConfig, socket.socket]], workers: int
) -> list[tuple[ListenerConfig, list[socket.socket]]]:
    """Put together what listens on one address, as another process's workers had it, up to one socket a worker."""
    found: list[tuple[ListenerConfig, list[socket.socket]]] = []
    for config, sock in bound:
        for other, sockets in found:
            same = other is config and sockets[0].getsockname() == sock.getsockname()
            if same and len(sockets) < workers:
                sockets.append(sock)
                break
        else:
            found.append((config, [sock]))
    return found
