"""Two real proxies under a known load, one with one worker and one with two, scraped by a real Prometheus.

What comes of it is a `Run`: moments at which all stood still, and what the clients counted between them. The proxies are
gone by then, Prometheus answers for as long as the block lasts.
"""

from __future__ import annotations

import os
import resource
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio
from support.known_load import known_proxy
from support.known_rounds import play, release
from support.ledger import Ledger
from support.processes import open_programs
from support.prometheus import configuration, running_prometheus
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.known_load import KnownProxy
    from support.prometheus import Prometheus

JOB = "trioproxy"
# How old figures of a scrape may be: answers are kept for half a second, workers publish once a second.
STALE_SECONDS = 0.5 + 1.2
SCRAPE_SECONDS = 0.7  # so that no scrape gets the answer of the one before
WARM_MESSAGES, MESSAGES = 2, 20


@attrs.frozen
class Processes:
    """What the system says of a proxy's processes at one moment, by worker: CPU seconds, bytes, open descriptors."""

    cpu: dict[str, float]
    memory: dict[str, float]
    descriptors: dict[str, float]

    @classmethod
    def of(cls, pids: dict[str, int]) -> Processes:
        return cls(
            {worker: _cpu(pid) for worker, pid in pids.items()},
            {worker: _memory(pid) for worker, pid in pids.items()},
            {worker: len(list(Path(f"/proc/{pid}/fd").iterdir())) for worker, pid in pids.items()},
        )


def _cpu(pid: int) -> float:
    """User and system; the fields behind the name, which is in parentheses."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    return float(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize())


@attrs.frozen
class State:
    """What stood still at a moment in Unix time, which is a scrape; `early` and `late` are read before and behind it."""

    moment: float
    early: Processes
    late: Processes
    tunnels: tuple[tuple[str, str, str], ...]  # route, pool and upstream of each that is open
    probes: dict[tuple[str, str], tuple[float, ...]]  # pool and upstream → when it answered one, so far
    down_seconds: float
    exhausted: float
    reloaded: float


@attrs.define(eq=False)
class Measured:
    """One proxy, as Prometheus calls it: its state at two moments, and what was counted between them."""

    instance: str = ""
    known: KnownProxy | None = None
    before: State | None = None
    after: State | None = None
    ledger: Ledger = attrs.Factory(Ledger)

    @property
    def start(self) -> float:
        assert self.before is not None
        return self.before.moment

    @property
    def end(self) -> float:
        assert self.after is not None
        return self.after.moment

    @property
    def seconds(self) -> float:
        return self.end - self.start


@attrs.define(eq=False)
class Run:
    """The whole of it; `again` is what happened to `two` when a worker was killed."""

    folder: Path
    rule_files: Sequence[str]
    one: Measured = attrs.Factory(Measured)
    two: Measured = attrs.Factory(Measured)
    again: Measured = attrs.Factory(Measured)
    _prometheus: Prometheus | None = None
    _watched: trio.Event = attrs.Factory(trio.Event)

    @property
    def prometheus(self) -> Prometheus:
        assert self._prometheus is not None
        return self._prometheus

    @property
    def watching(self) -> bool:
        return self._watched.is_set()

    def watched(self, prometheus: Prometheus) -> None:
        """From here on it scrapes."""
        self._prometheus = prometheus
        self._watched.set()

    async def scraped(self, instance: str, since: float) -> float:
        """The moment of the first scrape of a proxy that is no older than `since`."""
        await self._watched.wait()

        async def look() -> float | None:
            last = await trio.to_thread.run_sync(self.prometheus.scraped, instance)
            return last if last >= since else None

        return await wait_until(look, f"a scrape of {instance}")


@contextmanager
def live_run(folder: Path, rule_files: Sequence[str] = ()) -> Iterator[Run]:
    """The proxies come and go; Prometheus answers until the end of the block."""
    run = Run(folder, rule_files)
    with ExitStack() as stack:
        trio.run(_everything, run, stack)
        yield run


async def _everything(run: Run, stack: ExitStack) -> None:
    async with (
        open_programs(run.folder) as programs,
        known_proxy(programs) as one,
        known_proxy(programs, workers=2) as two,
        trio.open_nursery() as nursery,
    ):
        for measured, known in ((run.one, one), (run.two, two), (run.again, two)):
            measured.known, measured.instance = known, known.process.admin
        nursery.start_soon(_with_one_worker, run, one)
        nursery.start_soon(_with_two_workers, run, two)
        targets = {JOB: [one.process.admin, two.process.admin]}
        settings = configuration(targets, interval=SCRAPE_SECONDS, rule_files=run.rule_files)
        run.watched(await trio.to_thread.run_sync(stack.enter_context, running_prometheus(run.folder, settings)))


async def _with_one_worker(run: Run, known: KnownProxy) -> None:
    await _measured_round(run, known, run.one)
    await release(known)
    await known.process.stop()


async def _with_two_workers(run: Run, known: KnownProxy) -> None:
    await _measured_round(run, known, run.two)
    await release(known)
    await known.process.stop()


async def _measured_round(run: Run, known: KnownProxy, measured: Measured) -> None:
    while_down = partial(_seen, run, known)
    await play(known, messages=WARM_MESSAGES, while_down=while_down)
    measured.before = await _state(run, known)
    known.ledger.take()
    await play(known, messages=MESSAGES, while_down=while_down)
    measured.after = await _state(run, known)
    measured.ledger = known.ledger.take()


async def _seen(run: Run, known: KnownProxy) -> None:
    """Until Prometheus knows how things are now, if it watches already."""
    if run.watching:
        await run.scraped(known.process.admin, time.time())


async def _state(run: Run, known: KnownProxy) -> State:
    """The proxy at rest, as all that has happened so far left it."""
    rested = await known.rest(len(known.held))
    pids = await known.pids()
    early = Processes.of(pids)
    moment = await run.scraped(known.process.admin, rested + STALE_SECONDS)
    return State(
        moment=moment,
        early=early,
        late=Processes.of(pids),
        tunnels=tuple((talker.route, talker.pool, talker.upstream) for talker in known.held),
        probes={(server.pool, server.address): tuple(server.probes) for server in (known.alpha, known.beta, known.web)},
        down_seconds=known.down_seconds,
        exhausted=known.exhausted,
        reloaded=known.reloaded,
    )
