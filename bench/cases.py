"""The table of what is measured, and how one measurement is taken.

Rounds, medians and the order of the peers are `run`; a new case is one line here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs

from bench import clocks
from bench.load import failures, open_load

if TYPE_CHECKING:
    from pathlib import Path

SIZES = {"64B": 64, "1KiB": 1024, "16KiB": 16 * 1024, "64KiB": 64 * 1024, "1MiB": 1024 * 1024}
TUNNELS = (1, 64, 1000)
MANY_UPSTREAMS = 100
SETTLE_SECONDS = 1.5  # until buffers are given back and the reclaimable is reclaimed
QUIET_SECONDS = 10.0


@attrs.frozen(kw_only=True)
class Case:
    """One thing that is measured; `fresh` asks for a process that has done nothing before."""

    name: str
    title: str
    mode: str
    tunnels: int
    size: int = 64
    seconds: float = 1.0
    quick: bool = False
    fresh: bool = False
    workers: bool = False  # trioproxy alone, with one worker and with several
    upstreams: int = 0  # trioproxy alone, before so many, and what a scrape of its metrics costs
    tls: bool = False  # between load and proxy; behind the proxy it is always in the clear

    def shortened(self) -> Case:
        """The same for `--quick`."""
        tunnels = {4000: 1000, 5000: 2000}.get(self.tunnels, self.tunnels)
        name = self.name.replace(str(self.tunnels), str(tunnels))
        title = self.title.replace(f"{self.tunnels:,}", f"{tunnels:,}")
        seconds = 2.0 if self.mode in {"sparse", "scrape"} else self.seconds / 2
        return attrs.evolve(self, name=name, title=title, tunnels=tunnels, seconds=seconds)


def _echoes() -> list[Case]:
    quick = {("64B", 1), ("64B", 64), ("64B", 1000), ("1KiB", 64), ("64KiB", 16), ("1MiB", 16)}
    grid = [(size, tunnels) for size in SIZES for tunnels in TUNNELS]
    # 16 tunnels fill a proxy with large frames; 1,000 of 1 MiB would measure a GiB of the kernel's buffers.
    grid = [cell for cell in grid if cell != ("1MiB", 1000)] + [("64KiB", 16), ("1MiB", 16)]
    return [
        Case(
            name=f"echo-{size}-{tunnels}",
            title=f"echo, {size.replace('B', ' B').replace('Ki ', ' Ki').replace('Mi ', ' Mi')}, "
            f"{tunnels:,} tunnel{'s' * (tunnels > 1)}",
            mode="echo",
            tunnels=tunnels,
            size=SIZES[size],
            seconds=1.5,
            quick=(size, tunnels) in quick,
        )
        for size, tunnels in sorted(grid, key=lambda cell: (SIZES[cell[0]], cell[1]))
    ]


def _with_tls() -> list[Case]:
    """TLS 1.3 towards the clients, the same in all proxies: `tls.h` says which."""
    return [
        Case(
            name="tls-echo-64B-64", title="TLS: echo, 64 B, 64 tunnels", mode="echo", tunnels=64, seconds=1.5, tls=True
        ),
        Case(
            name="tls-echo-64KiB-16",
            title="TLS: echo, 64 KiB, 16 tunnels",
            mode="echo",
            tunnels=16,
            size=SIZES["64KiB"],
            seconds=1.5,
            tls=True,
        ),
        Case(
            name="tls-handshake-2000", title="TLS: burst of 2,000 handshakes", mode="handshake", tunnels=2000, tls=True
        ),
        Case(
            name="tls-http-32",
            title="TLS: HTTP, 32 kept-alive connections",
            mode="http",
            tunnels=32,
            seconds=1.5,
            tls=True,
        ),
        Case(
            name="tls-memory-2000", title="TLS: 2,000 idle tunnels", mode="memory", tunnels=2000, fresh=True, tls=True
        ),
    ]


CASES = (
    *_echoes(),
    Case(
        name="workers-64B-256",  # so many that the kernel's hash gives each worker its half
        title="echo, 64 B, 256 tunnels, with one worker and with two",
        mode="echo",
        tunnels=256,
        seconds=3,
        quick=True,
        workers=True,
    ),
    Case(
        name="sparse-1000",
        title="open loop, 1,000 tunnels, a message a second each",
        mode="sparse",
        tunnels=1000,
        seconds=5,
        quick=True,
    ),
    Case(name="handshake-5000", title="burst of 5,000 handshakes", mode="handshake", tunnels=5000, quick=True),
    Case(
        name="http-32", title="plain HTTP, 32 kept-alive connections", mode="http", tunnels=32, seconds=1.5, quick=True
    ),
    *(
        Case(
            name=f"scrape-{upstreams}-5000",
            title=f"a scrape of /metrics, {upstreams} upstreams, 5,000 open tunnels",
            mode="scrape",
            tunnels=5000,
            seconds=2,
            quick=upstreams == MANY_UPSTREAMS,
            upstreams=upstreams,
        )
        for upstreams in (20, MANY_UPSTREAMS)
    ),
    Case(name="memory-4000", title="4,000 idle tunnels", mode="memory", tunnels=4000, quick=True, fresh=True),
    *_with_tls(),
)


@attrs.frozen(kw_only=True)
class Site:
    """Where a measurement is taken: the port it is driven at, the proxy's process (0: none) and the echo server's."""

    port: int
    proxy: int
    echo: int
    folder: Path
    load_cpus: set[int] | None
    authority: str = ""  # file of who has signed the proxy's certificate; "" in the clear

    @property
    def options(self) -> dict[str, object]:
        """What the load client has to know of it."""
        return {"port": self.port, **({"tls": self.authority} if self.authority else {})}


def measure(case: Case, site: Site) -> dict[str, float]:
    """One sample: name of figure → value, units in the names. Raises ProcessError."""
    return _memory(case, site) if case.mode == "memory" else _timed(case, site)


def _timed(case: Case, site: Site) -> dict[str, float]:
    options = {**site.options, "n": case.tunnels, "size": case.size, "seconds": case.seconds}
    if case.mode == "handshake":
        options["at_once"] = 1000
    load = open_load(case.mode, options, folder=site.folder, cpus=site.load_cpus)
    pids = {"proxy": site.proxy, "echo": site.echo, "load": load.process.pid}
    before = {name: clocks.cpu_seconds(pid) for name, pid in pids.items() if pid}
    figures = load.measure()
    spent = {name: clocks.cpu_seconds(pids[name]) - since for name, since in before.items()}
    closed = load.close()
    _wait_until_quiet(site)
    return _figures(case, figures, spent, closed)


def _figures(case: Case, raw: dict[str, Any], spent: dict[str, float], closed: int) -> dict[str, float]:
    count, seconds = max(raw["count"], 1), raw["seconds"]
    sample = {f"{name}_cpu_us": cpu / count * 1e6 for name, cpu in spent.items()}
    sample |= {f"{name}_busy_percent": cpu / seconds * 100 for name, cpu in spent.items()}
    sample |= {"per_second": count / seconds, "late": raw["late"]}
    sample |= {name: raw[name] for name in ("count", "seconds", "p50_us", "p99_us", "p999_us", "max_us")}
    sample["failed"] = case.tunnels - raw["opened"] if failures(raw) else 0
    sample["lost"] = case.tunnels - closed if case.mode != "http" else 0
    if case.mode == "echo":
        sample["mb_per_second"] = 2 * count * case.size / seconds / 1e6
    return sample


def _memory(case: Case, site: Site) -> dict[str, float]:
    pid = site.proxy or site.echo
    for tunnels in (100, case.tunnels):  # the first run only warms code and allocator up
        before = clocks.resident_bytes(pid)
        # Each carries one message, one tunnel after the other: all at once would take as many buffers as tunnels.
        options = {**site.options, "n": tunnels, "warm": 0, "seconds": 2, "interval": 2}
        load = open_load("sparse", options, folder=site.folder, cpus=site.load_cpus)
        load.measure()
        time.sleep(SETTLE_SECONDS)
        grown = clocks.resident_bytes(pid) - before
        closed = load.close()
        _wait_until_quiet(site)
    return {"kb_per_tunnel": grown / case.tunnels / 1000, "base_mb": before / 1e6, "lost": case.tunnels - closed}


def _wait_until_quiet(site: Site) -> None:
    """Until the sockets of the last tunnels are closed, so that no case pays for the one before it."""
    deadline = time.monotonic() + QUIET_SECONDS
    for pid in filter(None, (site.proxy, site.echo)):
        last = -1
        while time.monotonic() < deadline and (now := clocks.descriptors(pid)) != last:
            last = now
            time.sleep(0.05)
