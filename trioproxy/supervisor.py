"""Several worker processes as one proxy: what they share is bound, probed, resolved, counted and told here.

    services ⊃ workers, probers, resolver, admin

It serves no connection itself. One worker's place is `slots`' work, what the process does `worker`'s, the admin's
commands `supervisor_control`'s.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy import metrics as m
from trioproxy import reloading
from trioproxy.accepting import give_up
from trioproxy.admin import Token
from trioproxy.binding import bind_all
from trioproxy.certificates import tell_of_expired
from trioproxy.config_syntax import canonical
from trioproxy.control_messages import Drain, Failed, News, Reopen, Resolve, Start, UpstreamNews
from trioproxy.housekeeping import HEARTBEAT, TICK, keep_house
from trioproxy.injections import Injections
from trioproxy.listening import Listener
from trioproxy.live import TOLD
from trioproxy.metrics import Metrics
from trioproxy.metrics.declared import declare_series
from trioproxy.passive import Judge
from trioproxy.prober import run_prober
from trioproxy.relay.streams import StreamsRelay
from trioproxy.reloading_workers import PreparedWorkers
from trioproxy.resolver import run_resolver
from trioproxy.server import assemble, lone_failure, make_pool, start_admin
from trioproxy.shared_board import SUPERVISOR, create_memory, open_board, retired_row, worker_row
from trioproxy.sharing import Sharing, portions
from trioproxy.slots import RestartReason, Slot, text_for_workers
from trioproxy.status import Status
from trioproxy.supervisor_control import SupervisorControl
from trioproxy.supervisor_injecting import WorkersHands
from trioproxy.transport import by_address

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

    from trioproxy.config import Config, PoolConfig
    from trioproxy.context import Context
    from trioproxy.control_messages import Message
    from trioproxy.logs import Log
    from trioproxy.prober import Prober
    from trioproxy.resolver import Resolver
    from trioproxy.upstreams import Pool, Upstream

STOP_SECONDS: Final = 1.0  # that a drain waits for workers to undo what was injected: they do so at their own, too
DRAIN_MARGIN: Final = 5.0  # seconds a worker may take beyond its drain
NAME: Final = "supervisor"  # in the place of a worker's number


class WorkersError(Exception):
    """Workers that end before they ever accepted; the message says so in one line."""


def worker_count(config: Config) -> int:
    """How many processes `server.workers` asks for: 0 is one for each CPU this process may use."""
    return config.server.workers or len(os.sched_getaffinity(0))


@asynccontextmanager
async def supervise(
    config: Config, *, log: Log, inherited: Mapping[str, Sequence[socket.socket]] | None = None
) -> AsyncIterator[Supervisor]:
    """As `server.serve`, with worker processes: the body begins when all of them accept."""
    workers = worker_count(config)
    if not sys.platform.startswith("linux"):
        raise WorkersError(f"server.workers = {workers}: several workers need Linux")
    with lone_failure(), ExitStack() as last:
        bound = bind_all(config, inherited or {}, last)
        memory = create_memory(workers)
        last.callback(os.close, memory)
        async with trio.open_nursery() as services:
            metrics = Metrics(open_board(memory, workers, SUPERVISOR), SUPERVISOR)
            metrics.private_tally(HEARTBEAT)
            context = assemble(config, log, StreamsRelay(), metrics)
            context.name = NAME
            context.trust(bound.certificates)
            supervisor = Supervisor(context, [], services, inherited or {}, memory, workers)
            last.callback(supervisor.sharing.close_all)
            last.enter_context(log.heard_by(supervisor.control.live.tell, TOLD))
            for each, sockets in portions(bound.listeners, workers):
                listener = Listener(context, each, sockets[0])
                supervisor.listeners.append(listener)
                supervisor.sharing.add(listener, sockets if canonical(each.address) in supervisor.inherited else ())
            await supervisor.start(bound.admin)
            yield supervisor
            services.cancel_scope.cancel()


@attrs.define(eq=False)
class Supervisor:
    """What `server.Proxy` is to one process, to several."""

    context: Context
    listeners: list[Listener]
    services: trio.Nursery
    inherited: Mapping[str, Sequence[socket.socket]]
    memory: int  # the board's descriptor
    workers: int
    admin_address: str = ""
    resolver: Resolver | None = attrs.field(default=None, init=False)
    prober: Prober | None = attrs.field(default=None, init=False)
    token: Token = attrs.field(factory=lambda: Token(None), init=False)  # of the admin
    judge: Judge = attrs.field(init=False)
    status: Status = attrs.field(init=False)
    hands: WorkersHands = attrs.field(init=False)
    chaos: Injections = attrs.field(init=False)
    control: SupervisorControl = attrs.field(init=False)
    slots: list[Slot] = attrs.field(init=False)
    sharing: Sharing = attrs.field(init=False)
    _admin: Sequence[socket.socket] = attrs.field(default=(), init=False)
    _released: tuple[int, ...] | None = attrs.field(default=None, init=False)  # places of listeners
    _untold: set[Upstream] = attrs.field(factory=set, init=False)  # that have changed
    _may_start: trio.Event = attrs.field(factory=trio.Event, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)  # a worker began or ended

    def __attrs_post_init__(self) -> None:
        self.judge = Judge(self.context, self.services)
        self.status = Status(self.context, self.listeners, self.workers)
        self.context.metrics.add_source(self.status.gauges)
        self.slots = [Slot(number, self, self.context.log, self._may_start) for number in range(self.workers)]
        self.hands = WorkersHands(self.slots)
        self.chaos = Injections(self.context, self.services, self.hands)
        self.control = SupervisorControl(self.context, self.status, self.slots, self.judge, self.chaos)
        self.sharing = Sharing(self.listeners, self.slots, self.context.log)

    async def start(self, admin: Sequence[socket.socket]) -> None:
        """Start everything; returns when all workers accept. Raises WorkersError where one ends before."""
        context, services = self.context, self.services
        for reason in RestartReason:
            context.metrics.declare(m.WORKER_RESTARTS, (reason,))
        # Where another process hands over, it answers operators until this one is ready.
        handed_over = canonical(context.config.admin.address) in self.inherited
        if not handed_over:
            await self._start_admin(admin)
        for slot in self.slots:
            services.start_soon(slot.run)
        pools = list(context.pools.values())
        self.resolver = await services.start(partial(run_resolver, pools, log=context.log))
        self.prober = await services.start(partial(run_prober, pools, metrics=context.metrics, log=context.log))
        self.judge.begin()
        self.chaos.begin()
        services.start_soon(keep_house, context, self.control.live.tick if context.config.admin.address else None)
        self._may_start.set()
        while not all(slot.serving for slot in self.slots):
            changed = self._changed
            if any(slot.restarts for slot in self.slots):
                raise WorkersError("a worker process ended before it accepted: the log says why")
            await changed.wait()
        services.start_soon(self._watch_heartbeats)
        if handed_over:
            await self._start_admin(admin)
        self.status.accepting = True
        for listener in self.listeners:
            context.log.info("listening", listener=listener.config.name, address=listener.address)
        tell_of_expired(context.certificates, context.config, context.log)

    async def _start_admin(self, sockets: Sequence[socket.socket]) -> None:
        self._admin = sockets
        self.admin_address = await start_admin(self.services, self.control, sockets, self.context.log, self.token)

    # What a slot wants to know, and tells

    def first_message(self, slot: Slot) -> tuple[Start, Sequence[int]]:
        """The configuration in force, the slot's sockets, and how the upstreams are."""
        context = self.context
        places = {id(config): place for place, config in enumerate(context.config.listeners)}
        start = Start(
            worker=slot.number,
            workers=self.workers,
            config=text_for_workers(context.config),
            listeners=tuple(places[id(listener.config)] for listener in self.listeners),
            upstreams=self._news(),
        )
        return start, [self.memory, *self.sharing.of(slot, self.listeners)]

    def began(self, slot: Slot) -> None:
        """Its clients are its own again."""
        self.sharing.began(slot)
        self.hands.began(slot, self.chaos.refusals())
        self._tell_changed()

    def ended(self, slot: Slot, reason: RestartReason) -> None:
        """What it counted stays, what it held is free; another takes who waits for it or comes, until it is back."""
        context = self.context
        context.metrics.retire(worker_row(slot.number), retired_row(self.workers))
        if not slot.stopping.is_set():
            context.metrics.inc(m.WORKER_RESTARTS, (reason,))
            context.metrics.news += 1
            self.sharing.ended(slot)
            self.sharing.orphaned(slot)
        self._tell_changed()

    def heard(self, slot: Slot, message: Message) -> None:
        """A worker's own words: which name it would have looked up again, which upstream has failed."""
        del slot
        if isinstance(message, Resolve | Failed):
            for upstream in self._upstreams():
                if (upstream.pool, upstream.address) == (message.pool, message.address):
                    if isinstance(message, Failed):
                        self.judge.look(upstream)
                    else:
                        upstream.want_resolve()

    # Health and addresses of upstreams

    def _upstreams(self) -> Iterator[Upstream]:
        for pool in self.context.pools.values():
            yield from pool.upstreams

    def _news(self) -> tuple[UpstreamNews, ...]:
        """How they all are; what changes from here on is told as it happens."""
        for upstream in self._upstreams():
            upstream.on_change = self._tell_of
        return tuple(UpstreamNews.of(upstream) for upstream in self._upstreams())

    def _tell_of(self, upstream: Upstream) -> None:
        if not self._untold:
            self.services.start_soon(self._tell_news)
        self._untold.add(upstream)

    async def _tell_news(self) -> None:
        """In one message what happened at once: thousands, where a network is gone, are not thousands of messages."""
        told = [UpstreamNews.of(upstream) for upstream in self._untold if not upstream.gone]
        self._untold.clear()
        self._send_all(News(told))

    # The life of the whole

    async def _watch_heartbeats(self) -> None:
        """Count this process's own ticks: a machine that was paused has paused this, too, and nobody is late."""
        board = self.context.metrics.board
        column = board.layout.intern(HEARTBEAT, ())
        while True:
            await trio.sleep(TICK)
            for slot in self.slots:
                slot.judge(board.rows[worker_row(slot.number)].cells[column])

    def make_pool(self, config: PoolConfig) -> Pool:
        """A pool with upstreams that are all new."""
        return make_pool(config, self.context.metrics, 0)

    def accept_on(self, listener: Listener) -> None:
        """The workers do: here it is only told."""
        self.context.log.info("listening", listener=listener.config.name, address=listener.address)

    async def prepare(self, config: Config) -> PreparedWorkers:
        """As `Proxy.prepare`, here and in all workers: one refusal is everybody's."""
        context = self.context
        own = await reloading.prepare(self, config, sockets={}, max_connections=context.max_connections)
        declare_series(context.metrics, config)  # before a worker has a use for them
        prepared = PreparedWorkers(context, self.slots, self.sharing, own, self._news)
        try:
            await prepared.build(config)
        except BaseException:
            prepared.abandon()
            raise
        return prepared

    def reopen_log(self) -> None:
        """Have the workers open the log file anew, too."""
        self._send_all(Reopen())

    def offered(self) -> dict[str, list[socket.socket]]:
        """As `Proxy.offered`."""
        admin = [(self.context.config.admin.address, sock) for sock in self._admin]
        return by_address([*self.sharing.all(), *admin])

    def release(self, addresses: Collection[str]) -> None:
        """As `Proxy.release`: the workers stop accepting when they drain."""
        listeners = enumerate(self.listeners)
        self._released = tuple(place for place, each in listeners if canonical(each.config.address) in addresses)
        if canonical(self.context.config.admin.address) in addresses:
            self.control.live.end()
            for sock in self._admin:
                give_up(sock)

    async def drain(self) -> None:
        """As `Proxy.drain`: returns when all workers have ended, in the time it has or by force."""
        context, drain = self.context, self.context.config.server.drain
        context.log.info("drain", tunnels=context.open_tunnels.total, connections=context.clients.total)
        context.lame_duck = True
        with trio.move_on_after(STOP_SECONDS):
            await self.chaos.stop("", "drain")
        if drain.lame_duck and self._released is None:
            await trio.sleep(drain.lame_duck)
        context.draining = True
        for slot in self.slots:
            if not slot.serving:
                slot.stopping.set()
                slot.kill(RestartReason.EXITED)
                self.sharing.orphaned(slot)  # for what waits in its queues
        # First here: as long as this process listens, the workers' last look into the queues would not be the last.
        self.sharing.close_all()
        for slot in self.slots:
            slot.stopping.set()
            slot.send(Drain(self._released or ()))
        with trio.move_on_after(drain.timeout + DRAIN_MARGIN):
            await self._all_ended()
        for slot in self.slots:
            slot.kill(RestartReason.STALLED)
        await self._all_ended()
        context.log.info("drained")

    def cut(self) -> None:
        """End everything now: cancelling what `supervise` runs has each worker cut its connections first."""
        context = self.context
        context.log.warning("cut", tunnels=context.open_tunnels.total, connections=context.clients.total)
        self.services.cancel_scope.cancel()

    async def _all_ended(self) -> None:
        for slot in self.slots:
            await slot.over.wait()

    def _tell_changed(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _send_all(self, message: Message) -> None:
        for slot in self.slots:
            slot.send(message)
