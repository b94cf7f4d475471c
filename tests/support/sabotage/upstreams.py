"""How upstreams are chosen and judged, and handshakes with them, sabotaged."""

from __future__ import annotations

import itertools

import trio
from support.sabotage.base import replaced, watched_tunnels

from trioproxy import connection, dialing, health, upgrade
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import UpstreamState
from trioproxy.upstreams import Pool, Upstream


def no_retry():
    """No request goes to another upstream."""
    dialing.Attempts.can_try_another = lambda self, reason: False


def no_probe():
    """Every upstream is up, whatever a probe finds."""

    @replaced(health.HealthState, "observe")
    def observe(before, self, ok):
        return before(self, True)


def no_return():
    """An upstream that was down once stays down."""

    @replaced(health.HealthState, "observe")
    def observe(before, self, ok):
        return before(self, ok and self.state is not UpstreamState.DOWN)


def no_balance():
    """The first upstream that is eligible gets everything."""

    @replaced(Pool, "lease")
    def lease(before, self, exclude=()):
        for upstream in self.upstreams:
            others = [each for each in self.upstreams if each is not upstream]
            if upstream.eligible and upstream not in exclude:
                return before(self, [*exclude, *others])
        return before(self, exclude)


def collateral():
    """When an upstream goes down, all tunnels are cut."""
    opened = watched_tunnels()

    @replaced(Upstream, "observe")
    def observe(before, self, *, ok):
        changed = before(self, ok=ok)
        if changed is UpstreamState.DOWN:
            for each in list(opened):
                each.tunnel.cut()
        return changed


def refused_handshakes():
    """Every eighth handshake is answered with 503."""
    numbers = itertools.count(1)

    @replaced(connection, "open_tunnel")
    async def open_tunnel(before, exchange):
        if next(numbers) % 8 == 0:
            raise _full(exchange)
        return await before(exchange)


def slow_handshakes():
    """Every second handshake takes two and a half seconds more."""
    numbers = itertools.count(1)

    @replaced(connection, "open_tunnel")
    async def open_tunnel(before, exchange):
        if next(numbers) % 2 == 0:
            await trio.sleep(2.5)
        return await before(exchange)


def overwhelmed():
    """More than ten handshakes at once are not had."""
    under_way = []

    @replaced(connection, "open_tunnel")
    async def open_tunnel(before, exchange):
        under_way.append(exchange)
        try:
            if len(under_way) > 10:
                raise _full(exchange)
            return await before(exchange)
        finally:
            under_way.remove(exchange)


def _full(exchange):
    exchange.client.reusable = False
    return ProxyError(Source.PROXY, Phase.CONNECT, Reason.FULL, 503, "on purpose")


def slow_refusals():
    """Where no upstream is left, clients hear of it after three seconds."""

    @replaced(upgrade, "_connect")
    async def connect(before, exchange, attempts):
        try:
            return await before(exchange, attempts)
        except ProxyError:
            await trio.sleep(3)
            raise


def impatient():
    """An upstream that does not answer an upgrade within a tenth of a second is given up."""

    @replaced(upgrade, "_ask")
    async def ask(before, exchange, connection):
        with trio.move_on_after(0.1):
            return await before(exchange, connection)
        raise ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.TIMEOUT, 504, "impatient on purpose")
