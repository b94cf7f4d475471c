"""Serves the admin application on a bound socket, with hypercorn's Trio worker.

What is served is `app`'s; binding (and saying that a port is in use) is `transport`'s.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Final

import trio
from hypercorn.config import Config
from hypercorn.trio import serve

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

_GRACE_SECONDS: Final = 0.5  # for requests under way; only matters if hypercorn ends by itself
_READ_SECONDS: Final = 10  # a client that says nothing for so long is gone
_KEEP_ALIVE_SECONDS: Final = 75.0  # longer than any usual scrape interval


async def serve_admin(
    sock: socket.socket, app: ASGIApp, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve `app` on a listening or bound stream socket until cancelled; started() when it answers.

    Owns and closes `sock`. Prints nothing.
    """
    with sock:
        # hypercorn takes a descriptor by number, and closes it; it would report a port in use inside three groups
        fd = os.dup(sock.fileno())
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve, app, _config(fd), shutdown_trigger=trio.sleep_forever, mode="asgi"))
            os.set_inheritable(fd, False)  # hypercorn made it so, for workers of its own
            task_status.started()


def _config(fd: int) -> Config:
    config = Config()
    config.bind = [f"fd://{fd}"]
    config.errorlog = None  # by default it writes to stderr
    config.accesslog = None
    config.include_server_header = False
    config.graceful_timeout = _GRACE_SECONDS
    config.read_timeout = _READ_SECONDS
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    config.backlog = 128
    return config
