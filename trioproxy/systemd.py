"""The two protocols of systemd: sockets handed over at start (sd_listen_fds(3)), and notices back (sd_notify(3)).

Outside systemd both are silent. What the sockets are used for is the business of `transport` and `server`.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import MutableMapping

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START


def inherited_sockets(environ: MutableMapping[str, str]) -> dict[str, list[socket.socket]]:
    """The listening sockets passed to this process, by name (LISTEN_FDNAMES; `unknown` where none was given).

    They are meant for us alone if LISTEN_PID is our own; the variables are removed so that no child takes them again.
    The caller owns the sockets. A passed descriptor that is no socket is skipped.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[str, list[socket.socket]] = {}
    for index in range(int(count)):
        with contextlib.suppress(OSError):
            sock = socket.socket(fileno=FIRST_FD + index)
            os.set_inheritable(sock.fileno(), False)
            name = names[index] if index < len(names) and names[index] else "unknown"
            found.setdefault(name, []).append(sock)
    return found


def notify(state: str, environ: MutableMapping[str, str]) -> bool:
    """Send one notice such as `READY=1` to the service manager; False where there is none, or it cannot be reached."""
    path = environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return False
    return True
