"""The upstreams' processes: started, signalled, started again; or servers that run already and are left alone.

What passes between them and the proxy is `hop`'s.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.chaos.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDED: Final = (sys.executable, "-m", "trioproxy.chaos.echo", "{port}")
HOST: Final = "127.0.0.1"
START_SECONDS: Final = 20.0
_END_SECONDS: Final = 5.0  # for a server to end by SIGTERM, before SIGKILL
_LOOK_AGAIN: Final = 0.02
_LOCAL_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORTS: Final = 16_000  # that one is chosen from
_LEAST_PORT: Final = 1024
_ENOUGH: Final = 4000  # ports, or one is taken of those that the kernel gives away


class ServerError(Exception):
    """A server that does not start, or to which nothing can be done."""


@attrs.define(eq=False)
class Server:
    """One upstream's process and all that it starts, always at the same port. Closing it kills them.

    They are a process group of their own: a command is often a shell's or npm's, with the server below it. The embedded
    one finds its port kept for it also while it is down; a command of the user's may not be able to share.
    """

    number: int
    command: Sequence[str] = EMBEDDED
    port: int = attrs.field(init=False)
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)
    _ending: bool = attrs.field(default=False, init=False)  # it was sent something by which it may end
    _starting: trio.Lock = attrs.field(factory=trio.Lock, init=False)
    _kept: socket.socket | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._kept = keep_port() if self.command == EMBEDDED else None
        self.port = free_port() if self._kept is None else self._kept.getsockname()[1]

    @property
    def target(self) -> tuple[str, int]:
        """Where it listens."""
        return HOST, self.port

    async def start(self) -> None:
        """Start it, once the last one has ended; returns when it listens. Raises ServerError.

        One that was told nothing is left as it is: of two faults that have ended it, the first brings it back.
        """
        async with self._starting:
            if self._process is not None and is_alive(self._process.pid) and not self._ending:
                return
            await self.ended()
            await self._until_free()
            await self._start()

    async def _until_free(self) -> None:
        """What was killed with its first process may end a little later."""
        with trio.move_on_after(_END_SECONDS):
            while await listens(self.target):
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ServerError(f"upstream {self.number}: something else listens at port {self.port}")

    async def _start(self) -> None:
        said = {"{port}": str(self.port), "{number}": str(self.number)}
        command = [re.sub(r"\{port\}|\{number\}", lambda found: said[found[0]], word) for word in self.command]
        try:
            # The user's own; what it says goes where diagnostics go, not between the verdicts.
            self._process = process = subprocess.Popen(  # noqa: S603, ASYNC220
                command, stdin=subprocess.DEVNULL, stdout=sys.__stderr__, process_group=0
            )
        except OSError as error:
            raise ServerError(f"upstream {self.number}: {command[0]}: {error.strerror}") from error
        self._ending = False
        with trio.move_on_after(START_SECONDS):
            while not await listens(self.target):
                if not is_alive(process.pid):
                    self._kill()
                    raise ServerError(f"upstream {self.number}: ended with status {process.returncode}")
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ServerError(f"upstream {self.number}: does not listen at port {self.port} after {START_SECONDS:g} s")

    async def ended(self) -> None:
        """Wait for the end of its process; one that was told to end and does not is killed, as is what it has left."""
        if self._process is None:
            return
        with trio.move_on_after(_END_SECONDS):
            while is_alive(self._process.pid):
                await trio.sleep(_LOOK_AGAIN)
        self._kill()

    def signal(self, number: int) -> None:
        """Send all of its processes a signal, if it runs."""
        if self._process is not None:
            self._ending = number != signal.SIGCONT
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """Kill it, also where it is stopped."""
        self._kill()
        if self._kept is not None:
            self._kept.close()

    def _kill(self) -> None:
        # Until its first process is waited for, nobody else can have the number of the group.
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


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

    Below those that the kernel gives to whoever connects, where there are some: one of these could not be had any more
    when it is to be bound.
    """
    least, most = map(int, _LOCAL_PORTS.read_text("ascii").split())
    if least - _LEAST_PORT < _ENOUGH:  # as where a proxy was given all of them to connect from
        least = most
    while True:  # ends: of a few thousand ports some are free, or nothing can be run here
        port = random.randrange(max(least - _PORTS, _LEAST_PORT), least)
        with contextlib.closing(socket.socket()) as sock, contextlib.suppress(OSError):
            sock.bind((HOST, port))
            return port


def keep_port(host: str = HOST, port: int = 0) -> socket.socket:
    """A socket at a port, 0 for any, that nobody else is given while it is open, whether it listens or not.

    Who sets SO_REUSEADDR can listen at it all the same. Linux keeps a port that a bind has named, not one that it has
    chosen (SOCK_BINDPORT_LOCK).
    """
    with _bound_to(host, port) as chosen:
        return _bound_to(host, chosen.getsockname()[1])


def _bound_to(host: str, port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
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
