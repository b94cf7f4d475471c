"""Draining, reloading, handing over, worker processes, and what happens without descriptors, sabotaged."""

from __future__ import annotations

import resource

import trio
from support.sabotage.base import replaced, watched_tunnels

from trioproxy import accepting, drains, prober, reloading, server, slots, supervisor
from trioproxy.errors import Source
from trioproxy.health import UpstreamState
from trioproxy.listening import Listener
from trioproxy.relay.tunnel import Tunnel


def drain_cuts():
    """Instead of a Close frame a tunnel gets a reset."""
    Tunnel.close = lambda self, code, reason, by=Source.PROXY: self.cut()


def no_drain():
    """An upstream that is to be drained keeps its tunnels and goes on getting work."""

    @replaced(drains.UpstreamDrains, "begin")
    def begin(before, self, upstream, **settings):
        return settings["spread"]


def no_spread():
    """All tunnels are closed at once."""
    for module in (drains, server, reloading):

        @replaced(module, "close_spread")
        async def close_spread(before, tunnels, spread, *args):
            await before(tunnels, 0, *args)


def reload_cuts():
    """A reload cuts all tunnels."""

    @replaced(reloading.Prepared, "commit")
    def commit(before, self):
        lost = before(self)
        for opened in list(self._proxy.context.tunnels.values()):
            opened.tunnel.cut()
        return lost


def reload_forgets():
    """Behind a reload, nothing is known of the upstreams until they are probed again."""

    @replaced(reloading.Prepared, "commit")
    def commit(before, self):
        lost = before(self)
        for pool in self._proxy.context.pools.values():
            for upstream in pool.upstreams:
                upstream.health.state = UpstreamState.UNKNOWN
        return lost


def cold_start():
    """A new process serves before it has looked at the upstreams."""

    @replaced(prober.Watch, "run")
    async def run(before, self):
        self.probed.set()
        await trio.sleep(0.7)
        await before(self)


def worker_not_replaced():
    """A worker that ended is not started anew."""

    @replaced(slots.Slot, "_live")
    async def live(before, self):
        if self.process is not None:
            await self.stopping.wait()
            return slots.RestartReason.EXITED
        return await before(self)


def workers_die_together():
    """One worker's end is that of all."""

    @replaced(supervisor.Supervisor, "ended")
    def ended(before, self, slot, reason):
        before(self, slot, reason)
        for other in self.slots:
            if not slot.stopping.is_set() and other.serving:
                other.kill(reason)


def deaf_after_shortage():
    """Who ran out of descriptors once accepts nobody any more."""

    deaf = set()

    @replaced(accepting, "_accept_batch")
    def accept_batch(before, sock, handle, on_error, **settings):
        def failed(error):
            if isinstance(on_error.__self__, Listener):
                deaf.add(sock)
            on_error(error)

        return sock not in deaf and before(sock, handle, failed, **settings)


def shortage_cuts():
    """Where descriptors are short, open tunnels are cut to get some."""
    opened = watched_tunnels()

    @replaced(accepting, "shortage")
    def shortage(before, error):
        for each in list(opened)[:2]:
            each.tunnel.cut()
        return before(error)


def unlimited():
    """Whoever limits its descriptors, it takes as many as it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    @replaced(accepting, "_accept_batch")
    def accept_batch(before, *args, **settings):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return before(*args, **settings)
