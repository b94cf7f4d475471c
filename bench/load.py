"""Runs the load client and the echo server: compiling them, talking with the client line by line.

What they do is in load.c and echo.c; what is asked of them is `cases`.
"""

from __future__ import annotations

import json
import select
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from bench import processes
from bench.processes import Process, ProcessError

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCES = Path(__file__).parent
ANSWER_SECONDS = 90.0  # above every bound of load.c; for a client that hangs
FAILURES = ("refused", "closed_early", "bad_answers", "timeouts")


def compile_programs(folder: Path) -> None:
    """Put `load` and `echo` into the folder. Raises ProcessError without a C compiler."""
    for name in ("load", "echo"):
        _compile(folder, name, name)


def compile_with_tls(folder: Path) -> None:
    """Put `load-tls` into the folder, if it is not there yet. Raises ProcessError without OpenSSL's headers."""
    if (folder / "load-tls").exists():
        return
    try:
        _compile(folder, "load", "load-tls", "-DTLS", "-lssl", "-lcrypto")
    except ProcessError as error:
        raise ProcessError(f"TLS needs OpenSSL's headers (apt-get install libssl-dev): {error}") from None


def _compile(folder: Path, name: str, program: str, *more: str) -> None:
    compiler = shutil.which("cc")
    if not compiler:
        raise ProcessError("no C compiler (cc) found: apt-get install gcc libc6-dev")
    command = [compiler, "-O2", "-Wall", "-o", str(folder / program), str(SOURCES / f"{name}.c"), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessError(f"{name}.c does not compile: {done.stderr[-2000:]}")


def start_echo(folder: Path, cpus: set[int] | None, addresses: int = 1) -> tuple[Process, int]:
    """The echo server and its port, on 127.0.0.1 and so many addresses behind it."""
    argv = [str(folder / "echo"), str(processes.free_port()), str(addresses)]
    process = processes.start("echo", argv, folder=folder, cpus=cpus)
    return process, int(answer(process))


def answer(process: Process) -> str:
    """The next line of a program's stdout. Raises ProcessError, and ends it, where none comes."""
    stdout = process.popen.stdout
    assert stdout is not None
    ready, _, _ = select.select([stdout], [], [], ANSWER_SECONDS)
    line = stdout.readline() if ready else ""
    if not line:
        process.stop()
        raise ProcessError(process.last_words() or f"{process.name} said nothing for {ANSWER_SECONDS:g} s")
    return line


@attrs.define(eq=False)
class Load:
    """One run of the client, opened and warm once constructed by `open_load`."""

    process: Process
    opened: Mapping[str, Any]

    def measure(self) -> dict[str, Any]:
        """Run the measured window; returns load.c's figures. Raises ProcessError when an echo was wrong."""
        stdin = self.process.popen.stdin
        assert stdin is not None
        try:
            stdin.write("\n")
            stdin.flush()
        except OSError:
            raise ProcessError(self.process.last_words() or "the load client is gone") from None
        figures: dict[str, Any] = json.loads(answer(self.process))
        return figures

    def close(self) -> int:
        """Close every tunnel with the closing handshake; returns how many were closed so."""
        stdin = self.process.popen.stdin
        assert stdin is not None
        try:
            stdin.close()  # the end of input, whether or not anything was measured
            return int(json.loads(answer(self.process))["closed"])
        finally:
            self.process.stop()


def open_load(mode: str, options: Mapping[str, object], *, folder: Path, cpus: set[int] | None) -> Load:
    """Start the client; returns when its tunnels are open and warm. Raises ProcessError if any is not.

    With an option `tls`, the file of an authority, it speaks TLS.
    """
    if "tls" in options:
        compile_with_tls(folder)
    argv = [
        str(folder / ("load-tls" if "tls" in options else "load")),
        mode,
        *(f"{name}={value}" for name, value in options.items()),
    ]
    process = processes.start("load", argv, folder=folder, cpus=cpus)
    load = Load(process, json.loads(answer(process)))
    wrong = failures(load.opened)
    if wrong:
        process.stop()
        raise ProcessError(f"not all connections were opened: {wrong}")
    return load


def failures(figures: Mapping[str, Any]) -> str:
    """The counts of failures that are not zero, in words."""
    return ", ".join(f"{figures[name]} {name.replace('_', ' ')}" for name in FAILURES if figures[name])
