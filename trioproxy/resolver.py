"""Resolves upstreams whose host is a name, by the system (its hosts file too), and keeps their addresses fresh.

One name is one upstream here, however many addresses it has. Connecting to them is `transport`'s work; many upstreams
behind one name is `discover`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioproxy.logs import Log
    from trioproxy.upstreams import Pool, Upstream

INTERVAL = 10.0  # seconds between two looks at one name
TIMEOUT = 5.0  # seconds for one look: the usual patience of a resolver with one name server
PAUSE = 1.0  # seconds at least between two looks, however many connects fail meanwhile


START_WAIT = 2.0  # seconds the start of the proxy waits for the first looks; later answers count when they come


async def run_resolver(
    pools: Iterable[Pool], *, log: Log, task_status: trio.TaskStatus[Resolver] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep the addresses of all named upstreams fresh, and of those it is told of later, until cancelled.

    Started when each name was looked up once, or after START_WAIT. Names do not wait for one another. A name
    that cannot be resolved keeps its last good addresses.
    """
    async with trio.open_nursery() as nursery:
        resolver = Resolver(nursery, log)
        await resolver.watch(upstream for pool in pools for upstream in pool.upstreams)
        task_status.started(resolver)
        await trio.sleep_forever()


@attrs.define(eq=False)
class Resolver:
    """Which upstreams' names are kept resolved."""

    _nursery: trio.Nursery
    _log: Log
    _names: dict[Upstream, _Name] = attrs.field(factory=dict, init=False)

    async def watch(self, upstreams: Iterable[Upstream]) -> None:
        """Keep the addresses of those that are names fresh from now on.

        Returns when each was looked up once, or after START_WAIT.
        """
        names = {upstream: _Name(upstream, self._log) for upstream in upstreams if upstream.named}
        self._names |= names
        for name in names.values():
            self._nursery.start_soon(name.run)
        with trio.move_on_after(START_WAIT):
            for name in names.values():
                await name.looked_up.wait()

    def forget(self, upstream: Upstream) -> None:
        """Look it up no more; does nothing where it is no name."""
        if (name := self._names.pop(upstream, None)) is not None:
            name.scope.cancel()


@attrs.define(eq=False)
class _Name:
    """One upstream's name; the only writer of its addresses."""

    upstream: Upstream
    log: Log
    looked_up: trio.Event = attrs.field(factory=trio.Event, init=False)  # at least once
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _trouble: str = attrs.field(default="", init=False)  # why the last look failed

    async def run(self) -> None:
        with self.scope:
            while True:
                self.upstream.resolve_wanted = trio.Event()
                await self._look()
                self.looked_up.set()
                await trio.sleep(PAUSE)
                with trio.move_on_after(INTERVAL - PAUSE):
                    await self.upstream.resolve_wanted.wait()

    async def _look(self) -> None:
        try:
            with trio.fail_after(TIMEOUT):
                addresses = await _resolve(self.upstream.host, self.upstream.port)
        except trio.TooSlowError:
            self._failed(f"no answer within {TIMEOUT:g} s")
        except (OSError, UnicodeError) as error:
            self._failed(getattr(error, "strerror", None) or str(error))
        else:
            self._found(addresses)

    def _found(self, addresses: tuple[tuple[int, Any], ...]) -> None:
        # Name servers rotate their answers: another order is no change.
        changed = set(addresses) != set(self.upstream.addresses)
        if changed:
            self.upstream.addresses = addresses
            self.upstream.on_change(self.upstream)
        if changed or self._trouble:
            self._trouble = ""
            found = ", ".join(str(sockaddr[0]) for _, sockaddr in addresses)
            self.log.info("resolved", pool=self.upstream.pool, upstream=self.upstream.address, addresses=found)

    def _failed(self, reason: str) -> None:
        if reason != self._trouble:
            self._trouble = reason
            self.log.warning("resolve_failed", pool=self.upstream.pool, upstream=self.upstream.address, reason=reason)


async def _resolve(host: str, port: int) -> tuple[tuple[int, Any], ...]:
    """The system's answer, without repetitions; never empty. If cancelled, the thread that asks is left behind."""
    answers = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    return tuple(dict.fromkeys((int(family), sockaddr) for family, _, _, _, sockaddr in answers))
