"""The way between the proxy and one upstream, on which faults are let loose: a TCP relay that does as they say.

What a fault does to what passes is `faults`'; when it is on is `timeline`'s. It also notes which connection of which
client passes here (`trail`), and which of them a fault may have harmed.
"""

from __future__ import annotations

import contextlib
import math
import socket as stdlib
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.chaos import trail
from trioproxy.chaos.faults.base import ConnectionFault, Opening
from trioproxy.chaos.parts import Cut, Kind, Part, Splitter
from trioproxy.chaos.servers import ServerError, keep_port
from trioproxy.sockets import reset_on_close

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_READ: Final = 64 * 1024
_QUEUED: Final = 512  # parts on one way; more wait in the sender's socket
_LOOK_AGAIN: Final = 0.05  # seconds after which an upstream that refused is looked at again
_BACKLOG: Final = 1024


@attrs.define(eq=False)
class Hop:
    """Listens at a port of its own, which it keeps, and connects to `target` for each connection.

    Where nothing listens at the target, nothing listens here: a refused connect must be one for the proxy, too.
    """

    number: int
    target: tuple[str, int]
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    harmed: set[str] = attrs.field(factory=set, init=False)  # the names of connections, see `trail`
    links: set[_Link] = attrs.field(factory=set, init=False)
    _on: list[_On] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _unreachable: bool = attrs.field(default=False, init=False)
    _listener: trio.socket.SocketType | None = attrs.field(default=None, init=False)

    @property
    def address(self) -> str:
        """Where the proxy finds the upstream."""
        return f"{self.host}:{self.port}"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Relay until cancelled; started when it has its port."""
        with self._bound() as sock:
            self._listener = sock
            self._follow()
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    self._changed = trio.Event()
                    async with trio.open_nursery() as turn:
                        if self._refuses():
                            turn.start_soon(self._await_return)
                        else:
                            turn.start_soon(self._accept, sock, nursery)
                        await self._changed.wait()
                        turn.cancel_scope.cancel()

    def _bound(self) -> trio.socket.SocketType:
        try:
            sock = keep_port(self.host, self.port)
        except OSError as error:
            raise ServerError(f"the hop of upstream {self.number}: {self.address}: {error.strerror}") from None
        self.port = sock.getsockname()[1]
        return trio.socket.from_stdlib_socket(sock)

    def _follow(self) -> None:
        """Listen or do not, from this moment on: who has begun a fault may connect in the next."""
        if self._listener is None:
            return
        with contextlib.suppress(OSError):  # it does not listen
            if self._refuses():
                self._listener.shutdown(stdlib.SHUT_RD)  # what is bound and does not listen, refuses (tcp(7))
            else:
                self._listener.listen(_BACKLOG)
        self._changed.set()

    def _refuses(self) -> bool:
        return self._unreachable or any(on.fault.opening is Opening.REFUSE for on in self._on)

    async def _accept(self, sock: trio.socket.SocketType, nursery: trio.Nursery) -> None:
        while True:
            try:
                client, (_, port) = await sock.accept()
            except OSError:
                if self._refuses():  # and `run` is about to cancel this
                    return
                raise
            self._count += 1
            link = _Link(self, trio.SocketStream(client), port, Random(f"{self.seed} {self.number} {self._count}"))
            nursery.start_soon(link.run)

    async def _await_return(self) -> None:
        while True:
            await trio.sleep(_LOOK_AGAIN)
            if self._unreachable:
                with contextlib.suppress(OSError):
                    await (await trio.open_tcp_stream(*self.target)).aclose()
                    self.reached()

    def reached(self, *, reached: bool = True) -> None:
        """Whether something listens at the target, as a connect has shown."""
        if self._unreachable is reached:
            self._unreachable = not reached
            self._follow()

    def begin(self, fault: ConnectionFault) -> None:
        """Let a fault loose on what is open and on what comes."""
        on = _On(fault)
        if not fault.instant:
            self._on.append(on)
        for link in [link for link in self.links if on.chooses(link)]:
            if fault.harms:
                self.harmed.add(link.name)
            fault.strike(link)
        if fault.opening is Opening.REFUSE:
            self._follow()

    def end(self, fault: ConnectionFault) -> None:
        """Stop a fault that is on. Raises ValueError for one that is not."""
        if fault.instant:
            return
        on = next((on for on in self._on if on.fault is fault), None)
        if on is None:
            raise ValueError(f"{fault.name} is not on")
        self._on.remove(on)
        on.over.set()
        for link in [link for link in self.links if on.chooses(link)]:
            fault.release(link)
        if fault.opening is Opening.REFUSE:
            self._follow()

    def harm(self, ports: Collection[int] | None = None) -> None:
        """Note that what is open now may lose messages or end; with `ports` only what the proxy has at them."""
        self.harmed |= {link.name for link in self.links if ports is None or link.port in ports}

    def on(self, link: _Link) -> Iterable[_On]:
        """The faults that concern this connection now."""
        return [on for on in self._on if on.chooses(link)]


@attrs.define(eq=False)
class _On:
    """A fault while it is on, at one hop."""

    fault: ConnectionFault
    over: trio.Event = attrs.field(factory=trio.Event)

    def chooses(self, link: _Link) -> bool:
        return link.lot < self.fault.share


@attrs.define(eq=False)
class _Link:
    """One connection, from the proxy to the upstream."""

    hop: Hop
    client: trio.SocketStream
    port: int  # the proxy's
    random: Random
    lot: float = attrs.field(init=False)
    name: str = attrs.field(default="", init=False)  # of the client's connection, once its head has passed
    ways: Sequence[_Way] = attrs.field(default=(), init=False)
    _upstream: trio.SocketStream | None = attrs.field(default=None, init=False)
    _over: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        self.lot = self.random.random()

    async def run(self) -> None:
        with self._over:
            async with self.client:
                try:
                    upstream = await trio.open_tcp_stream(*self.hop.target)
                except OSError:
                    self.hop.reached(reached=False)
                    reset_on_close(self.client)
                    return
                self._upstream = upstream
                if any(on.fault.opening is Opening.RESET for on in self.hop.on(self)):
                    self.reset()
                async with upstream:
                    await self._relay(upstream)

    async def _relay(self, upstream: trio.SocketStream) -> None:
        to_upstream = _Way(self, self.client, upstream, to_client=False)
        to_client = _Way(self, upstream, self.client, to_client=True)
        self.ways = (to_upstream, to_client)
        self.hop.links.add(self)
        try:
            async with trio.open_nursery() as nursery:
                for way in self.ways:
                    nursery.start_soon(way.run)
        finally:
            self.hop.links.discard(self)

    def reset(self) -> None:
        """RST to both sides, now."""
        reset_on_close(self.client)
        if self._upstream is not None:
            reset_on_close(self._upstream)
        self._over.cancel()

    def close(self) -> None:
        """FIN to both sides, now."""
        self._over.cancel()


@attrs.define(eq=False)
class _Way:
    """One direction: one task reads and asks the faults, another sends when it is time."""

    link: _Link
    source: trio.SocketStream
    sink: trio.SocketStream
    to_client: bool = attrs.field(kw_only=True)
    random: Random = attrs.field(init=False)
    splitter: Splitter = attrs.field(factory=Splitter, init=False)
    _queue: deque[tuple[float, Part]] = attrs.field(factory=deque, init=False)  # with the time of arrival
    _inserts: list[Part] = attrs.field(factory=list, init=False)
    _last_frame: bool = attrs.field(default=False, init=False)  # the current one is the last to pass
    _muted: bool = attrs.field(default=False, init=False)
    _stirred: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.link.random.random())

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            with contextlib.suppress(trio.BrokenResourceError):
                await self._read()
                return
            self.link.reset()  # a reset on one side is one on the other

    async def _read(self) -> None:
        ended = False
        while not ended:
            data = await self.source.receive_some(_READ)
            ended = not data
            for part in self.splitter.rest() if ended else self.splitter.split(data):
                if part.kind is Kind.HEAD:
                    self._mark(part)
                self._pass(part)
            while len(self._queue) > _QUEUED:
                await self._stir()

    def _mark(self, head: Part) -> None:
        if not self.to_client:
            self.link.name = trail.connection(head.data)
        elif head.is_upgrade:
            head.data = trail.with_upstream(head.data, self.link.hop.number)
            for way in self.link.ways:
                way.splitter.upgraded = True

    def _pass(self, part: Part) -> None:
        if part.kind is Kind.END or not self._muted:  # whose last word is said may still go
            parts: Iterable[Part] = (part,)
            for on in self.link.hop.on(self.link):
                if on.fault.harms:
                    self.link.hop.harmed.add(self.link.name)
                parts = [after for before in parts for after in on.fault.passing(self, before)]
            for ready in parts:
                self._enqueue(ready)
        if self.splitter.boundary:
            self._insert()

    def put_in(self, part: Part) -> None:
        """See `faults.base.Way`."""
        if self.splitter.upgraded:
            self._inserts.append(part)
            if self.splitter.boundary:
                self._insert()

    def mute(self) -> None:
        """See `faults.base.Way`; the frame that is on its way passes, and what is to be put in behind it."""
        self._last_frame = True
        if self.splitter.boundary:
            self._insert()

    def finish(self) -> None:
        """See `faults.base.Way`."""
        self._enqueue(Part(Kind.END))
        self._muted = True

    def _insert(self) -> None:
        for part in self._inserts:
            self._enqueue(part)
        self._inserts.clear()
        self._muted = self._muted or self._last_frame

    def _enqueue(self, part: Part) -> None:
        self._queue.append((trio.current_time(), part))
        self._stirred.set()

    async def _stir(self) -> None:
        """Wait for the other task to have changed the queue."""
        self._stirred = trio.Event()
        await self._stirred.wait()

    async def _send(self) -> None:
        due = -math.inf
        while True:
            while not self._queue:
                await self._stir()
            arrival, part = self._queue[0]
            due = max(arrival + part.lag, due) + part.gap
            await trio.sleep_until(due)
            for on in self.link.hop.on(self.link):
                if on.fault in part.held_by:
                    await on.over.wait()
            self._queue.popleft()
            self._stirred.set()
            with contextlib.suppress(trio.BrokenResourceError):
                if part.data:
                    await self.sink.send_all(part.data)
                if part.kind is Kind.END:
                    await self.sink.send_eof()
                    return
            if part.cut is Cut.RESET:
                self.link.reset()
            elif part.cut is Cut.CLOSE:
                self.link.close()
