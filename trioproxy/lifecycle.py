"""Running a proxy as a process: signals, notices to the service manager, the exit status.

What draining means is `server`'s story; this only says when.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import trio

from trioproxy import systemd
from trioproxy.server import serve

if TYPE_CHECKING:
    from trioproxy.config import Config
    from trioproxy.logs import Log
    from trioproxy.server import Proxy

STOP = (signal.SIGTERM, signal.SIGINT)


async def run_until_stopped(config: Config, log: Log) -> int:
    """Serve until SIGTERM or SIGINT and drain; a second one cuts. Returns the exit status.

    Raises ListenError where a listener cannot be bound. Signals count from the first moment on, also while starting.
    """
    status = 0
    with trio.open_signal_receiver(*STOP, signal.SIGHUP) as signals:
        async with serve(config, log=log, inherited=systemd.inherited_sockets(os.environ)) as proxy:
            systemd.notify("READY=1", os.environ)
            async with trio.open_nursery() as nursery:
                stopping = False
                async for number in signals:
                    if number == signal.SIGHUP:
                        _reopen(log)
                    elif not stopping:
                        stopping = True
                        systemd.notify("STOPPING=1", os.environ)
                        nursery.start_soon(_drain, proxy, nursery.cancel_scope)
                    else:
                        status = 1
                        proxy.cut()
                        nursery.cancel_scope.cancel()
    return status


async def _drain(proxy: Proxy, until: trio.CancelScope) -> None:
    await proxy.drain()
    until.cancel()


def _reopen(log: Log) -> None:
    """SIGHUP: the log file anew, after a rotation."""
    try:
        log.reopen()
    except OSError as error:
        log.warning("log_reopen_failed", reason=error.strerror or str(error))
    log.warning("reload_not_supported", reason="reloading the configuration is not yet supported: restart to apply it")
