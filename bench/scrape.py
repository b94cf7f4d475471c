"""What a scrape of /metrics costs with many tunnels open and many upstreams, and for how long it holds the event loop.

The proxy is `held`: trioproxy that watches its own loop. The other cases are `cases`.
"""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING

import attrs

from bench import clocks, peers, processes
from bench.load import answer, open_load, start_echo

if TYPE_CHECKING:
    from pathlib import Path

    from bench.cases import Case
    from bench.processes import Process

SCRAPES = 8
OPEN_SECONDS = 80  # for all tunnels, on a machine that has other work
APART_SECONDS = 0.7  # an answer is kept for half a second
OPENMETRICS = "application/openmetrics-text; version=1.0.0"  # what Prometheus asks for


@attrs.define(eq=False)
class Held:
    """The watched proxy, and where it answers scrapes."""

    process: Process
    admin: int

    def longest(self) -> dict[str, float]:
        """The longest turn of its loop since the last call."""
        assert self.process.popen.stdin is not None
        self.process.popen.stdin.write("\n")
        self.process.popen.stdin.flush()
        found: dict[str, float] = json.loads(answer(self.process))
        return found

    def scrape(self) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            connection.request("GET", "/metrics", headers={"Accept": OPENMETRICS})
            return connection.getresponse().read()
        finally:
            connection.close()


def measure(case: Case, *, folder: Path, proxy_cpus: set[int] | None, load_cpus: set[int] | None) -> dict[str, float]:
    """One sample: medians over some scrapes. Raises ProcessError."""
    echo, upstream = start_echo(folder, load_cpus, addresses=case.upstreams)
    try:
        port, admin = processes.free_port(), processes.free_port()
        config = folder / "held.toml"
        config.write_text(_config(case.upstreams, port, upstream, admin))
        process = processes.start(
            "held", [sys.executable, "-m", "bench.held", str(config)], folder=folder, cpus=proxy_cpus
        )
        try:
            processes.wait_until_listening(process, port)
            return _sample(case, Held(process, admin), port, folder, load_cpus)
        finally:
            process.stop()
    finally:
        echo.stop()


def _config(upstreams: int, port: int, upstream: int, admin: int) -> str:
    values = {"@PORT@": str(port), "@ADMIN@": str(admin), "@WORKERS@": "1", "@DIR@": "/nowhere"}
    text = peers.rendered((peers.CONFIGS / "trioproxy.toml").read_text(), values, "without")
    addresses = ", ".join(f'"127.0.0.{number}:{upstream}"' for number in range(1, upstreams + 1))
    return text.replace('"127.0.0.1:@UPSTREAM@"', addresses)


def _sample(case: Case, held: Held, port: int, folder: Path, cpus: set[int] | None) -> dict[str, float]:
    # Each tunnel carries a message, so that every upstream has something to tell.
    times = {"warm": 0, "seconds": case.seconds, "interval": case.seconds, "limit": OPEN_SECONDS}
    options = {"port": port, "n": case.tunnels, **times}
    load = open_load("sparse", options, folder=folder, cpus=cpus)
    load.measure()
    found: list[dict[str, float]] = []
    body = b""
    for turn in range(SCRAPES + 1):
        time.sleep(APART_SECONDS)
        held.longest()
        before = clocks.cpu_seconds(held.process.pid)
        body = held.scrape()
        spent = clocks.cpu_seconds(held.process.pid) - before
        if turn:  # the first one writes the series' names
            found.append({"scrape_cpu_ms": spent * 1000, **held.longest()})
    lost = case.tunnels - load.close()
    sample = {name: statistics.median(each[name] for each in found) for name in found[0]}
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    return {**sample, "series": series, "scrape_kb": len(body) / 1000, "lost": lost}
