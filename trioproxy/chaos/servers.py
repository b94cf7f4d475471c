"""The upstreams' processes: started, signalled, started again; or servers that run already and are left alone.

What passes between them and the proxy is `hop`'s.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDED: Final = (sys.executable, "-m", "trioproxy.chaos.echo", "{port}")
HOST: Final = "127.0.0.1"
START_SECONDS: Final = 20.0
_END_SECONDS: Final = 5.0  # for a server to end by SIGTERM, before SIGKILL
_LOOK_AGAIN: Final = 0.02
_LOCAL_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORTS: Final = 16_000  # that one is chosen from


class ServerError(Exception):
    """A server that does not start, or to which nothing can be done."""


@attrs.define(eq=False)
class Server:
    """One upstream's process, always at the same port. Closing it kills it.

    The embedded one finds its port kept for it also while it is down; a command of the user's may not be able to share.
    """

    number: int
    command: Sequence[str] = EMBEDDED
    port: int = attrs.field(init=False)
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)
    _kept: socket.socket | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._kept = keep_port() if self.command == EMBEDDED else None
        self.port = free_port() if self._kept is None else self._kept.getsockname()[1]

    @property
    def target(self) -> tuple[str, int]:
        """Where it listens."""
        return HOST, self.port

    async def start(self) -> None:
        """Start it, once the last one has ended; returns when it listens. Raises ServerError."""
        await self.ended()
        command = [word.format(port=self.port, number=self.number) for word in self.command]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603, ASYNC220 - the user's own
        except OSError as error:
            raise ServerError(f"upstream {self.number}: {command[0]}: {error.strerror}") from error
        with trio.move_on_after(START_SECONDS):
            while not await listens(self.target):
                if self._process.poll() is not None:
                    raise ServerError(f"upstream {self.number}: ended with status {self._process.returncode}")
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ServerError(f"upstream {self.number}: does not listen at port {self.port} after {START_SECONDS:g} s")

    async def ended(self) -> None:
        """Wait for the end of its process; one that was told to end and does not is killed."""
        if self._process is None:
            return
        with trio.move_on_after(_END_SECONDS):
            while self._process.poll() is None:
                await trio.sleep(_LOOK_AGAIN)
            return
        self._kill()

    def signal(self, number: int) -> None:
        """Send its process a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Kill it, also where it is stopped."""
        self._kill()
        if self._kept is not None:
            self._kept.close()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@attrs.define(eq=False)
class Given:
    """An upstream that runs already."""

    address: str

    @property
    def target(self) -> tuple[str, int]:
        """Where it listens."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    async def start(self) -> None:
        """Raises ServerError unless it listens."""
        if not await listens(self.target):
            raise ServerError(f"upstream {self.address}: nothing listens there")

    def signal(self, number: int) -> None:
        """Raises ServerError: it is not ours."""
        raise ServerError(f"upstream {self.address}: runs already, so it is not sent {signal.Signals(number).name}")

    def close(self) -> None:
        """Leave it as it is."""


def free_port() -> int:
    """A port of loopback that nobody listens at now.

    Below those that the kernel gives to whoever connects: it could not be had any more when it is to be bound.
    """
    least = int(_LOCAL_PORTS.read_text("ascii").split()[0])
    while True:  # ends: of a few thousand ports some are free, or nothing can be run here
        port = random.randrange(max(least - _PORTS, 1024), least)
        with contextlib.closing(socket.socket()) as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port


def keep_port() -> socket.socket:
    """A socket at a port of loopback that nobody else is given while it is open.

    Who sets SO_REUSEADDR can listen at it all the same. Linux keeps a port that a bind has named, not one that it has
    chosen (SOCK_BINDPORT_LOCK).
    """
    with _bound_to(0) as chosen:
        port: int = chosen.getsockname()[1]
        return _bound_to(port)


def _bound_to(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock


async def listens(target: tuple[str, int]) -> bool:
    """Whether a connect succeeds."""
    try:
        await (await trio.open_tcp_stream(*target)).aclose()
    except OSError:
        return False
    return True
