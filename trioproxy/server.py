"""Which nursery owns what, and how it all ends; read top to bottom this is the story of starting and of draining.

    services ⊃ connections ⊃ listening

Signals are `lifecycle`'s business, one connection is `connection`'s. Drain is state, cancellation is force.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy import metrics as m
from trioproxy import reloading, streaming, transport
from trioproxy.accepting import give_up
from trioproxy.admin import Token, read_token
from trioproxy.admin.control import MAX_CONNECTIONS as ADMIN_CONNECTIONS
from trioproxy.binding import ADMIN, bind_all
from trioproxy.certificates import tell_of_expired
from trioproxy.client import DRAIN_GRACE
from trioproxy.config_syntax import canonical
from trioproxy.context import Context
from trioproxy.control import LocalControl
from trioproxy.dialing import IdleConnections
from trioproxy.drains import UpstreamDrains, close_spread, usable_spread
from trioproxy.errors import Phase
from trioproxy.housekeeping import keep_house
from trioproxy.injections import Injections
from trioproxy.listening import MOST_REJECTIONS, Listener
from trioproxy.live import TOLD
from trioproxy.logs import Log
from trioproxy.metrics import Metrics
from trioproxy.metrics.declared import declare_series
from trioproxy.passive import Judge
from trioproxy.per_client import PerClient
from trioproxy.queueing import QUEUE_HEADS, Queue
from trioproxy.relay import open_relay
from trioproxy.resolver import run_resolver
from trioproxy.routing import Router
from trioproxy.status import Status
from trioproxy.upstreams import Pool

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence

    from trioproxy.admin import Control
    from trioproxy.board import Tally
    from trioproxy.config import Config, PoolConfig
    from trioproxy.prober import Prober
    from trioproxy.relay import Relay
    from trioproxy.resolver import Resolver

DESCRIPTORS_PER_CONNECTION: Final = 2  # the client's and the upstream's
# For listeners, log and probes; for clients above the limit whose 503 is on its way; for the admin's connections.
RESERVED_DESCRIPTORS: Final = 64 + MOST_REJECTIONS + ADMIN_CONNECTIONS


@asynccontextmanager
async def serve(
    config: Config,
    *,
    log: Log | None = None,
    inherited: Mapping[str, Sequence[socket.socket]] | None = None,
) -> AsyncIterator[Proxy]:
    """Run a proxy around the body of an `async with`; installs no signal handlers.

    Certificates are read and listeners bound before all else (CertificatesError, ListenError where that cannot be), the
    first probe round follows, and when the body begins the proxy accepts. Leaving the body ends everything at once:
    `await proxy.drain()` before that does it politely. Without `log` it is silent. `inherited` are listening sockets,
    by name or address as `transport.bind` takes them, which it owns from here on. What the body raises comes out as it
    is.
    """
    log = log or Log.null()
    with lone_failure(), ExitStack() as last:
        bound = bind_all(config, inherited or {}, last)
        async with trio.open_nursery() as services:
            context = assemble(config, log, open_relay(services, partial(report_bug, log)))
            context.trust(bound.certificates)
            last.callback(context.close_idle)
            listeners = [Listener(context, *listener) for listener in bound.listeners]
            drains = UpstreamDrains(context, services)
            proxy = Proxy(context, listeners, drains, services, inherited or {})
            last.enter_context(log.heard_by(proxy.control.live.tell, TOLD))
            await _start(proxy, bound.admin)
            yield proxy
            await proxy.end_connections()
            services.cancel_scope.cancel()


@contextmanager
def lone_failure() -> Iterator[None]:
    """A nursery wraps even a lone failure; what the body of `serve` raised, for one, is to come out as it is."""
    failure: BaseException | None = None
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        failure = group.exceptions[0]
    if failure is not None:
        raise failure


async def start_admin(
    services: trio.Nursery, control: Control, sockets: Sequence[socket.socket], log: Log, token: Token | None = None
) -> str:
    """Serve the admin endpoints on bound sockets, in tasks of `services`; returns their address, "" without any.

    Fills in `token`, where the caller may change it later, from the configured file.
    """
    from trioproxy.admin import make_app, serve_admin  # noqa: PLC0415 - a worker has no need of them

    token = token or Token(None)
    first = ""
    for sock in sockets:
        address = transport.format_address(sock)
        try:
            token.value = read_token(control.config.admin.token_file)
        except (OSError, ValueError) as error:
            raise transport.ListenError(f"listener {ADMIN}: cannot use the token: {error}") from error
        app = make_app(control, address, token=token, log=log)
        await services.start(partial(serve_admin, sock, app, log=log))
        first = first or address
        log.info("listening", listener=ADMIN, address=address)
    return first


async def _start(proxy: Proxy, admin: Sequence[socket.socket]) -> None:
    """Start what runs beside the connections, and accept when the first probe round is over."""
    from trioproxy.prober import run_prober  # noqa: PLC0415 - the same

    context, services = proxy.context, proxy.services
    pools = list(context.pools.values())
    # Where another process hands over, it answers operators until this one is ready.
    handed_over = canonical(context.config.admin.address) in proxy.inherited
    if not handed_over:
        await proxy.start_admin(admin)
    proxy.resolver = await services.start(partial(run_resolver, pools, log=context.log))
    proxy.prober = await services.start(partial(run_prober, pools, metrics=context.metrics, log=context.log))
    if proxy.judge is not None:
        proxy.judge.begin()
    proxy.chaos.begin()
    if handed_over:
        await proxy.start_admin(admin)
    await proxy.start()
    tell_of_expired(context.certificates, context.config, context.log)


@attrs.define(eq=False)
class Proxy:
    """A running proxy; `admin_address` is the admin's as bound, "" without one, `control` what the admin may do."""

    context: Context
    listeners: list[Listener]
    drains: UpstreamDrains
    services: trio.Nursery
    inherited: Mapping[str, Sequence[socket.socket]] = attrs.field(factory=dict)
    admin_address: str = ""
    token: Token = attrs.field(factory=lambda: Token(None), init=False)  # of the admin
    resolver: Resolver | None = attrs.field(default=None, init=False)
    prober: Prober | None = attrs.field(default=None, init=False)  # None where another process probes
    judge: Judge | None = attrs.field(init=False)  # None where another process judges
    _admin: Sequence[socket.socket] = attrs.field(default=(), init=False)
    _released: bool = attrs.field(default=False, init=False)
    status: Status = attrs.field(init=False)
    chaos: Injections = attrs.field(init=False)
    control: LocalControl = attrs.field(init=False)
    _accepting: trio.Nursery | None = attrs.field(default=None, init=False)
    _connections: trio.Nursery | None = attrs.field(default=None, init=False)
    _listening: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _not_listening: trio.Event = attrs.field(factory=trio.Event, init=False)
    _over: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self.status = Status(self.context, self.listeners)
        self.judge = None if self.context.supervised else Judge(self.context, self.services)
        self.chaos = Injections.local(self.context, self.services)
        self.control = LocalControl(self.context, self.status, self.drains, self.judge, self.chaos)
        self.context.metrics.add_source(self.status.gauges)

    async def start(self) -> None:
        """Accept, and do what that needs, in tasks of `services`; the upstreams' health is somebody else's care."""
        self.services.start_soon(self.context.waits.watch)
        if sys.platform.startswith("linux"):
            from trioproxy.readiness import Readiness  # noqa: PLC0415 -- epoll is Linux's alone

            self.context.readiness = Readiness()
            self.services.start_soon(self.context.readiness.serve)
        told = self.context.config.admin.address and not self.context.supervised
        self.services.start_soon(keep_house, self.context, self.control.live.tick if told else None)
        await self.services.start(self.hold_connections)

    async def start_admin(self, sockets: Sequence[socket.socket]) -> None:
        """Answer operators on bound sockets, which it owns from here on."""
        self._admin = sockets
        self.admin_address = await start_admin(self.services, self.control, sockets, self.context.log, self.token)

    def offered(self) -> dict[str, list[socket.socket]]:
        """All listening sockets by address, for a process that is to go on with them."""
        bound = [(each.config.address, each.sock) for each in self.listeners]
        return transport.by_address([*bound, *((self.context.config.admin.address, sock) for sock in self._admin)])

    def release(self, addresses: Collection[str]) -> None:
        """Accept no more on these of `offered`, whose clients are another process's now; `drain` is to follow."""
        self._released = True
        if canonical(self.context.config.admin.address) in addresses:
            self.control.live.end()  # or the admin would wait for those who follow it
        for address, sockets in self.offered().items():
            for sock in sockets if address in addresses else ():
                give_up(sock)

    async def hold_connections(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Own the connections and the tasks that accept them, until `cut` or cancelled; started when it accepts."""
        async with trio.open_nursery() as self._connections:
            await self._connections.start(self._listen, self._connections)
            self.status.accepting = True
            for listener in self.listeners:
                self._tell_of(listener)
            task_status.started()
            await trio.sleep_forever()
        self._over.set()

    async def end_connections(self) -> None:
        """End all connections at once, without ceremony, and wait for that."""
        if self._connections is not None:
            self._connections.cancel_scope.cancel()
            await self._over.wait()

    async def _listen(self, connections: trio.Nursery, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._listening:
                async with trio.open_nursery() as self._accepting:
                    for listener in self.listeners:
                        self._accepting.start_soon(listener.serve, connections)
                    task_status.started()
        finally:
            self._not_listening.set()

    async def prepare(
        self, config: Config, sockets: Mapping[str, Sequence[socket.socket]] | None = None
    ) -> reloading.Prepared:
        """Build everything that `config` needs, so that it can come into force at once; nothing of it shows before.

        The caller ends what it gets with `commit` or `abandon`, before it prepares again. `sockets` are listening ones,
        by the listener's name in `config`, and the proxy's from here on: for new listeners, instead of binding.
        Raises ReloadError, with nothing changed, where something of `config` cannot come into force.
        """
        most = _affordable(config.limits.max_connections, self.context.log)
        return await reloading.prepare(self, config, sockets=sockets or {}, max_connections=most)

    def make_pool(self, config: PoolConfig) -> Pool:
        """A pool with upstreams that are all new."""
        return make_pool(config, self.context.metrics, self.context.worker)

    def accept_on(self, listener: Listener) -> None:
        """Accept on one more of `listeners`."""
        if self._accepting is not None and self._connections is not None:
            self._accepting.start_soon(listener.serve, self._connections)
        self._tell_of(listener)

    def accept_also(self, listener: Listener, sock: socket.socket) -> trio.CancelScope:
        """Accept on another socket of one of `listeners`, too, until the scope is cancelled or a drain begins."""
        scope = trio.CancelScope()

        async def accept(connections: trio.Nursery) -> None:
            with scope:
                await listener.serve_also(sock, connections)

        if self._accepting is None or self._connections is None or self.context.draining:
            sock.close()
        else:
            self._accepting.start_soon(accept, self._connections)
        return scope

    def _tell_of(self, listener: Listener) -> None:
        if not self.context.supervised:
            self.context.log.info("listening", listener=listener.config.name, address=listener.address)

    async def drain(self) -> None:
        """Take no new work, let the old end: politely for `[server.drain] timeout` seconds, then by force.

        Returns when no connection is left. Cancelling it leaves the proxy draining; `cut` ends it at once.
        """
        context, drain = self.context, self.context.config.server.drain
        context.log.info("drain", tunnels=len(context.tunnels), connections=context.connections)
        context.lame_duck = True
        await self.chaos.stop("", "drain")
        if drain.lame_duck and not self._released:  # nobody has to look elsewhere
            await trio.sleep(drain.lame_duck)
        context.draining = True  # what is accepted from a queue from here on is one of the last
        self._listening.cancel()
        await self._not_listening.wait()
        grace = trio.current_time() + DRAIN_GRACE
        for wait in context.waiting:
            wait.end_by(min(wait.deadline, grace))
        with trio.move_on_after(drain.timeout) as deadline:
            async with trio.open_nursery() as closing:
                spread = usable_spread(drain.spread, drain.timeout)
                # One that opens from now on is asked as it opens.
                closing.start_soon(close_spread, context.tunnels.values(), spread, drain.code)
                await context.no_connections()
                closing.cancel_scope.cancel()
        if deadline.cancelled_caught:
            self.cut()
            await context.no_connections()
        context.log.info("drained")

    def cut(self) -> None:
        """End all connections now, tunnels with a reset, so that no peer takes it for a proper end."""
        self.context.log.warning("cut", tunnels=len(self.context.tunnels), connections=self.context.connections)
        for opened in self.context.tunnels.values():
            opened.tunnel.cut()
            # The engine may not come to it any more: its task is cancelled, too.
            streaming.abort(opened.tunnel.client)
            streaming.abort(opened.tunnel.upstream)
        if self._connections is not None:
            self._connections.cancel_scope.cancel()


def assemble(config: Config, log: Log, relay: Relay, metrics: Metrics | None = None, worker: int = 0) -> Context:
    """What the connections of a proxy share: of this process alone, or of worker number `worker` with its `metrics`."""
    metrics = metrics or Metrics()
    metrics.declare(m.SERIES_DROPPED)
    context = Context(
        config=config,
        router=Router(config.routes),
        pools={name: make_pool(pool, metrics, worker) for name, pool in config.pools.items()},
        idle={
            name: IdleConnections(pool.keep_alive, pool.keep_alive_connections) for name, pool in config.pools.items()
        },
        metrics=metrics,
        log=log,
        relay=relay,
        max_connections=_affordable(config.limits.max_connections, log),
        clients=metrics.private_tally("clients"),
        open_tunnels=metrics.private_tally("tunnels"),
        per_client=PerClient(*metrics.client_tables()),
        worker=worker,
        name=str(worker),
    )
    declare_series(metrics, config)
    metrics.declare(m.LOG_LINES_DROPPED)
    metrics.add_preparation(context.publish_tunnels)
    return context


def make_pool(config: PoolConfig, metrics: Metrics, worker: int) -> Pool:
    """A new pool of worker number `worker`, whose leases, and those who wait for one, are counted on the board."""

    def leases(upstream: str) -> Tally:
        return metrics.tally(m.UPSTREAM_ACTIVE, (config.name, upstream))

    pool = Pool(config, leases, offset=worker)
    length = metrics.tally(m.QUEUE_LENGTH, (config.name,))
    pool.queue = Queue(pool, length, metrics.marks(QUEUE_HEADS, (config.name,)))
    return pool


def report_bug(log: Log, error: Exception) -> None:
    """What the relay says of a bug that ended one tunnel."""
    log.error("internal_error", phase=Phase.TUNNEL, exc_info=error)


def _affordable(wanted: int, log: Log) -> int:
    """`limits.max_connections`, or as many as this process has descriptors for (setrlimit(2)), with a warning."""
    limit = transport.raise_descriptor_limit()
    reserved = min(RESERVED_DESCRIPTORS, limit // 2)
    affordable = max(1, (limit - reserved) // DESCRIPTORS_PER_CONNECTION)
    if wanted > affordable:
        log.warning("few_descriptors", limit=limit, max_connections=affordable, wanted=wanted)
    return min(wanted, affordable)
