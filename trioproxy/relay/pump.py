"""The fast engine: one Trio task, one inner epoll and one buffer serve all tunnels of a process.

An epoll descriptor is itself pollable, so Trio wakes one task for any number of sockets. Each ready socket is read
into the shared buffer, its frame headers are scanned, and what was read is sent on from there: no task switch, no
allocation and no epoll_ctl per message. A tunnel that waits owns no buffer, and its task is parked. What a read, an
end or a deadline means is decided in `relay.tunnel`, as for the portable engine. Writing, and all that is TLS's, is in
`ports` and `intake`.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any, Final

import trio

from trioproxy.errors import Ending, Reason
from trioproxy.relay.intake import DENSE_READ, HEADROOM, Intake
from trioproxy.relay.ports import Link, Port
from trioproxy.relay.tunnel import SWEEP, Tunnel
from trioproxy.tls.stream import socket_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

BATCH: Final = 64  # events asked for at once
ALLOWANCE: Final = 4 * 1024 * 1024  # bytes between two checkpoints ...
TURN: Final = 64 * 1024  # ... of which any turn takes this besides what it reads: so 64 turns with small messages
# A read may hold 40,000 frames of 6 bytes, and scanning those takes 30 ms: who floods is read in portions of about a
# millisecond, and so often between two checkpoints that others wait for some of them and not for all.
DENSE: Final = 4096  # frames in a read from where on its sender is one who floods; messages of 64 bytes are no flood
DENSE_TURN: Final = 512 * 1024  # what a turn takes of the allowance then
SPARSE: Final = 128  # frames in a portion up to which it was one
SLICE: Final = 256  # tunnels whose deadlines are looked at between two checkpoints

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
LOOK: Final = 0  # in place of epoll's events: something was decided about the tunnel


class Pump:
    """Carries tunnels whose two streams are `Socket`s or `TlsStream`s, while `serve` runs.

    `report` is called with an exception that is a bug, while it is being handled; only the tunnel it concerns ends.
    `turns` counts events served and `control_calls` calls of epoll_ctl: in a steady state the second stands still.
    """

    name = "pump"

    def __init__(self, report: Callable[[Exception], object]) -> None:
        self.turns = 0
        self.control_calls = 0
        self._report = report
        self._epoll = select.epoll()
        self._ports: dict[int, Port] = {}  # of tunnels without TLS
        self._sealed: dict[int, Port] = {}  # with TLS on either side: looked for only where the others have none
        self._lot = trio.lowlevel.ParkingLot()  # where the sweep waits while there is no tunnel
        self._intake = Intake()
        self._dense: set[int] = set()  # descriptors of those who flood

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry what `run` brings until cancelled; tunnels that are open then are cut."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sweep)
                task_status.started()
                await self._serve()
        finally:
            for tunnel in [port.link.tunnel for port in (*self._ports.values(), *self._sealed.values())]:
                tunnel.cut()
            self._epoll.close()

    def run(self, tunnel: Tunnel) -> Coroutine[Any, Any, Ending]:
        """Relay until the end; see `relay.Relay.run`.

        It is no coroutine function, as its frame would lie in memory for each open tunnel. So there is no `finally`
        here: the sockets are let go by whatever ends the wait, the tunnel's end (`_advance`, `_fault`) or, as Trio's
        abort function, the link.
        """
        link = Link.borrow(tunnel, self)
        try:
            self._attach(link)
        except BaseException:
            self.let_go(link)
            raise
        if tunnel.over:
            return _ended(tunnel)
        link.task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(link)  # noqa: ASYNC105 -- the caller awaits it

    def let_go(self, link: Link) -> None:
        """Forget both sockets at once. Idempotent."""
        link.tunnel.engine = None
        for port in (link.client, link.upstream):
            if self._holds(port):
                (self._sealed if port.sealed else self._ports).pop(port.fd)
                self._dense.discard(port.fd)
            if port.events:
                self.control_calls += 1
                self._epoll.unregister(port.fd)
                port.events = 0
        link.give_back()

    def look(self, tunnel: Tunnel) -> None:
        """Something was decided about the tunnel: do what follows from it."""
        if (client := socket_of(tunnel.client)) is not None:
            self._turns(((client.fileno(), LOOK),), ALLOWANCE)

    @property
    def registered(self) -> int:
        """How many descriptors the pump has in its hands."""
        return len(self._ports) + len(self._sealed)

    def _holds(self, port: Port) -> bool:
        """Whether its tunnel goes on: else its descriptor may be another's by now."""
        return (self._ports.get(port.fd) or self._sealed.get(port.fd)) is port

    # Taking turns.

    async def _serve(self) -> None:
        allowance = ALLOWANCE
        while True:
            events = self._epoll.poll(0, BATCH)
            if not events:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                allowance = ALLOWANCE
            while events:
                served, allowance = self._turns(events, allowance)
                events = events[served:]  # before asking again: those at the queue's end must not starve
                if allowance <= 0:
                    await trio.lowlevel.checkpoint()
                    allowance = ALLOWANCE

    def _turns(  # noqa: C901, PLR0912, PLR0915 -- see below
        self, events: Sequence[tuple[int, int]], allowance: int
    ) -> tuple[int, int]:
        """Serve events until the allowance is used up; returns how many were served and what is left of it."""
        # Longer than the house likes: this loop is the hot path, and a call it does not make is about 0.5 % of the
        # proxy's CPU for a small message (64-byte echo over 64 tunnels).
        ports, intake, dense = self._ports, self._intake, self._dense
        buffer, view, room = intake.buffer, intake.view, intake.room
        now = trio.current_time()  # once a batch: a look at the clock costs as much as scanning a header
        served = 0
        for fd, event in events:
            served += 1
            port = ports.get(fd)
            try:
                if port is None:
                    port = self._sealed.get(fd)
                    if port is None:  # its tunnel ended earlier in this batch
                        continue
                    allowance -= self._sealed_turn(port, event, now)
                    if allowance <= 0:
                        break
                    continue
                if event != IN and not self._unusual(port, event):
                    continue
                if not port.events & IN:  # no longer wanted since epoll said so
                    continue
                way = port.source
                try:
                    if dense and fd in dense:
                        allowance -= DENSE_TURN
                        size = os.readv(fd, intake.portion)
                    else:
                        size = os.readv(fd, room)
                except BlockingIOError:
                    continue
                except OSError:
                    self._source_ended(port, Reason.RESET)
                    continue
                if not size:
                    self._source_ended(port, Reason.CLOSED)
                    continue
                allowance -= TURN + size
                way.bytes += size
                if way.held or way.owed or way.muted:
                    self._take(port, size)
                    continue
                scanner, stop = way.scanner, HEADROOM + size
                if scanner.allowance is not None:
                    scanner.allowance.refill(now)
                if size < scanner.left:  # the usual read inside a long payload: nothing to scan
                    scanner.left -= size
                else:
                    boundary = HEADROOM + scanner.left
                    if size < DENSE_READ:
                        end = scanner.scan(buffer, HEADROOM, stop)
                    else:
                        before = scanner.frames
                        end = scanner.scan(buffer, HEADROOM, stop)
                        self._weigh(fd, scanner.frames - before)
                    if end != stop or scanner.close_code is not None:
                        digested = port.link.tunnel.digest_scanned(way, buffer, HEADROOM, boundary, end, stop)
                        self._pass(port, view[HEADROOM : digested[0]], digested[1])
                        continue
                way.active = now
                try:
                    sent = os.write(port.peer.fd, view[HEADROOM:stop])
                except OSError:
                    sent = 0  # full or lost: sending the rest will tell
                if sent != size:
                    self._pass(port, view[HEADROOM + sent : stop], b"")
                if allowance <= 0:
                    break
            except Exception as error:  # noqa: BLE001 -- one of three: a bug must not end the other tunnels
                self._fault(fd, error)
        self.turns += served
        return served, allowance

    def _weigh(self, fd: int, frames: int) -> None:
        """Judge by how many frames a long read held whether their sender floods."""
        if frames >= DENSE:
            self._dense.add(fd)
        elif frames <= SPARSE:
            self._dense.discard(fd)

    def _unusual(self, port: Port, event: int) -> bool:
        """Serve any event but plain readability; whether the port is to be read, too."""
        if event == LOOK:
            self._advance(port.link)
            return False
        if port.events & OUT and port.flush():  # there is room, or an error that writing shows
            self._advance(port.link)
        return bool(event & ~OUT)

    def _source_ended(self, port: Port, reason: Reason, detail: str = "") -> None:
        port.link.tunnel.source_ended(port.source, reason, detail)
        self._advance(port.link)

    def _take(self, port: Port, size: int) -> None:
        """Digest what was just read, in a direction with something held, owed or muted."""
        before = port.source.scanner.frames
        self._intake.digest(port, size)
        if size >= DENSE_READ:
            self._weigh(port.fd, port.source.scanner.frames - before)
        self._advance(port.link)

    def _pass(self, port: Port, data: bytes | memoryview, behind: bytes) -> None:
        """Send what came from this port, and what is to go out behind it, to the other one."""
        port.peer.send(data)
        port.peer.send(behind)
        self._advance(port.link)

    def _sealed_turn(self, port: Port, event: int, now: float) -> int:
        """Serve one event of a tunnel with TLS on either side; returns what that takes of the allowance."""
        if (event != IN and not self._unusual(port, event)) or not port.events & IN:
            return 0
        dense = port.fd in self._dense
        try:
            size = self._intake.read(port, dense=dense)
        except BlockingIOError:
            return 0
        except OSError:
            self._source_ended(port, Reason.RESET)
            return TURN
        if not size:  # TLS need not have said so before: whether a tunnel was complete its Close frames tell
            self._source_ended(port, Reason.CLOSED)
            return TURN
        way, frames, octets = port.source, 0, port.source.bytes
        if size >= DENSE_READ:
            frames = way.scanner.frames
        follows = self._intake.pass_on(port, size, now)
        if size >= DENSE_READ and way.bytes != octets:  # inside a long record nothing is known of its frames
            records = 0 if port.tls is None else port.tls.records
            self._weigh(port.fd, max(way.scanner.frames - frames, records))
        if follows:
            self._advance(port.link)
        return size + (DENSE_TURN if dense else TURN)

    def _catch_up(self, link: Link) -> None:
        """Take in what the handshakes have left inside TLS, where that is wanted by now."""
        for port in (link.client, link.upstream):
            if port.unread and port.readable:
                port.unread = False
                self._intake.pass_on(port, 0, trio.current_time())

    # What follows from a decision.

    def _advance(self, link: Link) -> None:
        """Do what the tunnel decided: frames of ours that are due, FINs, watching the right events, the end."""
        while not link.tunnel.over:
            link.client.pay()
            link.upstream.pay()
            if not link.tunnel.settle():
                if (link.client.unread and link.client.readable) or (link.upstream.unread and link.upstream.readable):
                    self._catch_up(link)
                    continue
                self._watch(link.client)
                self._watch(link.upstream)
                return
        self.let_go(link)
        link.wake()

    def _watch(self, port: Port) -> None:
        """Have epoll report what can be served.

        A port that is not to be read is not watched at all unless there is something to send: a reset or a hang-up
        cannot be masked and would be reported over and over. Those of a suspended tunnel are not, either.
        """
        wanted = IN if port.readable else 0
        if port.unsent is not None and not port.link.tunnel.suspended:
            wanted |= OUT
        if wanted == port.events:
            return
        self.control_calls += 1
        if not wanted:
            self._epoll.unregister(port.fd)
        elif port.events:
            self._epoll.modify(port.fd, wanted)
        else:
            self._epoll.register(port.fd, wanted)
        port.events = wanted

    def _fault(self, fd: int, error: Exception) -> None:
        self._report(error)
        port = self._ports.get(fd) or self._sealed.get(fd)
        if port is not None:  # else its tunnel is over already
            link = port.link
            link.tunnel.fault(error)
            self.let_go(link)
            link.wake()

    # Coming and going.

    def _attach(self, link: Link) -> None:
        tunnel, now = link.tunnel, trio.current_time()
        for port in (link.client, link.upstream):
            (self._sealed if port.sealed else self._ports)[port.fd] = port
            port.source.active = now
        for port, early in ((link.client, tunnel.early_to_upstream), (link.upstream, tunnel.early_to_client)):
            if early and not tunnel.over:
                port.source.bytes += len(early)
                end, behind = tunnel.digest(port.source, early, 0, len(early))
                self._pass(port, early[:end], behind)
        if not tunnel.over:
            link.client.unread, link.upstream.unread = link.client.left_over, link.upstream.left_over
        self._advance(link)
        if tunnel.over:
            return
        tunnel.early_to_upstream = tunnel.early_to_client = b""
        tunnel.engine = self
        self._lot.unpark()

    async def _sweep(self) -> None:
        """Look at every tunnel's deadlines once in `SWEEP` seconds."""
        while True:
            if not self.registered:
                await self._lot.park()
            await trio.sleep(SWEEP)
            ports = (*self._ports.values(), *self._sealed.values())
            clients = [port for port in ports if port is port.link.client]
            for first in range(0, len(clients), SLICE):
                now = trio.current_time()
                for port in clients[first : first + SLICE]:
                    if self._holds(port) and port.link.tunnel.tick(now):
                        self._turns([(port.fd, LOOK)], ALLOWANCE)
                await trio.lowlevel.checkpoint()


async def _ended(tunnel: Tunnel) -> Ending:
    """What `run` returns for a tunnel that is over as soon as it begins."""
    await trio.lowlevel.checkpoint()
    return tunnel.ending
