"""Running a proxy as a process: signals, notices to the service manager, the process before and after, the exit status.

What draining means is `server`'s story; this only says when.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy import systemd
from trioproxy.certificates import CertificatesError
from trioproxy.handover import Handover, open_handover
from trioproxy.reloader import Reloader
from trioproxy.server import serve
from trioproxy.supervisor import Supervisor, WorkersError, supervise, worker_count
from trioproxy.transport import ListenError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from trioproxy.config import Config, DrainConfig
    from trioproxy.logs import Log
    from trioproxy.server import Proxy

STOP: Final = (signal.SIGTERM, signal.SIGINT)
STOP_MARGIN: Final = 10.0  # seconds beside the drain: what waits in the queues of the listeners, the log's last lines


async def run_until_stopped(config: Config, log: Log, path: str) -> int:
    """Serve until SIGTERM or SIGINT and drain; a second one cuts. Returns the exit status.

    SIGHUP opens the log's file anew and reloads `path`, where `config` came from; during a drain only the first. Raises
    ListenError where a listener cannot be bound, CertificatesError where a file cannot be used. Signals count from the
    first moment on, also while starting: one that comes before there is anything to drain ends the start.
    """
    # By default it would end the process; a log rotation at the first or last moment is no reason for that.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run = _Run(config, log, path, systemd.Notifier.from_environ(os.environ))
    with trio.open_signal_receiver(*STOP, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.hear, signals)
            nursery.start_soon(run.manager.run, run.describe)
            await run.serve()
            nursery.cancel_scope.cancel()
    if run.failure is not None:
        raise run.failure
    return run.status


@attrs.define(eq=False)
class _Run:
    """One run of the proxy: `hear` sets, `serve` follows."""

    config: Config
    log: Log
    path: str
    manager: systemd.Notifier
    status: int = 0
    failure: ListenError | WorkersError | CertificatesError | None = None  # a value, as a nursery would wrap it
    _proxy: Proxy | Supervisor | None = None  # once it is accepting
    _stopping: trio.Event = attrs.field(factory=trio.Event, init=False)
    _told_to_stop: bool = attrs.field(default=False, init=False)  # by a signal
    _reload_wanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    async def serve(self) -> None:
        """Start, wait for the first signal to stop, drain."""
        inherited: dict[str, list[socket.socket]] = systemd.inherited_sockets(os.environ)
        try:
            with self._scope:
                async with open_handover(self.config.server.handover, self.log) as handover:
                    inherited |= handover.sockets
                    start = serve if worker_count(self.config) == 1 else supervise
                    async with start(self.config, log=self.log, inherited=inherited) as self._proxy:
                        await handover.relieve(self._proxy.offered().keys())
                        self.manager.ready(self.describe())
                        await self._until_stopped(self._proxy, handover)
                        await self._proxy.drain()
        except (ListenError, WorkersError, CertificatesError) as error:
            self.failure = error

    async def _until_stopped(self, proxy: Proxy | Supervisor, handover: Handover) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._reload_when_asked, Reloader(self.path, self.log, proxy))
            nursery.start_soon(self._hand_over, proxy, handover)
            await self._stopping.wait()
            nursery.cancel_scope.cancel()  # a reload under way gives way, too

    async def _hand_over(self, proxy: Proxy | Supervisor, handover: Handover) -> None:
        """Let the next process have the listeners once it is ready, and end as after a signal."""
        successor = await handover.successor(proxy.offered)
        proxy.release(successor.taken)
        await successor.go()
        self.log.info("handed_over", pid=successor.pid, addresses=sorted(successor.taken))
        self._stop()

    def describe(self) -> str:
        """What goes on, in a line for `systemctl status`."""
        return "starting" if self._proxy is None else self._proxy.status.summary()

    async def _reload_when_asked(self, reloader: Reloader) -> None:
        """One reload after the other; what is asked for during one is done behind it, with the file as it is then."""
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted = trio.Event()
            self.manager.reloading("reloading")
            await reloader.reload()
            self.manager.ready(self.describe())

    async def hear(self, signals: AsyncIterator[int]) -> None:
        """Act on signals until cancelled."""
        async for number in signals:
            if number == signal.SIGHUP:
                self.log.reopen()
                if isinstance(self._proxy, Supervisor):
                    self._proxy.reopen_log()
                self._reload_wanted.set()
            elif not self._told_to_stop:
                self._told_to_stop = True
                self._stop()
            else:
                self.status = 1
                if self._proxy is not None:
                    self._proxy.cut()
                self._scope.cancel()

    def _stop(self) -> None:
        if self._stopping.is_set():  # behind a handover the first signal asks for what is being done
            return
        self._stopping.set()
        config = self.config if self._proxy is None else self._proxy.context.config
        self.manager.stopping("stopping", most_seconds(config.server.drain))
        if self._proxy is None:
            self._scope.cancel()


def most_seconds(drain: DrainConfig) -> float:
    """How long a stop can take."""
    return drain.lame_duck + drain.timeout + STOP_MARGIN
