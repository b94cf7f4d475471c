"""One hostile run: an upstream and a proxy as processes, the load, what the proxy costs meanwhile, and a verdict.

What is sent is in `mutations` and `load`; how it is asked for on the command line is `command`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from hostile.load import Load
from hostile.mutations import Mutator
from hostile.tls import Session
from support.certificates import authority
from support.http_client import split_address
from support.processes import COMPILED, ROOT
from support.proxy import Samples
from support.settings import settings, toml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.certificates import Authority

GAUGES = ("connections_active", "tunnels_active", "upstream_active", "queue_length")
"""What must be at zero when nobody is there any more."""

# Bytes of resident memory, over the last quarter of a run: eight for each request of a million. What is resident without being
# in use, between what is, grows ever slower, and from 1.7 million requests on not at all.
MOST_GROWTH = 2 << 20
WARM_REQUESTS = 600_000  # in shorter runs, caches that fill are most of what is seen
REST_SECONDS = 60.0  # until connections, gauges and descriptors are back
PAGE = 4096


@attrs.define(eq=False)
class Verdict:
    """How it went: `problems` is empty if all is well."""

    requests: int
    connections: int
    seconds: float
    statuses: dict[str, int]
    upstream: dict[str, Any]
    memory: list[int]  # bytes, over the run
    descriptors: tuple[int, int]  # before and behind
    problems: list[str]
    tls: str = ""  # how it went, where there was any

    def describe(self) -> str:
        """Some lines for people."""
        first, half, last = self.memory[0], self.memory[len(self.memory) // 2], self.memory[-1]
        statuses = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        rate, seen = self.requests / self.seconds, self.upstream
        lines = (
            f"{self.requests} requests over {self.connections} connections in {self.seconds:.0f} s ({rate:.0f}/s)",
            *([self.tls] if self.tls else []),
            f"what came back began with: {statuses}",
            f"upstream: {seen['requests']} whole requests, {seen['upgrades']} upgrades, {seen['spoilt']} spoilt answers",
            f"not taken by llhttp behind the proxy: {len(seen['unclean'])}",
            f"KiB of memory: {first >> 10} at first, {half >> 10} after half, {last >> 10} at the end, {max(self.memory) >> 10} at most",
            f"descriptors: {self.descriptors[0]} before, {self.descriptors[1]} behind",
            *(f"PROBLEM: {problem}" for problem in self.problems),
            "NOT well" if self.problems else "nothing wrong",
        )
        return "\n".join(lines)


@attrs.define(eq=False)
class Proxy:
    """The running proxy, and how it is."""

    process: subprocess.Popen[bytes]
    log: Path
    addresses: dict[str, str]

    @property
    def memory(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def metrics(self) -> Samples:
        with urllib.request.urlopen(f"http://{self.addresses['admin']}/metrics", timeout=20) as answer:
            return Samples.parse(answer.read().decode())


def attack(
    *, requests: int, seed: int, folder: Path, tls: bool = False, say: Callable[[str], object] = lambda _: None
) -> Verdict:
    """Send so many, by TLS or in the clear, wait for the proxy to come to rest, end it, and judge."""
    signing = authority(folder / "tls") if tls else None
    with running_upstream(seed) as (upstream, port), running_proxy(folder, f"127.0.0.1:{port}", signing) as proxy:
        proxy.metrics()
        before, memory = proxy.descriptors, [proxy.memory]
        # When they are sent differs from run to run, and so would the bytes if they had the same dice.
        mutator = Mutator(random.Random(seed))
        secure = partial(Session, signing.client(), random.Random(seed)) if signing else None
        load = Load(split_address(proxy.addresses["public"]), requests, random.Random(seed), mutator, secure)

        def tick(sent: int) -> None:
            memory.append(proxy.memory)
            if len(memory) % 30 == 0:
                say(f"{sent} sent, {memory[-1] >> 10} KiB, {proxy.descriptors} descriptors")

        started = time.monotonic()
        load.run(tick)
        seconds = time.monotonic() - started
        memory.append(proxy.memory)
        problems = [f"{load.stuck} connections were not ended behind a FIN"] if load.stuck else []
        problems += _come_to_rest(proxy, before)
        after, arrivals = proxy.descriptors, proxy.metrics().total("endings_total", phase="accept")
        problems += _growth(memory, requests)
        problems += _ending(proxy)
        told = _told(upstream)
    problems += [f"llhttp did not take what was forwarded: {said}" for said in told["unclean"]]
    statuses = dict(load.statuses)
    said = _of_tls(load, arrivals) if tls else ""
    return Verdict(load.sent, load.connections, seconds, statuses, told, memory, (before, after), problems, said)


def _of_tls(load: Load, arrivals: float) -> str:
    broken = ", ".join(f"{stage}: {count}" for stage, count in sorted(load.broken.items()) if stage)
    return (
        f"TLS came about on {load.shaken} connections; clients that were to break it, by stage: {broken};"
        f" {arrivals:.0f} came to no request"
    )


def _come_to_rest(proxy: Proxy, descriptors: int) -> list[str]:
    """Wait until nothing is left of the load; what still is."""
    deadline = time.monotonic() + REST_SECONDS
    while True:
        left = {name: value for name in GAUGES if (value := proxy.metrics().total(name))}
        if not left and proxy.descriptors <= descriptors:
            return []
        if time.monotonic() > deadline:
            return [f"left behind: {left}, {proxy.descriptors} descriptors instead of {descriptors}"]
        time.sleep(0.2)


def _growth(memory: list[int], requests: int) -> list[str]:
    growth = memory[-1] - memory[len(memory) * 3 // 4]
    if requests >= WARM_REQUESTS and growth > MOST_GROWTH:
        return [f"memory grew by {growth >> 10} KiB over the last quarter"]
    return []


def _ending(proxy: Proxy) -> list[str]:
    """End it as an operator would; what its exit status and its log say against it."""
    problems = []
    crashed = proxy.process.poll()
    if crashed is not None:
        problems.append(f"the proxy ended by itself with status {crashed}")
    proxy.process.send_signal(signal.SIGTERM)
    if status := proxy.process.wait(60):
        problems.append(f"exit status {status}")
    bad = ("Traceback", '"internal_error"', '"level": "error"')
    lines = proxy.log.read_text(errors="replace").splitlines()
    problems += [f"logged: {line[:2000]}" for line in lines if any(mark in line for mark in bad)]
    return problems[:20]


def _told(upstream: subprocess.Popen[bytes]) -> dict[str, Any]:
    upstream.send_signal(signal.SIGTERM)
    out, _ = upstream.communicate(timeout=60)
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told


@contextmanager
def running_upstream(seed: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The program `upstream.py`, and its port."""
    argv = [sys.executable, str(Path(__file__).with_name("upstream.py")), str(seed)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def running_proxy(folder: Path, upstream: str, signing: Authority | None) -> Iterator[Proxy]:
    """`trioproxy run`, every answer of an upstream expected soon, its log in a file."""
    files = signing.issue("localhost") if signing else None
    tables = settings(
        [upstream],
        listener={"tls": attrs.asdict(files)} if files else {},
        pool={"keep_alive": 1},
        timeouts={"response": 5, "handshake": 5, "close": 2, "tunnel_idle": 10},
        log={"format": "json", "level": "info", "access": False},
    )
    config, log = folder / "hostile.toml", folder / "hostile.log"
    config.write_text(toml(tables))
    argv = [sys.executable, "-m", "trioproxy", "run", "-c", str(config)]
    with log.open("wb") as err, subprocess.Popen(argv, stderr=err, cwd=ROOT, env=_environment()) as process:
        try:
            yield Proxy(process, log, _addresses(log, process))
        finally:
            process.kill()


def _environment() -> dict[str, str]:

    return {**os.environ, "PYTHONPATH": str(ROOT), **COMPILED}


def _addresses(log: Path, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Where it listens, as its log says."""
    deadline = time.monotonic() + REST_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        entries = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        found = {entry["listener"]: entry["address"] for entry in entries if entry["event"] == "listening"}
        if len(found) == 2:
            return found
        time.sleep(0.05)
    raise AssertionError(f"the proxy does not listen: {log.read_text()}")
