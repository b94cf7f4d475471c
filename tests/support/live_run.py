"""Two real proxies under a known load, one with one worker and one with two, scraped by a real Prometheus.

What comes of it is a `Run`: moments at which all stood still, and what the clients counted between them. The proxies are
gone by then, Prometheus answers for as long as the block lasts.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import trio
from support.known_load import known_proxy
from support.known_rounds import play
from support.ledger import Ledger
from support.processes import open_programs
from support.prometheus import configuration, milliseconds, running_prometheus
from support.rules import write_shortened
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.known_load import KnownProxy
    from support.processes import Programs
    from support.prometheus import Prometheus

    Started = trio.TaskStatus[None]

# When which alerts fire: what they are about is brought about then.
FIRING = {
    "troubled": (
        "TrioproxyConnectionsRejected",
        "TrioproxyNearConnectionLimit",
        "TrioproxyPoolWithoutUpstream",
        "TrioproxyReloadFailed",
        "TrioproxyUpstreamDown",
        "TrioproxyUpstreamDrainingLong",
    ),
    "killed": ("TrioproxyWorkerRestarted",),
    "leaving": ("TrioproxyDrainingLong",),
    "gone": ("TrioproxyDown", "TrioproxyAbsent"),
}
# How old figures of a scrape may be: answers are kept for half a second, workers publish once a second.
STALE_SECONDS = 0.5 + 1.2
SCRAPE_SECONDS = 0.7  # so that no scrape gets the answer of the one before


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

    one: Measured = attrs.Factory(Measured)
    two: Measured = attrs.Factory(Measured)
    again: Measured = attrs.Factory(Measured)
    ended: float = 0.0  # when all was over
    exposition: bytes = b""  # of a proxy under load, as text
    metadata: dict[str, Any] = attrs.Factory(dict)  # metric → what Prometheus knows of it
    _prometheus: Prometheus | None = None
    _watched: trio.Event = attrs.Factory(trio.Event)

    @property
    def prometheus(self) -> Prometheus:
        assert self._prometheus is not None
        return self._prometheus

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

    async def alerting(self, moment: str, instance: str = "") -> None:
        """Until all alerts fire that should at this moment; of this proxy, where they say of which.

        Whoever is waited for in vain is the tests' business: all else can be looked at all the same.
        """
        wanted = set(FIRING[moment])
        firing = (
            f'ALERTS{{alertstate="firing", instance=~"{instance}|"}}' if instance else 'ALERTS{alertstate="firing"}'
        )

        async def look() -> bool:
            found = await trio.to_thread.run_sync(self.prometheus.query, firing)
            return wanted <= {series.labels["alertname"] for series in found}

        with suppress(AssertionError):
            await wait_until(look, f"{sorted(wanted)} of {instance or 'all'}", seconds=20)


@contextmanager
def live_run(folder: Path) -> Iterator[Run]:
    """The proxies come and go; Prometheus answers until the end of the block."""
    run = Run()
    with ExitStack() as stack:
        trio.run(_everything, run, folder, stack)
        yield run


async def _everything(run: Run, folder: Path, stack: ExitStack) -> None:
    async with open_programs(folder) as programs, trio.open_nursery() as nursery:
        async with trio.open_nursery() as starting:
            starting.start_soon(nursery.start, _with_one_worker, run, programs)
            starting.start_soon(nursery.start, _with_two_workers, run, programs)
        shortened = write_shortened(folder, patience=f"{milliseconds(SCRAPE_SECONDS)}ms", offset="3s")
        settings = configuration([run.one.instance, run.two.instance], interval=SCRAPE_SECONDS, rule_files=shortened)
        run.watched(await trio.to_thread.run_sync(stack.enter_context, running_prometheus(folder, settings)))
    await run.alerting("gone")
    run.ended = time.time()


async def _with_one_worker(run: Run, programs: Programs, *, task_status: Started) -> None:
    async with known_proxy(programs) as known:
        run.one.known, run.one.instance = known, known.process.admin
        task_status.started()
        await _measured_round(run, known, run.one)
        run.exposition = await known.process.ask_admin("/metrics")
        run.metadata = await trio.to_thread.run_sync(run.prometheus.ask, "metadata")
        await _leave(run, known)


async def _with_two_workers(run: Run, programs: Programs, *, task_status: Started) -> None:
    async with known_proxy(programs, workers=2) as known:
        for measured in (run.two, run.again):
            measured.known, measured.instance = known, known.process.admin
        task_status.started()
        await _measured_round(run, known, run.two)
        run.again.before = run.two.after
        await _kill_a_worker(run, known)
        run.again.after = await _state(run, known)
        run.again.ledger = known.ledger.take()
        await _leave(run, known)


async def _measured_round(run: Run, known: KnownProxy, measured: Measured) -> None:
    await play(known, messages=2, held=3)
    measured.before = await _state(run, known)
    known.ledger.take()
    await play(known, messages=20, held=5, at=partial(run.alerting, instance=measured.instance))
    measured.after = await _state(run, known)
    measured.ledger = known.ledger.take()


async def _kill_a_worker(run: Run, known: KnownProxy) -> None:
    """Once all that its clients said is published; those of the other go on, and new ones come."""
    async with trio.open_nursery() as nursery:
        talkers = [await known.site.open("/quiet", nursery) for _ in range(12)]
        for talker in talkers:
            await talker.converse(2, 0)
        await run.scraped(known.process.admin, time.time() + STALE_SECONDS)
        os.kill((await known.pids())["0"], signal.SIGKILL)
        await known.process.logged("worker_ended", reason="killed")
        await run.alerting("killed", instance=known.process.admin)
        for talker in talkers + known.held:
            if talker.over.is_set():
                talker.lost()
            else:
                await talker.converse(2, 0)
                await talker.leave()
        for _ in range(10):
            await known.site.ask("/web/5")
        known.held = []


async def _leave(run: Run, known: KnownProxy) -> None:
    """SIGTERM, and clients that take their time."""
    for talker in known.held:
        talker.ready = trio.Event()
    last = await known.site.open("/quiet", known.nursery)
    last.ready = trio.Event()
    known.process.terminate()
    await last.asked.wait()
    await run.alerting("leaving", instance=known.process.admin)
    for talker in (*known.held, last):
        assert talker.ready is not None
        talker.ready.set()
    assert await known.process.program.wait() == 0


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
        probes={(server.pool, server.address): tuple(server.probes) for server in (known.alpha, known.beta)},
        down_seconds=known.down_seconds,
        exhausted=known.exhausted,
        reloaded=known.reloaded,
    )
