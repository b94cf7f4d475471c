"""A peer's program: found, asked for its version, started, looked after and ended.

How it is configured and commanded stands in a module for each.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.chaos.processes import is_alive, kill_family
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.servers import listens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

START_SECONDS: Final = 20.0
END_SECONDS: Final = 30.0
_LOOK_AGAIN: Final = 0.02
# Programs of Python packages stand beside the interpreter; Debian keeps nginx and HAProxy in sbin.
_SEARCH: Final = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


@attrs.frozen
class Program:
    """One that may be installed."""

    name: str
    asked: str  # the argument by which it tells its version
    package: str  # where it comes from, in words for people

    @property
    def path(self) -> str:
        """Where it is. Raises ProxyError where it is not."""
        if found := shutil.which(self.name, path=f"{_SEARCH}:{os.environ.get('PATH', '')}"):
            return found
        raise ProxyError(f"{self.name} is not installed: {self.package}")

    def version(self) -> str:
        """Such as 1.22.1; blocks. Raises ProxyError."""
        try:
            done = subprocess.run([self.path, self.asked], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProxyError(f"{self.name}: does not tell its version: {error}") from None
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found.group() if found else "unknown"


@attrs.define(eq=False)
class Running:
    """Its processes in one run: what they write goes into one file. Closing it kills them and all below them."""

    log: Path
    pids: list[int] = attrs.field(factory=list, init=False)  # the last one serves
    _ours: list[subprocess.Popen[bytes]] = attrs.field(factory=list, init=False)

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program that stays our child."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - a peer's
        self._ours.append(process)
        return process

    async def command(self, *words: str) -> None:
        """Run a program to its end. Raises ProxyError, with what it said, unless that is a success."""
        done = await trio.run_process(words, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            said = " ".join(done.stdout.decode(errors="replace").split())
            raise ProxyError(f"{Path(words[0]).name} ended with status {done.returncode}: {said}")

    async def until(self, happened: Callable[[], Awaitable[bool]], what: str) -> None:
        """Returns when it has. Raises ProxyError when a process of ours ends, or it takes too long."""
        running = [process for process in self._ours if process.poll() is None]
        with trio.move_on_after(START_SECONDS):
            while not await happened():
                if ended := [process for process in running if process.poll() is not None]:
                    raise ProxyError(f"ended with status {ended[0].returncode}, {what}: {self._last_words()}")
                await trio.sleep(_LOOK_AGAIN)
            return
        raise ProxyError(f"after {START_SECONDS:g} s still {what}: {self._last_words()}")

    async def until_listening(self, address: tuple[str, int]) -> None:
        """Returns when a connect succeeds. Raises ProxyError."""
        await self.until(lambda: listens(address), "not listening")

    async def ended(self, pids: Sequence[int]) -> bool:
        """Whether all of them end within the time that one has for it."""
        with trio.move_on_after(END_SECONDS):
            while any(map(is_alive, pids)) or any(process.poll() is None for process in self._ours):
                await trio.sleep(_LOOK_AGAIN)
            return True
        return False

    def alive(self) -> Sequence[int]:
        """The process ids that still run."""
        return [pid for pid in self.pids if is_alive(pid)]

    @property
    def worst(self) -> int:
        """Of the exit statuses of our children that have ended."""
        return max((abs(process.returncode or 0) for process in self._ours), default=0)

    def lines(self, pattern: re.Pattern[str]) -> Sequence[str]:
        """Those of its log that match."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if pattern.search(line)]

    def _last_words(self) -> str:
        return " ".join(self.log.read_text("utf-8", "replace")[-400:].split()) if self.log.exists() else ""

    def close(self) -> None:
        """Kill what is left."""
        for pid in [*self.pids, *(process.pid for process in self._ours if process.poll() is None)]:
            if is_alive(pid):
                kill_family(pid)
        for process in self._ours:
            process.wait()
