"""A terminal with a program in it, and what stands on its screen, as pyte reads it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from contextlib import asynccontextmanager

import attrs
import pyte
import trio
from support.processes import PYTHON, ROOT
from support.waiting import PATIENCE_SECONDS


@attrs.define(eq=False)
class Terminal:
    """`raw` is all that was written to it, `lines` what is to be seen of that."""

    fd: int
    theirs: int
    process: trio.Process
    view: pyte.Screen
    stream: pyte.ByteStream = attrs.field(init=False)
    raw: bytes = b""

    def __attrs_post_init__(self):
        self.stream = pyte.ByteStream(self.view)

    @property
    def lines(self):
        return [line.rstrip() for line in self.view.display]

    def line(self, text):
        """The first one with this text, "" where there is none."""
        return next((line for line in self.lines if text in line), "")

    def colour(self, text, beside):
        """That of this text in the first line where it stands and something else, too; None where there is none."""
        for number, line in enumerate(self.view.display):
            if text in line and beside in line:
                return self.view.buffer[number][line.index(text)].fg
        return None

    async def read(self):
        await trio.lowlevel.wait_readable(self.fd)
        data = os.read(self.fd, 65536)
        self.raw += data
        self.stream.feed(data)

    async def until(self, condition, what):
        """Read until what is to be seen fits; a text is looked for."""
        fits = condition if callable(condition) else lambda: self.line(condition)
        with trio.move_on_after(PATIENCE_SECONDS):
            while not (found := fits()):
                await self.read()
            return found
        raise AssertionError(f"never seen: {what}:\n" + "\n".join(self.lines))

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def resize(self, columns, lines):
        self.view.resize(lines, columns)
        set_size(self.fd, columns, lines)

    async def end(self):
        """Its exit status, with all it has written read."""
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_on)
                status = await self.process.wait()
                nursery.cancel_scope.cancel()
        os.set_blocking(self.fd, False)
        try:
            while True:
                self.raw += os.read(self.fd, 65536)
        except BlockingIOError:
            return status

    async def _read_on(self):
        while True:
            await self.read()


def set_size(fd, columns, lines):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@asynccontextmanager
async def terminal(*command, columns=100, lines=30, keyboard=True, **environment):
    """Runs a command of ours in a terminal of that size, of which it is killed at the end."""
    ours, theirs = pty.openpty()
    set_size(ours, columns, lines)
    env = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
    env |= {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **environment}
    process = await trio.lowlevel.open_process(
        [PYTHON, "-m", "trioproxy", *command],
        stdin=theirs if keyboard else subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=env,
        start_new_session=True,
    )
    try:
        yield Terminal(ours, theirs, process, pyte.Screen(columns, lines))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(ours)
        os.close(theirs)
