"""Five hundred tunnels while everything around them breaks: those nobody harms lose nothing, and nothing is left behind.

What breaks is in `faults`, `upstreams` and `killing`, the tunnels that must not notice are in `steady`.
TRIOPROXY_SOAK_SECONDS is how long it goes on, TRIOPROXY_SOAK_SEED what its dice start from; both are printed.
"""

from __future__ import annotations

import os
import random
import socket
from collections import Counter

import attrs
import pytest
import trio
from soak.faults import FAULTS, Scene, deck
from soak.killing import Mortals, kill_in_turns, pause_in_turns
from soak.steady import SteadyTunnel, Tally, make_text
from soak.upstreams import misbehave
from support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, open_websocket
from support.peers import run_server
from support.proxy import Samples, run_proxy
from support.settings import settings
from support.upstream import scripted_upstream

from trioproxy.errors import Phase, Reason, Source

SECONDS = float(os.environ.get("TRIOPROXY_SOAK_SECONDS", "0"))
SEED = int(os.environ.get("TRIOPROXY_SOAK_SEED", "1"))
STEADY, MORTAL, HARMED = 400, 20, 80  # tunnels at once, by what happens to them
EACH_KIND = 10  # times at least
WARM_UP = 2  # times at least, before memory and series are looked at
FAULT_SECONDS = 60.0  # a guard, not a measurement

pytestmark = pytest.mark.skipif(not SECONDS, reason="a soak of TRIOPROXY_SOAK_SECONDS seconds; .ci/full runs one")
# What waits for the collector, which `trioproxy run` has look seldom: up to 100,000 objects. A leak of 1 KiB a tunnel is more.
ALLOWED_GROWTH = 10 * 1024 * 1024
CONNECTING_AT_ONCE = 64
OPCODES = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}

# Which series exist depends on what happened, but each label is of a closed set: these appear when first counted.
RARE = ("closes_total", "connect_failures_total", "endings_total", "frames_total", "handshakes_total", "requests_total")
RARE += ("retries_total", "injected_frames_total", "ping_rtt_seconds")
CODES = {"none", "empty", "other", "3xxx", "4xxx", *map(str, range(1000, 1015)), *map(str, range(100, 600))}


@attrs.define(eq=False)
class Soak:
    """Everything a run needs, and what it has counted so far."""

    proxy: object
    echoes: list
    mortal: list
    dice: random.Random
    text: bytes
    sent: Tally = attrs.Factory(Tally)
    received: Tally = attrs.Factory(Tally)
    steady: int = 0
    connections: Counter = attrs.Factory(Counter)
    fired: Counter = attrs.Factory(Counter)
    ended: Counter = attrs.Factory(Counter)

    def scene(self) -> Scene:
        return Scene(self.proxy.address, random.Random(self.dice.random()), self.connections)

    async def run(self, seconds: float, each_kind: int) -> None:
        """All at once, for so long and until each kind of fault fired that often; then everybody goes home."""
        over, mortals, before = trio.Event(), Mortals(self.scene, ended=self.ended), self.fired.copy()
        cards = deck(random.Random(self.dice.random()))
        async with trio.open_nursery() as nursery:
            await self._start_steady(nursery, over)
            for _ in range(MORTAL):
                nursery.start_soon(mortals.live, over)
            for _ in range(HARMED):
                nursery.start_soon(self._harm, cards, over)
            nursery.start_soon(kill_in_turns, self.mortal, mortals, self.fired, over)
            nursery.start_soon(pause_in_turns, self.echoes, random.Random(self.dice.random()), self.fired, over)
            await trio.sleep(seconds)
            kinds = {*FAULTS, "upstream_killed", "upstream_paused"}
            await self.proxy.wait_until(
                lambda _: min((self.fired - before)[kind] for kind in kinds) >= each_kind, "each kind fired"
            )
            over.set()

    async def _start_steady(self, nursery: trio.Nursery, over: trio.Event) -> None:
        """Opens them all; each talks as soon as it is open."""
        limit = trio.CapacityLimiter(CONNECTING_AT_ONCE)

        async def open_one(number: int) -> None:
            async with limit:
                end = await open_websocket(self.proxy.address, "/steady")
            self.connections["opened"] += 1
            tunnel = SteadyTunnel(number, random.Random(f"{SEED} {number}"), self.text, end, self.sent, self.received)
            nursery.start_soon(tunnel.talk, over)

        async with trio.open_nursery() as opening:
            for number in range(self.steady, self.steady + STEADY):
                opening.start_soon(open_one, number)
        self.steady += STEADY

    async def _harm(self, cards, over: trio.Event) -> None:
        while not over.is_set():
            kind = next(cards)
            try:
                with trio.fail_after(FAULT_SECONDS):
                    async with self.scene() as scene:
                        await FAULTS[kind](scene)
            except Exception as error:
                error.add_note(f"in the fault {kind}")
                raise
            self.fired[kind] += 1

    async def at_rest(self) -> Samples:
        """The first scrape when nobody is connected any more."""
        return await self.proxy.wait_until(
            lambda seen: not any(seen.total(name) for name in ("connections_active", "upstream_active")), "all gone"
        )


def tables(echoes, mortal, odd, nowhere):
    """One pool for each way of life; steady and harmed tunnels share their upstreams."""
    made = settings(
        [server.address for server in echoes],
        route={"name": "steady", "path": "/steady", "pool": "steady"},
        websocket={"ping_interval": 2, "ping_timeout": 60},
        timeouts={"close": 20, "handshake": 30},
    )
    pools = {
        "steady": [server.address for server in echoes],
        "echo": [server.address for server in echoes],
        "mortal": [server.address for server in mortal],
        "odd": [odd],
        "nowhere": [nowhere],
    }
    made["pools"] = {name: {"upstreams": upstreams, "health": {"probe": "none"}} for name, upstreams in pools.items()}
    limits = {
        "/large": {"max_message_bytes": 65536},
        "/many": {"max_message_rate": 50},
        "/aged": {"max_age": 1},
        "/pinged": {"ping_interval": 1, "ping_timeout": 2},
    }
    routes = {"/echo": "echo", "/mortal": "mortal", "/odd": "odd", "/asleep": "odd", "/nowhere": "nowhere"}
    routes |= {path: "odd" if path == "/pinged" else "echo" for path in limits}
    for path, pool in routes.items():
        route = {"name": path.strip("/"), "path": path, "pool": pool}
        if path in limits:
            route["websocket"] = limits[path]
        if path == "/asleep":
            route["timeouts"] = {"handshake": 1}
        made["routes"].append(route)
    return made


@pytest.fixture
async def soak(programs):
    print(f"TRIOPROXY_SOAK_SEED={SEED} TRIOPROXY_SOAK_SECONDS={SECONDS:g}")  # noqa: T201 - to have it again
    echoes = [await run_server(programs, "fast_echo.py", name) for name in ("a", "b")]
    mortal = [await run_server(programs, "fast_echo.py", name) for name in ("m", "n")]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        nowhere = f"127.0.0.1:{taken.getsockname()[1]}"
        async with scripted_upstream(misbehave) as odd:
            proxy = await run_proxy(programs, tables(echoes, mortal, odd.address, nowhere))
            dice = random.Random(SEED)
            yield Soak(proxy, echoes, mortal, dice, make_text(dice))


@pytest.mark.slow
async def test_unharmed_tunnels_lose_nothing_and_nothing_is_left_behind(soak):
    proxy = soak.proxy
    descriptors = proxy.program.descriptors
    await soak.run(SECONDS / 2, WARM_UP)
    before, memory = await soak.at_rest(), proxy.program.rss
    started = trio.current_time()
    await soak.run(SECONDS, EACH_KIND)
    after = await soak.at_rest()
    show(soak, trio.current_time() - started, proxy.program.rss - memory)
    check_counters(soak, after)
    check_series(before, after, soak)
    assert proxy.program.descriptors == descriptors
    assert proxy.program.rss - memory < ALLOWED_GROWTH
    check_log(proxy)
    await proxy.stop()


def show(soak, seconds, growth):
    """The figures a reader of the log wants."""
    for kind, count in sorted(soak.fired.items()):
        print(f"{kind:32} {count:6}")  # noqa: T201
    sent = soak.sent
    print(f"unharmed: {sent.messages} messages, {sent.payload >> 20} MiB each way, in {seconds:.0f} s")  # noqa: T201
    print(f"upstreams killed, as clients saw it: {dict(soak.ended)}; memory {growth >> 10:+} KiB")  # noqa: T201


def check_counters(soak, seen):
    """What clients and proxy counted of the unharmed tunnels is the same, and what began has ended."""
    for direction, tally in (("to_upstream", soak.sent), ("to_client", soak.received)):
        way = {"pool": "steady", "direction": direction}
        assert seen.total("bytes_total", **way) == tally.octets
        assert seen.total("messages_total", **way) == tally.messages
        assert seen.total("message_size_bytes_count", **way) == tally.messages
        assert seen.total("message_size_bytes_sum", **way) == tally.payload
        frames = {name: count for name, count in seen.by("opcode", "frames_total", **way).items() if count}
        assert frames == {OPCODES[opcode]: count for opcode, count in tally.frames.items()}
    assert seen.by("code", "closes_total", pool="steady", by="client")["1000"] == soak.steady
    for pool in ("steady", "echo", "mortal", "odd"):
        tunnels = seen.total("tunnels_total", pool=pool)
        assert tunnels == seen.total("closes_total", pool=pool)
        assert tunnels == seen.total("tunnel_duration_seconds_count", pool=pool)
        # Between the 101 and the tunnel a client may go; the tunnel that did not become is not counted as one.
        assert tunnels <= seen.total("handshakes_total", pool=pool, result="accepted")
        assert tunnels <= seen.total("requests_total", pool=pool, code="101")
    for name in ("tunnels_total", "handshakes_total", "requests_total"):
        assert seen.total(name, pool="steady") == soak.steady
    assert seen.total("connections_total", listener="public") == soak.connections["opened"]
    assert seen.total("tunnels_active") == seen.total("upstream_active") == seen.total("connections_active") == 0
    assert seen.total("connections_rejected_total") == seen.total("endings_total", reason="internal") == 0
    assert seen.total("log_lines_dropped_total") == seen.total("series_dropped_total") == 0


def check_series(before, after, soak):
    """No label is made of what peers say: later on only known values come together anew, and nothing else."""

    def series(seen):
        return {(name, *sorted(labels.items())) for name, labels, _ in seen.rows}

    known = CODES | {str(value) for enum in (Source, Phase, Reason) for value in enum}
    known |= {value for _, labels, _ in before.rows for value in labels.values()}
    new = series(after) - series(before)
    assert len(new) < len(series(before)) / 4
    for name, *labels in new:
        assert name.startswith(tuple(f"trioproxy_{rare}" for rare in RARE)), (name, labels)
        assert {value for _, value in labels} <= known, (name, labels)


def check_log(proxy):
    events = Counter(entry["event"] for entry in proxy.log)
    assert not events["internal_error"] and not events["not json"], events
    assert events["tunnel_open"] == events["tunnel_end"]
