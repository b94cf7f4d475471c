"""The upstreams' processes: started, signalled, started again; or servers that run already and are left alone.

What passes between them and the proxy is `hop`'s.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
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


class ServerError(Exception):
    """A server that does not start, or to which nothing can be done."""


@attrs.define(eq=False)
class Server:
    """One upstream's process, always at the same port. Closing it kills it."""

    number: int
    command: Sequence[str] = EMBEDDED
    port: int = attrs.field(init=False)
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.port = free_port()

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
        self.close()

    def signal(self, number: int) -> None:
        """Send its process a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        """Kill it, also where it is stopped."""
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
    """A port of loopback that nobody listens at now."""
    with contextlib.closing(socket.socket()) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


async def listens(target: tuple[str, int]) -> bool:
    """Whether a connect succeeds."""
    try:
        await (await trio.open_tcp_stream(*target)).aclose()
    except OSError:
        return False
    return True
