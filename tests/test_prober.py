"""Probes on a timer, against peers in the same Trio run.

Peers listen on Unix sockets where the mock clock runs: what is written there has arrived when the write returns.
"""

from __future__ import annotations

import os
import random
import resource
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from support.certificates import authority
from support.probing import answers, echo_pongs, read_head, switching_protocols, upgrades
from support.scripted import listen
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import HealthConfig, PoolConfig, UpstreamConfig
from trioproxy.health import UpstreamState
from trioproxy.logs import Log
from trioproxy.metrics import Metrics
from trioproxy.prober import JITTER, run_prober
from trioproxy.tls.identity import Identity
from trioproxy.upstreams import Pool, Upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

UP, DOWN, UNKNOWN = UpstreamState.UP, UpstreamState.DOWN, UpstreamState.UNKNOWN
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
OOPS = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
SLACK = 1e-6  # the mock clock adds floats


@attrs.define(eq=False)
class Peer:
    """A scripted upstream; `script` may be changed while it runs."""

    address: str
    script: Callable[[trio.abc.Stream], Awaitable[None]]
    times: list[float] = attrs.field(factory=list)  # of its connections
    open: int = 0
    most_open: int = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.times.append(trio.current_time())
        self.open += 1
        self.most_open = max(self.open, self.most_open)
        try:
            async with trio.open_nursery() as nursery:

                async def play() -> None:
                    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                        await self.script(stream)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(play)
        finally:
            self.open -= 1
            await trio.aclose_forcefully(stream)


async def hold(stream: trio.abc.Stream) -> None:
    """Say nothing, and end when the prober does."""
    while await stream.receive_some():
        pass


async def hang_up(stream: trio.abc.Stream) -> None:
    await stream.aclose()


@asynccontextmanager
async def unix_peer(tmp_path: Any, script: Any, name: str = "peer") -> AsyncIterator[Peer]:
    path = str(tmp_path / name)
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(path)
    sock.listen()
    peer = Peer(f"unix:{path}", script)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, peer.serve, [trio.SocketListener(sock)])
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tcp_peer(script: Any) -> AsyncIterator[Peer]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    peer = Peer(f"127.0.0.1:{listener.socket.getsockname()[1]}", script)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, peer.serve, [listener])
        yield peer
        nursery.cancel_scope.cancel()


@attrs.define(eq=False)
class Probing:
    """A prober over one pool, started."""

    pool: Pool
    metrics: Metrics = attrs.field(factory=Metrics)
    log: Any = attrs.field(factory=Log.memory)

    @property
    def upstream(self) -> Upstream:
        return self.pool.upstreams[0]

    @property
    def states(self) -> list[UpstreamState]:
        return [upstream.state for upstream in self.pool.upstreams]

    def events(self, *names: str) -> list[str]:
        return [event["event"] for event in self.log.events if event["event"] in names]

    def probes(self, result: str) -> float:
        return self.metrics.value(m.PROBES, (*self.upstream.labels, result))


@asynccontextmanager
async def probing(
    *addresses: str, rng: random.Random | None = None, identity: Identity | None = None, **health: Any
) -> AsyncIterator[Probing]:
    """Starts a prober; the block begins when its first round is over."""
    upstreams = tuple(UpstreamConfig(address=address) for address in addresses)
    made = Probing(Pool(PoolConfig(name="backend", upstreams=upstreams, health=HealthConfig(**health))))
    for upstream in made.pool.upstreams:
        upstream.identity = identity

    async def run(task_status: trio.TaskStatus[None]) -> None:
        await run_prober([made.pool], metrics=made.metrics, log=made.log, rng=rng, task_status=task_status)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield made
        nursery.cancel_scope.cancel()


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# The start


async def test_the_first_round_is_over_when_the_prober_has_started(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, echo_pongs) as peer, probing(peer.address, probe="websocket") as prober:
        assert prober.states == [UP]
        assert prober.probes("ok") == 1
        assert prober.upstream.last_probe is not None
        assert prober.upstream.last_probe.result == "ok"
        assert prober.metrics.value(m.PROBE_DURATION, prober.upstream.labels) == 1


async def test_the_first_round_goes_to_all_at_once(autojump_clock, tmp_path):
    start = trio.current_time()
    async with (
        unix_peer(tmp_path, hold, "a") as a,
        unix_peer(tmp_path, hold, "b") as b,
        unix_peer(tmp_path, answers(OK), "c") as c,
        probing(a.address, b.address, c.address, probe="http", timeout=1) as prober,
    ):
        assert prober.states == [DOWN, DOWN, UP]
        assert trio.current_time() - start == pytest.approx(1)


async def test_without_a_probe_an_upstream_is_up_at_once_and_never_visited(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, hold) as peer, probing(peer.address, probe="none") as prober:
        assert prober.states == [UP]
        await trio.sleep(100)
        assert peer.times == []
        assert prober.events("upstream_up") == ["upstream_up"]


async def test_no_upstreams_are_started_at_once(autojump_clock):
    async with probing() as prober:
        assert prober.states == []


async def test_all_results_can_be_seen_before_they_happen(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, hold) as peer, probing(peer.address) as prober:
        text = {labels for _, labels in prober.metrics._columns}
        assert (*prober.upstream.labels, "timeout") in text


# The timer


async def test_intervals_run_start_to_start_shortened_by_up_to_a_tenth(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, hold) as peer:
        async with probing(peer.address, probe="http", interval=2, timeout=1, rng=random.Random(7)):
            await trio.sleep(40)
        gaps = [after - before for before, after in zip(peer.times, peer.times[1:], strict=False)]
    assert len(gaps) >= 20
    assert all(2 * (1 - JITTER) - SLACK <= gap <= 2 + SLACK for gap in gaps)
    assert len(set(gaps)) > 10


async def test_a_probe_ends_before_the_next_begins(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, hold) as peer:
        async with probing(peer.address, probe="http", interval=1, timeout=1) as prober:
            await trio.sleep(20)
        assert prober.probes("timeout") >= 20
        assert peer.most_open == 1


async def test_an_upstream_is_down_within_interval_times_fall_plus_timeout(autojump_clock, tmp_path):
    async with (
        unix_peer(tmp_path, answers(OK)) as peer,
        probing(peer.address, probe="http", interval=2, timeout=1, fall=3) as prober,
    ):
        await trio.sleep(11)
        peer.script = hold
        start = trio.current_time()
        while prober.states == [UP]:
            await trio.sleep(0.01)
        assert trio.current_time() - start <= 2 * 3 + 1 + 0.01


async def test_a_returning_upstream_is_up_after_rise_successes(autojump_clock, tmp_path):
    async with (
        unix_peer(tmp_path, answers(OOPS)) as peer,
        probing(peer.address, probe="http", interval=2, rise=2) as prober,
    ):
        assert prober.states == [DOWN]
        peer.script = answers(OK)
        await trio.sleep(2)
        assert prober.states == [DOWN]
        await trio.sleep(2)
        assert prober.states == [UP]


# What is told


async def test_each_change_is_told_once_with_its_reason(autojump_clock, tmp_path):
    async with (
        unix_peer(tmp_path, answers(OK)) as peer,
        probing(peer.address, probe="http", fall=2, rise=2) as prober,
    ):
        for script in (answers(OOPS), answers(OK)):
            peer.script = script
            await trio.sleep(20)
        assert prober.events("upstream_up", "upstream_down") == ["upstream_up", "upstream_down", "upstream_up"]
        down = next(event for event in prober.log.events if event["event"] == "upstream_down")
        assert (down["pool"], down["upstream"]) == prober.upstream.labels
        assert down["reason"] == "status: answered 500"
        assert prober.metrics.news == 3, "a scrape may not miss a change"


async def test_failures_of_an_upstream_that_is_down_already_are_no_news(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, hang_up) as peer, probing(peer.address, probe="http") as prober:
        await trio.sleep(20)
        levels = [event["level"] for event in prober.log.events if event["event"] == "probe_failed"]
        assert levels[0] == "warning"
        assert set(levels[1:]) == {"debug"}


# Verdicts


@pytest.mark.parametrize(
    ("probe", "script", "result"),
    [
        ("http", hold, "timeout"),
        ("http", hang_up, "closed"),
        ("http", answers(OOPS), "status"),
        ("http", answers(b"SSH-2.0-OpenSSH_9\r\n"), "invalid"),
        ("http", answers(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000), "invalid"),
        ("websocket", hold, "timeout"),
        ("websocket", hang_up, "closed"),
        ("websocket", answers(OK), "status"),
        ("websocket", answers(b"SSH-2.0-OpenSSH_9\r\n\r\n"), "invalid"),
        ("websocket", answers(b"HTTP/1.1 101 x\r\nX: " + b"x" * 200_000), "invalid"),
        (
            "websocket",
            answers(b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"),
            "invalid",
        ),
        ("websocket", upgrades(b""), "timeout"),
        ("websocket", upgrades(b"\xff\xff\xff\xff"), "invalid"),
        ("websocket", upgrades(b"\x88\x02\x03\xe9"), "closed"),
    ],
)
async def test_a_hostile_upstream_fails_its_probe_and_ends_nothing_else(
    autojump_clock, tmp_path, probe, script, result
):
    good = echo_pongs if probe == "websocket" else answers(OK)
    async with (
        unix_peer(tmp_path, script, "bad") as bad,
        unix_peer(tmp_path, good, "good") as other,
        probing(bad.address, other.address, probe=probe) as prober,
    ):
        assert prober.states == [DOWN, UP]
        await trio.sleep(10)
        assert prober.states == [DOWN, UP]
        assert prober.upstream.last_probe is not None
        assert prober.upstream.last_probe.result in {result, "reset"}
        assert prober.upstream.last_probe.detail
        assert not any("exception" in event for event in prober.log.events)


async def test_a_refused_connect_is_told_and_asks_for_the_name_to_be_resolved():
    async with tcp_peer(hold) as peer:
        address = peer.address
    async with probing(address, probe="tcp") as prober:
        assert prober.states == [DOWN]
        assert prober.probes("refused") == 1
        assert prober.upstream.resolve_wanted.is_set()


async def test_a_name_without_address_is_unreachable(autojump_clock):
    async with probing("chat.internal:3000", probe="tcp") as prober:
        assert prober.states == [DOWN]
        assert prober.probes("unreachable") == 1


async def test_a_probe_may_go_to_another_port_with_another_host():
    hosts = []

    async def script(stream: trio.abc.Stream) -> None:
        hosts.append(await stream.receive_some())
        await stream.send_all(OK)

    async with tcp_peer(script) as health, tcp_peer(hang_up) as service:
        port = int(health.address.rpartition(":")[2])
        async with probing(service.address, probe="http", port=port, host="chat.example") as prober:
            assert prober.states == [UP]
        assert service.times == []
        assert b"\r\nHost: chat.example\r\n" in hosts[0]


async def test_a_unix_upstream_is_asked_for_as_localhost_whatever_the_port(autojump_clock, tmp_path):
    hosts = []

    async def script(stream: trio.abc.Stream) -> None:
        hosts.append(await stream.receive_some())
        await stream.send_all(OK)

    async with unix_peer(tmp_path, script) as peer, probing(peer.address, probe="http", port=8081) as prober:
        assert prober.states == [UP]
        assert b"\r\nHost: localhost\r\n" in hosts[0]


async def test_when_this_machine_cannot_probe_nothing_is_held_against_the_upstream(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, answers(OK)) as peer, probing(peer.address, probe="http", fall=1) as prober:
        with no_descriptor_left():
            await trio.sleep(10)
        assert prober.probes("skipped") >= 4
        assert prober.states == [UP]


async def test_a_bug_in_a_probe_is_logged_with_its_traceback_and_fails_the_probe_alone(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, hold) as peer, probing(peer.address, probe="no such probe") as prober:
        await trio.sleep(5)
        assert prober.states == [DOWN]
        assert prober.probes("error") >= 2
        bug = next(event for event in prober.log.events if event["event"] == "probe_error")
        assert "KeyError" in bug["exception"]


async def test_cancelling_the_prober_ends_a_probe_under_way(autojump_clock, tmp_path):
    ended = []

    async def script(stream: trio.abc.Stream) -> None:
        await stream.send_all(switching_protocols(await read_head(stream)))
        await hold(stream)
        ended.append(trio.current_time())

    async with unix_peer(tmp_path, script) as peer:
        async with probing(peer.address, probe="websocket", interval=2, timeout=1):
            await trio.sleep(1.5)
            cancelled = trio.current_time()
        await wait_all_tasks_blocked()
        assert len(peer.times) == 2
        assert ended[1] == cancelled


# Upstreams that come and go


async def test_an_upstream_is_watched_from_when_it_is_told_of_until_it_is_forgotten(autojump_clock, tmp_path):
    async with unix_peer(tmp_path, echo_pongs) as peer, trio.open_nursery() as nursery:
        metrics = Metrics()
        prober = await nursery.start(
            lambda task_status: run_prober([], metrics=metrics, log=Log.null(), task_status=task_status)
        )
        (upstream,) = Pool(PoolConfig(name="backend", upstreams=(UpstreamConfig(address=peer.address),))).upstreams
        watch = prober.watch(upstream, HealthConfig(probe="tcp", interval=10))
        await watch.probed.wait()
        assert upstream.health.state is UP
        prober.watch(upstream, HealthConfig(probe="tcp", interval=1000))  # in place of the first
        await trio.sleep(500)
        assert metrics.total(m.PROBES) == 2
        prober.forget(upstream)
        prober.forget(upstream)
        await trio.sleep(5000)
        assert metrics.total(m.PROBES) == 2
        nursery.cancel_scope.cancel()


async def test_a_down_upstream_that_is_not_probed_any_more_is_taken_for_up(autojump_clock):
    async with trio.open_nursery() as nursery:
        prober = await nursery.start(
            lambda task_status: run_prober([], metrics=Metrics(), log=Log.null(), task_status=task_status)
        )
        (upstream,) = Pool(PoolConfig(name="backend", upstreams=(UpstreamConfig(address="unix:/x"),))).upstreams
        upstream.observe(ok=False)
        await prober.watch(upstream, HealthConfig(probe="none")).probed.wait()
        assert upstream.health.state is UP
        nursery.cancel_scope.cancel()


# With TLS


@asynccontextmanager
async def tls_peer(context: Any, script: Any) -> AsyncIterator[str]:
    peer = listen("", 0, tcp=True, tls=context)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve, lambda http: script(http.stream))
        yield peer.address
        nursery.cancel_scope.cancel()
    peer.close()


@pytest.mark.parametrize(("probe", "script"), [("tcp", hold), ("http", answers(OK)), ("websocket", echo_pongs)])
async def test_an_upstream_with_tls_is_probed_over_tls(tmp_path, probe, script):
    trusted = authority(tmp_path)
    async with tls_peer(trusted.server("localhost"), script) as address:
        identity = Identity("localhost", trusted.client())
        async with probing(address, identity=identity, probe=probe, timeout=30, interval=60) as made:
            assert made.states == [UP], made.log.events


@pytest.mark.parametrize("probe", ["tcp", "http", "websocket"])
async def test_an_upstream_whose_certificate_is_not_accepted_goes_down_with_the_reason(tmp_path, probe):
    trusted = authority(tmp_path)
    async with tls_peer(trusted.server("localhost", expired=True), hold) as address:
        identity = Identity("localhost", trusted.client())
        async with probing(address, identity=identity, probe=probe, timeout=30, interval=60) as made:
            assert made.states == [DOWN]
            assert made.probes("tls") == 1
            assert made.upstream.last_probe.result == "tls"
            assert "certificate has expired" in made.upstream.last_probe.detail
            assert made.upstream.resolve_wanted.is_set()
            (down,) = [event for event in made.log.events if event["event"] == "upstream_down"]
            assert "tls: " in down["reason"] and "certificate has expired" in down["reason"]


@pytest.mark.parametrize("probe", ["http", "websocket"])
async def test_an_upstream_that_wants_a_certificate_of_ours_goes_down_with_the_reason(tmp_path, probe):
    trusted = authority(tmp_path)
    async with tls_peer(trusted.server("localhost", client_ca=trusted.file), hold) as address:
        identity = Identity("localhost", trusted.client())
        async with probing(address, identity=identity, probe=probe, timeout=30, interval=60) as made:
            assert made.states == [DOWN]
            assert made.upstream.last_probe.result == "tls", made.upstream.last_probe
            assert "certificate required" in made.upstream.last_probe.detail
