"""The two protocols of systemd: sockets handed over at start (sd_listen_fds(3)), and notices back (sd_notify(3)).

Outside systemd both are silent. What the sockets are used for is the business of `transport` and `server`, when
something is said that of `lifecycle`.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
REPORT_SECONDS: Final = 2.0  # STATUS at most this often: the manager passes each on to whoever watches the unit


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


@attrs.define(eq=False)
class Notifier:
    """Notices to the service manager, none of which ever blocks; without one all are silent.

    `ready`, `reloading` and `stopping` are the life of the process, each with a sentence for `systemctl status`. One
    that the manager has no room for is repeated by `run`.
    """

    address: str = ""  # its datagram socket: a path, or @ and an abstract name
    watchdog: float = math.inf  # seconds within which it restarts a process it has not heard of
    _owed: str = attrs.field(default="", init=False)
    _status: str = attrs.field(default="", init=False)

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Notifier:
        """The manager this process was started by; its variables are removed so that no child speaks to it."""
        address = environ.pop("NOTIFY_SOCKET", "")
        usec = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", str(os.getpid()))
        asked = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid == str(os.getpid())
        return cls(address, int(usec) / 1e6 if asked else math.inf)

    def ready(self, status: str) -> None:
        """Started, or done with a reload."""
        self._announce("READY=1", status)

    def reloading(self, status: str) -> None:
        """A reload begins; `ready` ends it, whatever came of it."""
        # Debian 12's systemd does not ask for the time yet; later ones do (Type=notify-reload).
        self._announce(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", status)

    def stopping(self, status: str, seconds: float) -> None:
        """The end begins and takes `seconds` at most: the manager waits that long, whatever its TimeoutStopSec says."""
        self._announce(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={math.ceil(seconds * 1e6)}", status)

    async def run(self, describe: Callable[[], str]) -> None:
        """Feed the watchdog twice in its time, and keep the status at what `describe` says, until cancelled.

        It is a task of the main loop, so that a loop that is stuck is one the watchdog ends.
        """
        while self.address:
            if self._owed:
                self._announce(self._owed, self._status)
            notices = [] if math.isinf(self.watchdog) else ["WATCHDOG=1"]
            status = describe()
            if status != self._status:
                notices.append(f"STATUS={status}")
            if notices and _send("\n".join(notices), self.address):
                self._status = status
            await trio.sleep(min(REPORT_SECONDS, self.watchdog / 2))

    def _announce(self, state: str, status: str) -> None:
        self._status = status
        self._owed = "" if _send(f"{state}\nSTATUS={status}", self.address) else state


def _send(text: str, address: str) -> bool:
    """Whether the manager took it."""
    if not address:
        return False
    name = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.sendto(text.encode(), name)
        except OSError:
            return False
    return True
