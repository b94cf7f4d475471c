"""A worker process: serves connections on sockets it is given, does what its supervisor says, drains without one.

It has no admin endpoints, probes nothing and resolves nothing: what it has to know of upstreams it is told. Signals are
the supervisor's; those that a terminal or a service manager sends to all processes are ignored here.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy.accepting import give_up
from trioproxy.admin.control import Unknown
from trioproxy.certificates import Certificates, CertificatesError
from trioproxy.config_file import parse_config
from trioproxy.control_channel import Channel, sockets
from trioproxy.control_messages import (
    Abandon,
    Adopt,
    Answer,
    Ask,
    Commit,
    Cut,
    Drain,
    Failed,
    News,
    Prepare,
    Ready,
    Release,
    Reopen,
    Resolve,
    Start,
)
from trioproxy.drains import UpstreamDrains
from trioproxy.health import UpstreamState
from trioproxy.housekeeping import TICK, tune_collector
from trioproxy.injecting import PREFIX
from trioproxy.listening import Listener
from trioproxy.logs import Log
from trioproxy.metrics import Metrics
from trioproxy.relay import open_relay
from trioproxy.reloading import ReloadError, prepare_log
from trioproxy.server import Proxy, assemble, report_bug
from trioproxy.shared_board import open_board, worker_row

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Sequence

    from trioproxy.config import Config
    from trioproxy.control_messages import Message, UpstreamNews
    from trioproxy.logs.log import LogChange
    from trioproxy.reloading import Prepared
    from trioproxy.upstreams import Upstream

# Between two messages about failures: of an upstream that fails a thousand times a second one is enough.
FAILURES_SECONDS: Final = 0.05
COMMANDS: Final = frozenset({"tunnels", "drain_upstream", "resume_upstream", "close_tunnel"})
INJECTING: Final = frozenset(PREFIX + name for name in ("tunnels", "close", "blackhole", "refuse", "stop"))
SOURCE: Final = "the supervisor's configuration"  # the file's name, should it ever be refused


def main() -> None:
    """`python -m trioproxy.worker FD`: FD is this end of the line to the supervisor."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    trio.run(run_worker, int(sys.argv[1]))


async def run_worker(fd: int) -> None:
    """Be the worker at the end of a line whose other end a supervisor has, until it is drained or cut."""
    channel = Channel.of(fd)
    try:
        first = await channel.receive()
        # Otherwise the supervisor ended while this one started.
        if first is not None and isinstance(start := first[0], Start):
            await _serve(channel, start, first[1])
    finally:
        channel.close()


async def _serve(channel: Channel, start: Start, fds: Sequence[int]) -> None:
    config = parse_config(start.config, SOURCE)
    row = worker_row(start.worker)
    board = open_board(fds[0], start.workers, row)
    os.close(fds[0])
    tune_collector()
    log = Log.open(config.log, shared=True, worker=start.worker)
    last = ExitStack()
    last.callback(log.close)
    with last:
        if (certificates := _load_certificates(config, log)) is None:
            for fd in fds[1:]:
                os.close(fd)
            return
        async with trio.open_nursery() as services:
            relay = open_relay(services, partial(report_bug, log))
            context = assemble(config, log, relay, Metrics(board, row), start.worker)
            context.supervised = True
            context.trust(certificates)
            last.callback(context.close_idle)
            given = zip(start.listeners, sockets(fds[1:]), strict=True)
            listeners = [Listener(context, config.listeners[index], sock) for index, sock in given]
            proxy = Proxy(context, listeners, UpstreamDrains(context, services), services)
            worker = Worker(proxy, channel)
            worker.learn(start.upstreams)
            await proxy.start()
            services.start_soon(worker.pass_on_wishes)
            services.start_soon(worker.pass_on_failures)
            services.start_soon(worker.answer)
            await worker.tell(Ready())
            await worker.listen()
            services.cancel_scope.cancel()


def _load_certificates(config: Config, log: Log) -> Certificates | None:
    """None, with the log saying why, where the files have become unusable since the supervisor read them."""
    try:
        return Certificates.load(config)
    except CertificatesError as error:
        problems = error.lines
    for problem in problems:
        log.error("certificate_unusable", reason=problem)
    return None


@attrs.define(eq=False)
class Worker:
    """Does what the supervisor says to a running proxy that has no admin."""

    proxy: Proxy
    channel: Channel
    _adopted: dict[int, list[trio.CancelScope]] = attrs.field(factory=dict, init=False)  # by worker
    _prepared: Prepared | None = attrs.field(default=None, init=False)
    _wanted: int | None = attrs.field(default=None, init=False)  # the number of the Prepare that is to be committed
    _prepared_log: LogChange | None = attrs.field(default=None, init=False)
    _draining: bool = attrs.field(default=False, init=False)
    _failed: set[Upstream] = attrs.field(factory=set, init=False)  # of which the supervisor has not heard
    _failure: trio.Event = attrs.field(factory=trio.Event, init=False)
    _over: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _asked: tuple[trio.MemorySendChannel[Ask], trio.MemoryReceiveChannel[Ask]] = attrs.field(
        factory=partial(trio.open_memory_channel, math.inf), init=False
    )

    async def tell(self, message: Message) -> None:
        """Say something, if there is still anybody to hear it: `listen` finds out that there is not."""
        with contextlib.suppress(trio.BrokenResourceError):
            await self.channel.send(message)

    async def listen(self) -> None:
        """Act on messages until drained or cut; without a supervisor, drain."""
        with self._over:
            while (heard := await self.channel.receive()) is not None:
                self.act(*heard)
            self.proxy.context.log.warning("orphaned", reason="the supervisor is gone: draining")
            self._drain()
            await trio.sleep_forever()

    def act(self, message: Message, fds: Sequence[int]) -> None:  # noqa: C901 - a table
        """Do what one message says; what may take time is done beside the next ones."""
        socks = sockets(fds)
        match message:
            case News():
                self.learn(message.upstreams)
            case Adopt():
                self._adopt(message, socks)
            case Release():
                self._release(message.worker)
            case Ask():
                self._asked[0].send_nowait(message)
            case Prepare():
                self.proxy.services.start_soon(self._prepare, message, socks)
            case Commit():
                self._commit(message)
            case Abandon():
                self._abandon()
            case Drain():
                for place in message.given_up:
                    give_up(self.proxy.listeners[place].sock)
                self._drain()
            case Cut():
                self.proxy.cut()
                self._over.cancel()
            case Reopen():
                self.proxy.context.log.reopen()
            case _:
                raise ValueError(f"not for a worker: {type(message).__name__}")

    def learn(self, news: Iterable[UpstreamNews]) -> None:
        """Take over what the supervisor knows of upstreams; of those this process does not know (any more), nothing."""
        for each in news:
            upstream = self._find(each.pool, each.address)
            if upstream is None:
                continue
            if upstream.named:
                upstream.addresses = each.addresses
            if each.draining and not upstream.draining:
                upstream.draining = True
            upstream.ejected = each.ejected
            upstream.learn(UpstreamState(each.state), each.back_for)

    async def pass_on_wishes(self) -> None:
        """Once a second, ask for names to be looked up again to which connects have failed."""
        while True:
            await trio.sleep(TICK)
            for pool in self.proxy.context.pools.values():
                for upstream in pool.upstreams:
                    if upstream.resolve_wanted.is_set():
                        upstream.resolve_wanted = trio.Event()
                        if upstream.named:
                            await self.tell(Resolve(pool.name, upstream.address))

    async def pass_on_failures(self) -> None:
        """Say of which upstreams failures have been counted: the supervisor, which sees those of all, judges."""
        self.proxy.context.on_failure = self._note_failure
        while True:
            await self._failure.wait()
            failed, self._failed, self._failure = self._failed, set(), trio.Event()
            for upstream in failed:
                await self.tell(Failed(upstream.pool, upstream.address))
            await trio.sleep(FAILURES_SECONDS)

    def _note_failure(self, upstream: Upstream) -> None:
        self._failed.add(upstream)
        self._failure.set()

    def _find(self, pool: str, address: str) -> Upstream | None:
        found = self.proxy.context.pools.get(pool)
        return next((each for each in found.upstreams if each.address == address), None) if found else None

    def _adopt(self, message: Adopt, socks: Sequence[socket.socket]) -> None:
        listeners = self.proxy.listeners
        self._adopted[message.worker] = [
            self.proxy.accept_also(listeners[place], sock) for place, sock in zip(message.listeners, socks, strict=True)
        ]

    def _release(self, worker: int) -> None:
        for scope in self._adopted.pop(worker, []):
            scope.cancel()

    async def answer(self) -> None:
        """Do what was asked, one after the other: of two commands the later one holds."""
        async for ask in self._asked[1]:
            await self._answer(ask)

    async def _answer(self, ask: Ask) -> None:
        command = self._command(ask.what)
        try:
            answer = Answer(ask.number, await command(**ask.arguments))
        except Unknown as unknown:
            answer = Answer(ask.number, refusal=(str(unknown),))
        await self.tell(answer)

    def _command(self, what: str) -> Any:
        if what in COMMANDS:
            return getattr(self.proxy.control, what)
        return getattr(self.proxy.chaos.carrier, what.removeprefix(PREFIX)) if what in INJECTING else None

    async def _prepare(self, message: Prepare, socks: Sequence[socket.socket]) -> None:
        config = parse_config(message.config, SOURCE)
        given = _by_name(config, message.listeners, socks)
        self.proxy.context.metrics.board.catch_up()  # the supervisor has begun the series of what is new
        self._wanted = message.number
        try:
            self._prepared_log = prepare_log(self.proxy.context.log, config.log)
            prepared = await self.proxy.prepare(config, given)
        except ReloadError as error:
            await self.tell(Answer(message.number, refusal=tuple(error.problems)))
        else:
            if self._wanted != message.number:  # the supervisor has waited for long enough
                prepared.abandon()
                return
            self._prepared = prepared
            await self.tell(Answer(message.number))

    def _commit(self, message: Commit) -> None:
        lost = 0
        if self._prepared is not None and self._prepared_log is not None:
            self._prepared_log.commit()
            lost = self._prepared.commit()
        self._prepared = self._prepared_log = None
        self.learn(message.upstreams)
        self.proxy.services.start_soon(self.tell, Answer(message.number, lost))

    def _abandon(self) -> None:
        self._wanted = None
        if self._prepared is not None:
            self._prepared.abandon()
        if self._prepared_log is not None:
            self._prepared_log.abandon()
        self._prepared = self._prepared_log = None

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            self.proxy.services.start_soon(self._drain_to_the_end)

    async def _drain_to_the_end(self) -> None:
        await self.proxy.chaos.carrier.stop()
        await self.proxy.drain()
        self._over.cancel()


def _by_name(config: Config, places: Iterable[int], socks: Iterable[socket.socket]) -> dict[str, list[socket.socket]]:
    found: dict[str, list[socket.socket]] = {}
    for place, sock in zip(places, socks, strict=True):
        found.setdefault(config.listeners[place].name, []).append(sock)
    return found


if __name__ == "__main__":
    main()
