"""Starts and ends the programs of the benchmark, each by its own process id, each with its output in a file.

What they cost is `clocks`; what they are is `peers` and `load`.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DESCRIPTORS = 20_000  # enough for both sides of 5,000 tunnels; some machines allow no more
START_SECONDS = 20.0
END_SECONDS = 5.0
REPOSITORY = Path(__file__).resolve().parent.parent


class ProcessError(Exception):
    """A program did not start or ended by itself; the message ends with what it said last."""


@attrs.define(eq=False)
class Process:
    """One running program. `stop` ends it; its output is in `output`."""

    name: str
    popen: subprocess.Popen[str]
    output: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def check(self) -> None:
        """Raise ProcessError if it has ended."""
        if self.popen.poll() is not None:
            raise ProcessError(f"{self.name} ended with status {self.popen.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        return self.output.read_text(errors="replace")[-400:].strip()

    def stop(self) -> None:
        """SIGTERM twice (some drain on the first), then SIGKILL; to this process id alone."""
        for end in (self.popen.terminate, self.popen.terminate, self.popen.kill):
            if self.popen.poll() is not None:
                break
            end()
            try:
                self.popen.wait(END_SECONDS / 5)
            except subprocess.TimeoutExpired:
                continue
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe:
                pipe.close()


@contextmanager
def pinned(cpus: set[int] | None) -> Iterator[None]:
    """What is started inside runs on these processors only; None changes nothing."""
    before = os.sched_getaffinity(0)
    if cpus:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def start(
    name: str, argv: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None, cpus: set[int] | None = None
) -> Process:
    """Start a program in the repository's root. Its stdin and stdout are pipes only for those that are talked with."""
    output = folder / f"{name}.log"
    piped = subprocess.PIPE if name in {"load", "echo", "held"} else None
    with output.open("w") as file, pinned(cpus):
        popen = subprocess.Popen(
            list(argv),
            stdin=piped or subprocess.DEVNULL,
            stdout=piped or file,
            stderr=file,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, **(env or {})},
        )
    return Process(name, popen, output)


def raise_descriptor_limit() -> int:
    """The soft limit becomes the hard one, at most DESCRIPTORS, for this process and all it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def free_port() -> int:
    """A port nobody listens on, below the range the kernel gives out by itself."""
    for _ in range(1000):
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ProcessError("no free port between 20000 and 30000")


def wait_until_listening(process: Process, port: int) -> None:
    """Wait until a connection to the port is accepted, or raise ProcessError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        process.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise ProcessError(f"{process.name} does not listen after {START_SECONDS:g} s: {process.last_words()}")
