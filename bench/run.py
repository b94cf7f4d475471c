"""Alternating rounds: every case visits every peer once a round, so that a noisy minute hits all alike.

What a case measures is `cases`; medians and output are `results`, `table` and `picture`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import attrs

from bench import certificates, peers, scrape
from bench.cases import Site, measure
from bench.load import start_echo
from bench.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.cases import Case
    from bench.certificates import Files
    from bench.peers import Peer, Running
    from bench.processes import Process
    from bench.results import Results

DIRECT = "direct"  # the row without a proxy: what load client and echo server cost, and the most they can carry


def fits(case: Case, peer: Peer) -> bool:
    """Whether the case is measured with that proxy."""
    if case.upstreams:
        return peer.name == "trioproxy"
    if case.workers:
        return peer.name.startswith("trioproxy")
    return peer.workers == 1 and (peer.http or case.mode != "http") and (peer.tls or not case.tls)


@attrs.define(eq=False, kw_only=True)
class Bench:
    """The processes of one run, "with" or "without" access log.

    `peers` are started when first needed and again when one has died.
    """

    folder: Path
    peers: Sequence[Peer]
    proxy_cpus: set[int] | None
    load_cpus: set[int] | None
    access_log: str
    say: Callable[[str, str], None]
    _echo: tuple[Process, int] | None = None
    _running: dict[tuple[str, bool], Running] = attrs.field(factory=dict)  # by name and whether with TLS

    def run(self, cases: Sequence[Case], rounds: int, results: Results) -> None:
        for case in cases:
            # Nothing in front of the echo server is no TLS, either.
            rows = [
                *[DIRECT] * (not case.upstreams and not case.tls),
                *(peer.name for peer in self.peers if fits(case, peer)),
            ]
            for turn in range(rounds):
                first = turn % len(rows)  # nobody is always first
                for name in rows[first:] + rows[:first]:
                    self.say(case.title, f": round {turn + 1} of {rounds}, {name}")
                    try:
                        results.add(case.name, name, self._sample(case, name))
                    except ProcessError as error:
                        results.fail(case.name, name, str(error))

    def _sample(self, case: Case, name: str) -> dict[str, float]:
        if case.upstreams:
            return scrape.measure(case, folder=self.folder, proxy_cpus=self.proxy_cpus, load_cpus=self.load_cpus)
        echo, port = self._echo or self._start_echo()
        echo.check()
        if name == DIRECT:
            return measure(case, self._site(port, 0, echo, None))
        peer = next(peer for peer in self.peers if peer.name == name)
        files = certificates.make(self.folder) if case.tls else None
        if case.fresh:
            with self._started(peer, port, files) as running:
                return measure(case, self._site(running.port, running.process.pid, echo, files))
        running = self._ensure(peer, port, files)
        sample = measure(case, self._site(running.port, running.process.pid, echo, files))
        running.process.check()
        return sample

    def _site(self, port: int, proxy: int, echo: Process, files: Files | None) -> Site:
        authority = str(files.authority) if files else ""
        return Site(
            port=port, proxy=proxy, echo=echo.pid, folder=self.folder, load_cpus=self.load_cpus, authority=authority
        )

    def _start_echo(self) -> tuple[Process, int]:
        self._echo = start_echo(self.folder, self.load_cpus)
        return self._echo

    def _start(self, peer: Peer, upstream: int, files: Files | None) -> Running:
        return peers.start(
            peer,
            upstream=upstream,
            folder=self.folder,
            cpus=self.proxy_cpus,
            access_log=self.access_log,
            files=files,
        )

    @contextmanager
    def _started(self, peer: Peer, upstream: int, files: Files | None) -> Iterator[Running]:
        running = self._start(peer, upstream, files)
        try:
            yield running
        finally:
            running.process.stop()

    def _ensure(self, peer: Peer, upstream: int, files: Files | None) -> Running:
        key = peer.name, files is not None
        running = self._running.get(key)
        if running is None or running.process.popen.poll() is not None:
            running = self._running[key] = self._start(peer, upstream, files)
        return running

    def stop(self) -> None:
        """End every process, whatever happens to one of them."""
        with ExitStack() as stack:
            if self._echo:
                stack.callback(self._echo[0].stop)
            for running in self._running.values():
                stack.callback(running.process.stop)
