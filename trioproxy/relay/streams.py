"""The portable engine: two Trio tasks a tunnel over any half-closeable streams; a relay's executable specification.

It is written to be read. `relay.pump` is the one written to be fast; what both decide alike is in `relay.tunnel`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.errors import Ending, Reason
from trioproxy.relay.tunnel import SWEEP, Tunnel
from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import OverSocket

if TYPE_CHECKING:
    from trioproxy.relay.direction import Direction
    from trioproxy.relay.tunnel import Engine

READ_SIZE: Final = 64 * 1024  # also what a slow reader makes this engine hold, per direction


class StreamsRelay:
    """Relays over any `trio.abc.HalfCloseableStream`: sockets, TLS, memory streams."""

    name = "streams"

    async def run(self, tunnel: Tunnel) -> Ending:
        """Relay until the end; see `relay.Relay.run`."""
        try:
            async with trio.open_nursery() as nursery:
                await _Carriers(tunnel, nursery).run()
        finally:
            tunnel.engine = None
        for way, stream in ((tunnel.to_client, tunnel.client), (tunnel.to_upstream, tunnel.upstream)):
            if way.reset:
                await _reset(stream)
        return tunnel.ending


@attrs.define(eq=False)
class _Carriers:
    """Both directions of a tunnel, and their deadlines."""

    tunnel: Tunnel
    nursery: trio.Nursery
    upwards: _Carrier = attrs.field(init=False)
    downwards: _Carrier = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        tunnel = self.tunnel
        self.upwards = _Carrier(self, tunnel, tunnel.to_upstream, tunnel.client, tunnel.upstream)
        self.downwards = _Carrier(self, tunnel, tunnel.to_client, tunnel.upstream, tunnel.client)

    async def run(self) -> None:
        """Carry until cancelled."""
        tunnel = self.tunnel
        self.nursery.start_soon(self.upwards.carry, tunnel.early_to_upstream)
        self.nursery.start_soon(self.downwards.carry, tunnel.early_to_client)
        tunnel.early_to_upstream = tunnel.early_to_client = b""
        tunnel.engine = self
        self.look(tunnel)
        while True:
            await trio.sleep(SWEEP)
            if tunnel.tick(trio.current_time()):
                self.look(tunnel)

    def look(self, tunnel: Tunnel) -> None:
        """Something was decided about the tunnel: do what follows from it."""
        if tunnel.over:
            self.nursery.cancel_scope.cancel()
        self.upwards.interrupt()
        self.downwards.interrupt()


@attrs.define(eq=False)
class _Carrier:
    """Carries one direction: the only reader of its source and the only writer of its sink."""

    engine: Engine
    tunnel: Tunnel
    way: Direction
    source: trio.abc.ReceiveStream
    sink: trio.abc.HalfCloseableStream
    _reading: trio.CancelScope | None = attrs.field(default=None, init=False)

    def interrupt(self) -> None:
        """Stop waiting for the source, to look at what is due. Nothing received is lost."""
        if self._reading is not None:
            self._reading.cancel()

    async def carry(self, early: bytes) -> None:
        """Pass on until the source has ended and the sink knows."""
        self.way.active = trio.current_time()
        if early:
            await self._take(early)
        while True:
            await self._pay()
            if self.way.ended:
                return
            data = b""
            with trio.CancelScope() as self._reading:
                if self.tunnel.suspended:
                    await trio.sleep_forever()  # until something is decided about the tunnel
                data = await self._read()
            reading, self._reading = self._reading, None
            if not reading.cancelled_caught and data:
                await self._take(data)

    async def _read(self) -> bytes:
        """What the source sends next; empty if it has ended."""
        reason, detail = Reason.CLOSED, ""
        try:
            if data := bytes(await self.source.receive_some(READ_SIZE)):
                return data
        except trio.BrokenResourceError as error:
            reason = Reason.RESET
            if isinstance(error.__cause__, TlsError):
                reason, detail = Reason.TLS, str(error)
        self.tunnel.source_ended(self.way, reason, detail)
        self._settle()
        return b""

    async def _take(self, data: bytes) -> None:
        self.way.bytes += len(data)
        data = self.way.held + data
        end, behind = self.tunnel.digest(self.way, data, 0, len(data))
        self._settle()
        await self._send(data[:end] + behind)

    async def _pay(self) -> None:
        """Send what is due to the sink besides the source's bytes: a frame of the proxy's own, FIN."""
        way = self.way
        if way.due:
            frame = way.inject()
            self._settle()
            await self._send(frame)
        if way.fin and not (way.finished or way.lost):
            try:
                await self.sink.send_eof()
            except trio.BrokenResourceError:
                self.tunnel.sink_lost(way)
            else:
                way.finished = True
            self._settle()

    async def _send(self, data: bytes) -> None:
        if not data or self.way.lost:
            return
        self.way.stalled = trio.current_time()
        try:
            await self.sink.send_all(data)
        except trio.BrokenResourceError:
            self.tunnel.sink_lost(self.way)
            self._settle()
        self.way.stalled = math.inf

    def _settle(self) -> None:
        if self.tunnel.settle():
            self.engine.look(self.tunnel)


async def _reset(stream: trio.abc.AsyncResource) -> None:
    """Make closing the stream a reset, now or when the caller closes it."""
    if isinstance(stream, OverSocket):
        stream.reset_on_close()
    else:
        await trio.aclose_forcefully(stream)
