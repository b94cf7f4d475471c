"""The proxies that are measured: where each is found, how it is started, which version it is.

Their settings are the commented files in `configs`; starting and ending them is `processes`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from bench import certificates, processes
from bench.processes import DESCRIPTORS, Process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONFIGS = Path(__file__).parent / "configs"
# Programs of Python packages stand beside the interpreter; Debian keeps nginx and HAProxy in sbin.
SEARCH = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"


@attrs.frozen(kw_only=True)
class Peer:
    """One proxy.

    `program` is looked for on the usual paths. `arguments` and `env` may name @CONFIG@, @PORT@, @UPSTREAM@ and @DIR@,
    a file of `configs` also @ADMIN@, @DESCRIPTORS@ and what `certificates` has. Of lines that end with "#: with access
    log", "#: without access log", "#: with tls" or "#: without tls" the file keeps those that fit the run.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    config: str = ""
    env: Mapping[str, str] = attrs.field(factory=dict)
    version: Callable[[str], str]
    http: bool = True
    tls: bool = True
    workers: int = 1  # only cases about workers are measured with more than one

    def find(self) -> str | None:
        return shutil.which(self.program, path=SEARCH)


@attrs.define(eq=False)
class Running:
    """A started peer, listening on `port`."""

    peer: Peer
    process: Process
    port: int


def _said(*arguments: str) -> Callable[[str], str]:
    """The version a program prints about itself."""

    def ask(program: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=20, check=False)
        found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
        return found.group() if found else "?"

    return ask


def _package(name: str) -> Callable[[str], str]:
    def ask(_: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    return ask


PEERS = (
    Peer(
        name="nginx",
        program="nginx",
        arguments=("-p", "@DIR@", "-c", "@CONFIG@"),
        config="nginx.conf",
        version=_said("-v"),
    ),
    Peer(
        name="haproxy",
        program="haproxy",
        arguments=("-db", "-f", "@CONFIG@"),
        config="haproxy.cfg",
        version=_said("-v"),
    ),
    Peer(
        name="envoy",
        program="envoy",
        arguments=("-c", "@CONFIG@", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"),
        config="envoy.yaml",
        version=_said("--version"),
    ),
    Peer(
        name="caddy",
        program="caddy",
        arguments=("run", "--adapter", "caddyfile", "--config", "@CONFIG@"),
        config="Caddyfile",
        env={"GOMAXPROCS": "1", "HOME": "@DIR@"},
        version=_said("version"),
    ),
    Peer(
        name="trioproxy",
        program=sys.executable,
        arguments=("-m", "trioproxy", "run", "-c", "@CONFIG@"),
        config="trioproxy.toml",
        version=_package("trioproxy"),
    ),
    Peer(
        name="trioproxy-2",
        program=sys.executable,
        arguments=("-m", "trioproxy", "run", "-c", "@CONFIG@"),
        config="trioproxy.toml",
        version=_package("trioproxy"),
        workers=2,
    ),
    Peer(
        name="naive",
        program=sys.executable,
        arguments=("-m", "bench.naive", "@PORT@", "@UPSTREAM@"),
        version=_package("trio"),
        http=False,
        tls=False,
    ),
    Peer(
        name="messages",
        program=sys.executable,
        arguments=("-m", "bench.messages", "@PORT@", "@UPSTREAM@"),
        version=_package("trio-websocket"),
        http=False,
        tls=False,
    ),
)


def rendered(template: str, values: Mapping[str, str], access_log: str, tls: str = "without") -> str:
    """The template for a run "with" or "without" access log and TLS, its placeholders filled in."""
    dropped = tuple(
        f"#: {'without' if chosen == 'with' else 'with'} {what}"
        for what, chosen in (("access log", access_log), ("tls", tls))
    )
    lines = (line.partition("#: with")[0].rstrip() for line in template.splitlines() if not line.endswith(dropped))
    return _filled("\n".join(lines) + "\n", values)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def start(
    peer: Peer,
    *,
    upstream: int,
    folder: Path,
    cpus: set[int] | None,
    access_log: str,
    files: certificates.Files | None = None,
) -> Running:
    """Start it, "with" or "without" access log, with TLS where there are `files` for it, and wait until it accepts.

    Raises ProcessError.
    """
    port = processes.free_port()
    own = folder / (f"{peer.name}-tls" if files else peer.name)
    own.mkdir(exist_ok=True)
    values = {
        "@CONFIG@": str(own / peer.config),
        "@PORT@": str(port),
        "@UPSTREAM@": str(upstream),
        "@DIR@": str(own),
        "@ADMIN@": str(processes.free_port()),
        "@DESCRIPTORS@": str(DESCRIPTORS),
        "@WORKERS@": str(peer.workers),
        **(files.placeholders if files else {}),
    }
    if peer.config:
        template, tls = (CONFIGS / peer.config).read_text(), "with" if files else "without"
        (own / peer.config).write_text(rendered(template, values, access_log, tls))
    process = processes.start(
        peer.name,
        [peer.find() or peer.program, *(_filled(text, values) for text in peer.arguments)],
        folder=own,
        env={name: _filled(value, values) for name, value in peer.env.items()},
        cpus=cpus,
    )
    try:
        processes.wait_until_listening(process, port)
    except processes.ProcessError:
        process.stop()
        raise
    return Running(peer, process, port)
