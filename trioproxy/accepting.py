"""Accepting connections on a listening socket: until cancelled, or until the socket is another process's.

What is done with a connection is the caller's business; binding and closing listeners is `transport`'s.
"""

from __future__ import annotations

import contextlib
import errno
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import trio

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

# The kernel cuts a larger backlog down to net.core.somaxconn, so asking for much means asking for all of it.
BACKLOG: Final = 65535
# accept(2) failures that say "later": out of descriptors or memory. Pausing lets connections end and free some.
SHORTAGES: Final = MappingProxyType(
    {errno.EMFILE: "descriptors", errno.ENFILE: "descriptors", errno.ENOMEM: "memory", errno.ENOBUFS: "memory"}
)
# accept(2) failures that concern the one connection that was about to be accepted (accept(2), "Error handling").
_OF_ONE: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
    }
)
ACCEPT_PAUSE: Final = 0.1  # seconds between attempts while descriptors are short
ACCEPT_BATCH: Final = 64  # connections taken per wake-up, so that a burst cannot starve the open ones


def shortage(error: OSError) -> str:
    """What was short when accepting failed: `descriptors`, `memory`, or `other` for nothing of the kind."""
    return SHORTAGES.get(error.errno or 0, "other")


def give_up(sock: socket.socket) -> None:
    """Close a listening socket that another process has, too: whoever waits in its queue is that one's. Idempotent.

    `accept_connections` returns.
    """
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock)
        sock.close()


async def accept_connections(
    sock: socket.socket,
    handle: Callable[[socket.socket, Any], None],
    on_error: Callable[[OSError], None],
) -> None:
    """Accept until cancelled, then take what the queue still has, and only then return; or until `sock` is given up.

    `handle` owns each accepted socket and must not block; `on_error` hears of each failed accept.
    Failures of one connection go on with the next, shortages pause (accept(2)); other errors are raised.
    """
    try:
        while await _clients_wait(sock):
            if not _accept_batch(sock, handle, on_error):
                await trio.sleep(ACCEPT_PAUSE)
    except trio.Cancelled:
        # Closing a listening socket resets what waits in its queue: those clients have connected, so they are served.
        # The bound is for clients that keep coming as fast as they are accepted.
        for _ in range(BACKLOG // ACCEPT_BATCH):
            if sock.fileno() < 0 or not _accept_batch(sock, handle, on_error, all_of_it=True):
                break
        raise


async def _clients_wait(sock: socket.socket) -> bool:
    """Wait for a client; False once `sock` was given up."""
    if sock.fileno() >= 0:
        with contextlib.suppress(trio.ClosedResourceError):
            await trio.lowlevel.wait_readable(sock)
    return sock.fileno() >= 0


def _accept_batch(
    sock: socket.socket,
    handle: Callable[[socket.socket, Any], None],
    on_error: Callable[[OSError], None],
    *,
    all_of_it: bool = False,
) -> bool:
    """Accept what is there, within a bound; False says that the caller should pause (or, at the end, is done)."""
    for _ in range(ACCEPT_BATCH):
        try:
            connection, peer = sock.accept()
        except BlockingIOError:
            return not all_of_it
        except OSError as error:
            on_error(error)
            if error.errno in SHORTAGES:
                return False
            if error.errno not in _OF_ONE:
                raise
        else:
            handle(connection, peer)
    return True
