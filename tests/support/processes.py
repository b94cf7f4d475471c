"""Real child processes of the tests: started, watched line by line, signalled and ended by process id.

What a program means is elsewhere: `proxy`, `peers` and `nginx` each know one kind.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio
from support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests" / "peers"
PYTHON = sys.executable
# Where compiled modules are not to be kept, each of some thousand starts would compile them all: a fifth of its time.
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
TEST_SECONDS = 300.0  # a guard: a peer that waits for ever must not hang the suite

# LISTEN_PID must be the program's own process id, which only the child itself knows before it becomes the program;
# activated sockets start at descriptor 3.
_ACTIVATE = """
import os, sys
count = int(sys.argv[1])
for offset, fd in enumerate(map(int, sys.argv[2].split(","))):
    os.dup2(fd, 3 + offset, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = str(count)
os.environ["LISTEN_FDNAMES"] = sys.argv[3]
os.execv(sys.argv[4], sys.argv[4:])
"""


def raise_descriptor_limit() -> int:
    """The tests hold both ends of a thousand tunnels; children inherit the limit. Returns the new soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@attrs.define(eq=False)
class Lines:
    """The lines one output stream has carried so far, and a way to wait for one that is still to come."""

    seen: list[str] = attrs.Factory(list)
    ended: bool = False
    _changed: trio.Event = attrs.Factory(trio.Event)

    @property
    def text(self) -> str:
        return "\n".join(self.seen)

    async def first(self, wanted: Callable[[str], bool], what: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The first line, past or future, that is `wanted`; AssertionError when the output ends or `seconds` pass."""
        looked = 0
        with trio.move_on_after(seconds):
            while True:
                while looked < len(self.seen):
                    looked += 1
                    if wanted(self.seen[looked - 1]):
                        return self.seen[looked - 1]
                if self.ended:
                    raise AssertionError(f"ended without {what}:\n{self.text}")
                await self._changed.wait()
        raise AssertionError(f"no {what} within {seconds} s:\n{self.text}")

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        rest = b""
        async for data in stream:
            *lines, rest = (rest + data).split(b"\n")
            self._add([line.decode(errors="replace") for line in lines])
        self.ended = True
        self._add([rest.decode(errors="replace")] if rest else [])

    def _add(self, lines: list[str]) -> None:
        self.seen += lines
        changed, self._changed = self._changed, trio.Event()
        changed.set()


@attrs.define(eq=False)
class Program:
    """One child process. `out` and `err` grow while it runs; signals go to its process id and to nothing else."""

    name: str
    process: trio.Process
    out: Lines = attrs.Factory(Lines)
    err: Lines = attrs.Factory(Lines)
    read: trio.Event = attrs.Factory(trio.Event)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.running:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    async def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit status, once the process ended and its output was read to the end."""
        with trio.move_on_after(seconds):
            status = await self.process.wait()
            await self.read.wait()
            return status
        raise AssertionError(f"{self.name} still runs after {seconds} s:\n{self.err.text}")

    @property
    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


@attrs.define(eq=False)
class Programs:
    """All processes of one test; whatever still runs at its end is killed, by process id."""

    nursery: trio.Nursery
    folder: Path
    started: list[Program] = attrs.Factory(list)
    kept: list[socket.socket] = attrs.Factory(list)  # at ports that nobody else is to get

    async def start(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        sockets: Mapping[str, int] | None = None,
    ) -> Program:
        """Starts `argv` in the repository's root; `sockets` (name → descriptor) are handed over as systemd does."""
        words = [os.fspath(word) for word in argv]
        sockets = sockets or {}
        if sockets:
            fds = ",".join(str(fd) for fd in sockets.values())
            words = [PYTHON, "-c", _ACTIVATE, str(len(sockets)), fds, ":".join(sockets), *words]
        process = await trio.lowlevel.open_process(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **COMPILED, **(env or {})},
            pass_fds=tuple(sockets.values()),
        )
        program = Program(name, process)
        self.started.append(program)
        self.nursery.start_soon(self._watch, program)
        return program

    async def _watch(self, program: Program) -> None:
        assert program.process.stdout is not None
        assert program.process.stderr is not None
        async with program.process.stdout, program.process.stderr, trio.open_nursery() as nursery:
            nursery.start_soon(program.out.read, program.process.stdout)
            nursery.start_soon(program.err.read, program.process.stderr)
        program.read.set()

    async def end(self) -> None:
        for program in self.started:
            program.kill()  # also ends a stopped process
        for program in self.started:
            await program.process.wait()
        for sock in self.kept:
            sock.close()

    def assert_no_traceback(self) -> None:
        for program in self.started:
            assert "Traceback" not in program.err.text, f"{program.name} printed a traceback:\n{program.err.text}"


async def _end_hanging_test(seconds: float) -> None:
    await trio.sleep(seconds)
    raise AssertionError(f"the test still ran after {seconds} s")


@asynccontextmanager
async def open_programs(folder: Path, *, seconds: float = TEST_SECONDS) -> AsyncIterator[Programs]:
    """Processes that live as long as the block, `seconds` at most; none outlives it, whatever happens in it."""
    async with trio.open_nursery() as nursery:
        programs = Programs(nursery, folder)
        nursery.start_soon(_end_hanging_test, seconds)
        try:
            yield programs
        finally:
            with trio.CancelScope(shield=True):
                await programs.end()
            with contextlib.suppress(trio.TooSlowError), trio.fail_after(5):
                for program in programs.started:
                    await program.read.wait()
            nursery.cancel_scope.cancel()
    programs.assert_no_traceback()
