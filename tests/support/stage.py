"""A whole proxy in this process between sockets that the test holds, moved on only while the test waits for it.

Nobody else runs: when `settle` returns, every byte has gone as far as it will ever go, so that an answer which has not come by
then is one that hangs. That takes no time-outs and a millisecond for an exchange. Real processes are in `proxy`.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
from support.http_client import split_address
from trio.testing import wait_all_tasks_blocked

import trioproxy
from trioproxy.config import (
    AdminConfig,
    Config,
    HealthConfig,
    ListenerConfig,
    PoolConfig,
    RouteConfig,
    TimeoutsConfig,
    UpstreamConfig,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trioproxy.logs import Log
    from trioproxy.server import Proxy

READ_BYTES = 1 << 20
POOL = PoolConfig(name="all", health=HealthConfig(probe="none"))
LISTENER = ListenerConfig(address="127.0.0.1:0")


@attrs.define(eq=False)
class End:
    """One connected socket of the test's; `received` grows whenever it is looked at."""

    socket: socket.socket
    received: bytes = b""
    ended: bool = False
    reset: bool = False
    answered: int = 0  # for who plays an upstream: how many requests of `received` have had their answer

    def look(self) -> bool:
        """Take in what has come; whether anything has."""
        before = len(self.received), self.ended
        while not self.ended:
            try:
                data = self.socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            except ConnectionError:
                self.reset = self.ended = True
                break
            self.received += data
            self.ended = not data
        return before != (len(self.received), self.ended)

    def send(self, data: bytes) -> None:
        """What the other side does not want any more is lost; more than a socket takes at once is a mistake of the test."""
        with suppress(ConnectionError):
            assert self.socket.send(data) == len(data)

    def finish(self) -> None:
        """FIN."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)


@attrs.define(eq=False)
class Stage:
    """The proxy, and the upstream's listening socket. `upstreams` are the connections the proxy has open."""

    address: tuple[str, int]
    listener: socket.socket
    proxy: Proxy
    connected: Callable[[socket.socket], Any]  # makes a client's end
    upstreams: list[End] = attrs.Factory(list)
    clients: list[End] = attrs.Factory(list)

    def client(self, source: str = "127.0.0.1") -> End:
        """A connection to the proxy from this address, closed by `clear`."""
        self.clients.append(_end(socket.create_connection(self.address, source_address=(source, 0)), self.connected))
        return self.clients[-1]

    async def settle(self, play: Callable[[End], None] | None = None) -> None:
        """Let all go on until nothing moves; `play` is shown each upstream connection on which something has come."""
        while True:
            await wait_all_tasks_blocked()
            self._accept()
            moved = [end for end in self.upstreams if end.look()]
            if not moved:
                return
            for end in moved:
                if play is not None:
                    play(end)

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self.listener.accept()
            except BlockingIOError:
                return
            self.upstreams.append(_end(end))

    def clear(self, upstreams: Callable[[End], bool]) -> None:
        """Close all clients' connections, and those upstream ones for which `upstreams` says so."""
        for ends, wanted in ((self.clients, lambda _: True), (self.upstreams, upstreams)):
            for end in [end for end in ends if wanted(end)]:
                end.socket.close()
                ends.remove(end)


def _end(connected: socket.socket, make: Callable[[socket.socket], Any] = End) -> Any:
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # nothing may wait for an acknowledgement
    connected.setblocking(False)
    return make(connected)


@asynccontextmanager
async def stage(
    *,
    log: Log | None = None,
    pool: PoolConfig = POOL,
    listener: ListenerConfig = LISTENER,
    connected: Callable[[socket.socket], Any] = End,
    **tables: Any,
) -> AsyncIterator[Stage]:
    """With `tables` of the configuration besides; routes have its time-outs, `pool` gets the upstream.

    `connected` makes the ends of clients, which behave like an `End`.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        upstream = UpstreamConfig(address="{}:{}".format(*server.getsockname()))
        pool = attrs.evolve(pool, upstreams=(upstream,))
        config = Config(
            admin=AdminConfig(address=""),
            listeners=(listener,),
            routes=(RouteConfig(path="/", pool="all", timeouts=tables.get("timeouts", TimeoutsConfig())),),
            pools={"all": pool},
            **tables,
        )
        async with trioproxy.serve(config, log=log) as proxy:
            running = Stage(split_address(proxy.listeners[0].address), server, proxy, connected)
            try:
                yield running
            finally:
                running.clear(lambda _: True)
