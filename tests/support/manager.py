"""The service manager's side of the notify protocol: a datagram socket, and waiting for what a service says on it."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio
from support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

Notice = dict[str, str]


@attrs.define(eq=False)
class ServiceManager:
    """What it has heard so far; `env` goes to the service."""

    sock: trio.socket.SocketType
    path: str
    heard: list[Notice] = attrs.Factory(list)

    def env(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.path, **more}

    async def hears(self, wanted: Callable[[Notice], bool], what: str) -> Notice:
        """The next notice that is `wanted`."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while True:
                text = (await self.sock.recv(4096)).decode()
                notice = dict(line.split("=", 1) for line in text.split("\n"))
                self.heard.append(notice)
                if wanted(notice):
                    return notice
        raise AssertionError(f"never heard {what}, but {self.heard}")

    async def hears_state(self, state: str) -> Notice:
        """The next notice with `STATE=1`."""
        return await self.hears(lambda notice: notice.get(state) == "1", state)

    async def hears_status(self, words: str) -> Notice:
        """The next notice whose status has these words."""
        return await self.hears(lambda notice: words in notice.get("STATUS", ""), words)


@asynccontextmanager
async def service_manager(folder: Path) -> AsyncIterator[ServiceManager]:
    path = os.fspath(folder / "notify")
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        await sock.bind(path)
        yield ServiceManager(sock, path)
