"""The pump's one buffer and how what is read into it goes on: decrypted where it came over TLS, digested, passed on.

When a socket is read, and what follows from what came, is decided in `pump`, which does the commonest case itself.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.errors import Reason
from trioproxy.tls.layer import LONGEST, RECORD

if TYPE_CHECKING:
    from trioproxy.relay.ports import Port

READ_SIZE: Final = 256 * 1024  # above it nothing is gained; also the most a slow reader makes a direction hold
HEADROOM: Final = 256  # before what is read, for the up to 131 bytes that were held back
DENSE_READ: Final = 8 * 1024  # of one who floods with tiny frames
SEALED_READ: Final = READ_SIZE - RECORD - LONGEST  # with an unfinished record before it, it says at most READ_SIZE
MOST_UNSENT: Final = 2 * READ_SIZE  # octets that may wait for one whose TLS wants answer upon answer


@attrs.define(eq=False)
class Intake:
    """One for all tunnels: nobody keeps anything here between two turns.

    `room` and `portion` are what `os.readv` takes for a whole read and for one of DENSE_READ; what was read then
    begins at HEADROOM.
    """

    buffer: bytearray = attrs.field(factory=lambda: bytearray(HEADROOM + READ_SIZE), init=False)
    view: memoryview = attrs.field(init=False)
    room: tuple[memoryview] = attrs.field(init=False)
    portion: tuple[memoryview] = attrs.field(init=False)
    _octets: memoryview = attrs.field(init=False)  # as they came over TLS, an unfinished record before LONGEST

    def __attrs_post_init__(self) -> None:
        self.view = memoryview(self.buffer)
        self.room = (self.view[HEADROOM:],)
        self.portion = (self.view[HEADROOM : HEADROOM + DENSE_READ],)
        self._octets = memoryview(bytearray(LONGEST + SEALED_READ))

    def read(self, port: Port, *, dense: bool) -> int:
        """Read what has come, as it came; 0 at FIN. Raises what reading raises. To be followed by `pass_on`."""
        if port.tls is None:
            return os.readv(port.fd, self.portion if dense else self.room)
        return os.readv(port.fd, (self._octets[LONGEST : LONGEST + (DENSE_READ if dense else SEALED_READ)],))

    def pass_on(self, port: Port, size: int, now: float) -> bool:
        """Pass on what was read, decrypted; whether the tunnel is to be asked what follows.

        With `size` 0, what the handshakes have left inside TLS.
        """
        tls = port.tls
        if tls is None:
            return self._pass_on(port, size, now)
        start = LONGEST - len(tls.tail)
        self._octets[start:LONGEST] = tls.tail
        size = tls.decrypt_into(self._octets[start : LONGEST + size], self.view[HEADROOM:])
        answer = tls.take_outgoing()  # an alert, a new key
        if not port.sink.finished:  # behind FIN it would look as though the other side were lost
            port.emit(answer)
        follows = bool(size) and self._pass_on(port, size, now)
        if port.unsent is not None and len(port.unsent) > MOST_UNSENT:
            tls.broken = tls.broken or "the answers of TLS are not read"
        if tls.broken:
            port.link.tunnel.source_ended(port.source, Reason.TLS, tls.broken)
        elif tls.ended:
            port.link.tunnel.source_ended(port.source, Reason.CLOSED)
        return bool(follows or tls.broken or tls.ended or port.unsent is not None or port.sink.lost)

    def _pass_on(self, port: Port, size: int, now: float) -> bool:
        way, stop = port.source, HEADROOM + size
        way.bytes += size
        if way.held or way.owed or way.muted or way.scanner.allowance is not None:
            self.digest(port, size)
            return True
        boundary = HEADROOM + way.scanner.left
        end = way.scanner.scan(self.buffer, HEADROOM, stop)
        if end != stop or way.scanner.close_code is not None:
            end, behind = port.link.tunnel.digest_scanned(way, self.buffer, HEADROOM, boundary, end, stop)
            port.peer.send(self.view[HEADROOM:end])
            port.peer.send(behind)
            return True
        way.active = now
        port.peer.send(self.view[HEADROOM:stop])
        return port.peer.unsent is not None or port.peer.sink.lost

    def digest(self, port: Port, size: int) -> None:
        """Pass on what was read, and counted, in any direction: with something held, owed, limited or muted, too."""
        way = port.source
        start, stop = HEADROOM - len(way.held), HEADROOM + size
        self.buffer[start:HEADROOM] = way.held
        end, behind = port.link.tunnel.digest(way, self.buffer, start, stop)
        port.peer.send(self.view[start:end])
        port.peer.send(behind)
