"""A new configuration for a running proxy: everything is built first, then one step without an await puts it in force.

What differs is found in `changes`; when a reload is asked for, and from which file, is `lifecycle`'s business.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from trioproxy import transport
from trioproxy.admin import read_token
from trioproxy.certificates import Certificates, CertificatesError, names_certificates, tell_of_expired
from trioproxy.changes import Ways, followed, restart_problems
from trioproxy.client import DRAIN_GRACE
from trioproxy.dialing import IdleConnections
from trioproxy.drains import close_spread
from trioproxy.errors import Reason
from trioproxy.listening import Listener
from trioproxy.metrics.declared import declare_series
from trioproxy.relay.tunnel import SERVICE_RESTART
from trioproxy.routing import Router
from trioproxy.tunnels import route_in_force

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

    from trioproxy.admin import Token
    from trioproxy.config import Config, DrainConfig, ListenerConfig, LogConfig, PoolConfig, RouteConfig
    from trioproxy.context import Context
    from trioproxy.injections import Injections
    from trioproxy.logs import Log
    from trioproxy.logs.log import LogChange
    from trioproxy.passive import Judge
    from trioproxy.prober import Prober
    from trioproxy.resolver import Resolver
    from trioproxy.upgrade import Upgraded
    from trioproxy.upstreams import Pool, Upstream


class ReloadError(Exception):
    """A configuration that cannot come into force; `problems` has a line for each reason, with its key."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def prepare_log(log: Log, config: LogConfig) -> LogChange:
    """`Log.prepare`; raises ReloadError where the file cannot be opened."""
    try:
        return log.prepare(config)
    except OSError as error:
        raise ReloadError([f"log.file: cannot be opened: {error.strerror or error}"]) from error


class Running(Protocol):
    """What a reload knows of the proxy."""

    context: Context
    listeners: list[Listener]
    services: trio.Nursery
    resolver: Resolver | None
    prober: Prober | None
    inherited: Mapping[str, Sequence[socket.socket]]
    token: Token

    @property
    def judge(self) -> Judge | None:
        """Who ejects upstreams; None where another process does."""
        ...

    @property
    def chaos(self) -> Injections:
        """The faults on purpose."""
        ...

    def make_pool(self, config: PoolConfig) -> Pool:
        """A pool with upstreams that are all new."""
        ...

    def accept_on(self, listener: Listener) -> None:
        """Accept on one listener more."""
        ...


async def prepare(
    proxy: Running, config: Config, *, sockets: Mapping[str, Sequence[socket.socket]], max_connections: int
) -> Prepared:
    """See `Proxy.prepare`. New upstreams are resolved and probed once; then listeners are bound, last of all.

    So it takes as long as the first look at names and the longest `health.timeout` of pools with new upstreams, and
    next to nothing where there are none. Cancelling it leaves nothing behind.
    """
    prepared = Prepared(proxy, config, sockets, max_connections)
    try:
        await prepared.build()
    except BaseException:
        prepared.abandon()
        raise
    return prepared


@attrs.define(eq=False)
class _NextPool:
    """A pool, living or new, the settings it will have and the upstreams."""

    pool: Pool
    config: PoolConfig
    upstreams: list[Upstream]


@attrs.define(eq=False)
class Prepared:
    """A configuration of which everything is built; `commit` or `abandon` ends it."""

    _proxy: Running
    _config: Config
    _sockets: Mapping[str, Sequence[socket.socket]]
    _max_connections: int
    _router: Router = attrs.field(init=False)
    _ways: Ways = attrs.field(init=False)
    _token: bytes | None = attrs.field(default=None, init=False)
    _certificates: Certificates = attrs.field(factory=Certificates, init=False)
    _pools: list[_NextPool] = attrs.field(factory=list, init=False)
    _new: list[tuple[PoolConfig, Upstream]] = attrs.field(factory=list, init=False)
    _listeners: list[tuple[ListenerConfig, list[Listener]]] = attrs.field(factory=list, init=False)
    _bound: list[Listener] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._router = Router(self._config.routes)
        self._ways = Ways(self._config.routes)

    @property
    def new_listeners(self) -> Sequence[Listener]:
        """Those that were bound for it; none behind `commit` or `abandon`."""
        return tuple(self._bound)

    async def build(self) -> None:
        """`prepare` calls this, once. Raises ReloadError; what was built by then `abandon` closes."""
        if problems := restart_problems(self._proxy.context.config, self._config):
            raise ReloadError(problems)
        self._read_token()
        await self._read_certificates()
        for config in self._config.pools.values():
            self._add_pool(config)
        await self._look_at_new_upstreams()
        await self._bind()

    def _read_token(self) -> None:
        if self._config.admin.address:
            try:
                self._token = read_token(self._config.admin.token_file)
            except (OSError, ValueError) as error:
                raise ReloadError([f"admin.token_file: cannot be used: {error}"]) from error

    async def _read_certificates(self) -> None:
        if not names_certificates(self._config):
            return
        try:  # in a thread, as the file is: disks may be slow, and what the system trusts is long
            self._certificates = await trio.to_thread.run_sync(Certificates.load, self._config, abandon_on_cancel=True)
        except CertificatesError as error:
            raise ReloadError(error.lines) from error

    def _add_pool(self, config: PoolConfig) -> None:
        pool = self._proxy.context.pools.get(config.name)
        if pool is None:
            pool = self._proxy.make_pool(config)
            self._pools.append(_NextPool(pool, config, pool.upstreams))
            self._new += [(config, upstream) for upstream in pool.upstreams]
            return
        upstreams: list[Upstream] = []
        found = followed([one.address for one in pool.upstreams], [one.address for one in config.upstreams])
        for settings, at in zip(config.upstreams, found, strict=True):
            upstreams.append(pool.new_upstream(config, settings) if at is None else pool.upstreams[at])
            if at is None:
                self._new.append((config, upstreams[-1]))
        self._pools.append(_NextPool(pool, config, upstreams))

    async def _look_at_new_upstreams(self) -> None:
        if not self._new:
            return
        for config, upstream in self._new:
            upstream.identity = self._certificates.identity(config.tls, upstream.host)
        if self._proxy.resolver is not None:
            await self._proxy.resolver.watch(upstream for _, upstream in self._new)
        if self._proxy.prober is not None:
            watches = [self._proxy.prober.watch(upstream, config.health) for config, upstream in self._new]
            for watch in watches:
                await watch.probed.wait()

    async def _bind(self) -> None:
        for listener in self._proxy.context.leaving:  # of the reload before: their addresses are free in a moment
            await listener.closed.wait()
        living: dict[int, list[Listener]] = {}
        for listener in self._proxy.listeners:
            living.setdefault(id(listener.config), []).append(listener)  # a name may have several sockets
        groups = list(living.values())
        addresses = [group[0].config.address for group in groups]
        found = followed(addresses, [one.address for one in self._config.listeners])
        inherited = {
            name: [sock for sock in passed if sock.fileno() >= 0] for name, passed in self._proxy.inherited.items()
        }
        problems: list[str] = []
        for config, at in zip(self._config.listeners, found, strict=True):
            if at is not None:
                self._listeners.append((config, groups[at]))
                continue
            try:
                made = self._sockets.get(config.name) or await transport.bind_later(config.address, inherited=inherited)
            except transport.ListenError as error:
                problems.append(f"listener {config.name}: {error}{self._hint(error, config.address)}")
            else:
                new = [Listener(self._proxy.context, config, sock) for sock in made]
                self._listeners.append((config, new))
                self._bound += new
        if problems:
            raise ReloadError(problems)

    def _hint(self, error: transport.ListenError, address: str) -> str:
        """Whether it is a listener of our own that has the port, as 0.0.0.0:80 stands in the way of 127.0.0.1:80."""
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
            return ""
        port = address.rpartition(":")[2]
        own = [each.address for each in self._proxy.listeners if each.address.rpartition(":")[2] == port]
        return f" (this proxy itself listens on {own[0]}: from there to here takes a restart)" if own else ""

    def abandon(self) -> None:
        """Close and forget what was built; everything stays as it is. Does nothing behind `commit`."""
        for listener in self._bound:
            listener.close()
        for given in self._sockets.values():
            for sock in given:
                sock.close()
        for _, upstream in self._new:
            self._forget(upstream)
        self._bound.clear()
        self._new.clear()
        self._sockets = {}

    def _forget(self, upstream: Upstream) -> None:
        if self._proxy.resolver is not None:
            self._proxy.resolver.forget(upstream)
        if self._proxy.prober is not None:
            self._proxy.prober.forget(upstream)

    def commit(self) -> int:
        """Put it in force, in one step; returns how many tunnels have lost their way and are being closed.

        Where a drain has begun meanwhile that wins: it is an `abandon` then.
        """
        context = self._proxy.context
        if context.lame_duck:
            self.abandon()
            return 0
        drain = self._config.server.drain
        self._commit_pools()
        context.config, context.router, context.ways = self._config, self._router, self._ways
        context.trust(self._certificates)
        if not context.supervised:
            tell_of_expired(self._certificates, self._config, context.log)
        context.max_connections = self._max_connections
        self._proxy.token.value = self._token
        self._proxy.chaos.follow()
        self._commit_listeners()
        declare_series(context.metrics, self._config)
        self._new.clear()
        lost = self._commit_tunnels()
        if lost:
            self._proxy.services.start_soon(close_lost, context, lost, drain)
        return len(lost)

    def _commit_tunnels(self) -> list[Upgraded]:
        """Those that have lost their way; the others may be idle for longer, where that has changed, and no less."""
        lost: list[Upgraded] = []
        found: dict[tuple[int, int, str, int], RouteConfig | None] = {}  # for most tunnels it is the same as for others
        for opened in self._proxy.context.tunnels.values():
            key = (id(opened.entrance), id(opened.route), opened.record.host, id(opened.connection.upstream))
            if key not in found:
                found[key] = route_in_force(self._proxy.context, opened)
            if (route := found[key]) is None:
                lost.append(opened)
            else:
                opened.tunnel.idle_timeout = max(opened.tunnel.idle_timeout, route.timeouts.tunnel_idle)
        return lost

    async def lost_elsewhere(self) -> int:
        """Behind `commit`, how many tunnels of other processes are being closed: there are none."""
        return 0

    def _commit_pools(self) -> None:
        context = self._proxy.context
        pools: dict[str, Pool] = {}
        idle: dict[str, IdleConnections] = {}
        for following in self._pools:
            pool, config = following.pool, following.config
            self._change(following)
            pools[pool.name] = pool
            if pool.name not in context.idle:
                idle[pool.name] = IdleConnections(config.keep_alive, config.keep_alive_connections)
                continue
            kept = idle[pool.name] = context.idle[pool.name]
            kept.seconds, kept.most = config.keep_alive, config.keep_alive_connections
            kept.sweep()
        for name, pool in context.pools.items():
            if name not in pools:
                for upstream in pool.upstreams:
                    upstream.gone = True
                    self._forget(upstream)
                context.idle[name].close()
        context.pools, context.idle = pools, idle
        if self._proxy.judge is not None:
            self._proxy.judge.follow()

    def _change(self, following: _NextPool) -> None:
        pool = following.pool
        before, leaving = pool.config, set(pool.upstreams) - set(following.upstreams)
        pool.change(following.config, following.upstreams)
        for upstream in leaving:
            self._forget(upstream)
        if before.health != pool.config.health and self._proxy.prober is not None:
            for upstream in pool.upstreams:
                self._proxy.prober.watch(upstream, pool.config.health)

    def _commit_listeners(self) -> None:
        proxy = self._proxy
        listeners = [listener for _, group in self._listeners for listener in group]
        leaving = [listener for listener in proxy.listeners if listener not in listeners]
        for config, group in self._listeners:
            for listener in group:
                listener.change(config)
        proxy.listeners[:] = listeners
        for listener in self._bound:
            proxy.accept_on(listener)
        self._bound.clear()
        self._sockets = {}
        for listener in leaving:
            listener.remove()
        proxy.context.leaving = leaving
        grace = trio.current_time() + DRAIN_GRACE
        for wait, entrance in proxy.context.waiting.items():
            if entrance.closed:
                wait.end_by(min(wait.deadline, grace))


async def close_lost(context: Context, lost: list[Upgraded], drain: DrainConfig) -> None:
    """Close tunnels that have lost their way: spread over time, cut at the deadline, or left to a drain that begins."""
    start = trio.current_time()
    ids = [opened.record.id for opened in lost]
    await close_spread(lost, min(drain.spread, drain.timeout / 2), SERVICE_RESTART, Reason.REMOVED)
    lost.clear()
    await trio.sleep_until(start + drain.timeout)
    for name in ids:
        if (left := context.tunnels.get(name)) is not None and not context.lame_duck:
            left.tunnel.cut()
