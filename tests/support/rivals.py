"""Other proxies under the tests of chaos: skipped where they are not installed, in front of an echo server, in a run."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio_websocket import open_websocket_url

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.hop import Hop
from trioproxy.chaos.peers.kinds import KINDS
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.runner import run
from trioproxy.chaos.scenario import LoadConfig, ProxyConfig, Scenario, UpstreamsConfig
from trioproxy.chaos.servers import Server
from trioproxy.chaos.trail import UPSTREAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from trioproxy.chaos.peers.program import Program
    from trioproxy.chaos.proxies import UnderTest
    from trioproxy.chaos.records import Outcome

# Everything that a peer may have a word for.
RICH: Mapping[str, Any] = {
    "server": {"workers": 2, "via": "", "drain": {"spread": 2.5, "timeout": 7.5}},
    "limits": {"max_connections": 500},
    "timeouts": {"head": 3, "connect": 0.5, "handshake": 2.5, "tunnel_idle": 600, "keep_alive": 30, "close": 1},
    "websocket": {"ping_interval": 0.5, "ping_timeout": 1},
    "pools": {
        "backend": {
            "balance": "least-connections",
            "attempts": 3,
            "retry_on": ["connect", "closed", "5xx"],
            "slow_start": 2,
            "health": {"probe": "http", "path": "/up", "headers": {"X-Probe": "yes"}, "interval": 1.5, "timeout": 0.5},
            "passive": {"max_failures": 3, "eject": 4},
        }
    },
}
BARE: Mapping[str, Any] = {
    "server": {"drain": {"spread": 0}},
    "pools": {"backend": {"attempts": 1, "retry_on": [], "health": {"probe": "none"}}},
}
TCP: Mapping[str, Any] = {"pools": {"backend": {"health": {"probe": "tcp"}}}}
SETTINGS = {"usual": {}, "rich": RICH, "bare": BARE, "tcp": TCP}
UPSTREAMS = ("127.0.0.1:3001", "127.0.0.1:3002")


def needs(program: Program) -> str:
    """Where it is; the test is skipped where it is not."""
    try:
        return program.path
    except ProxyError as error:
        pytest.skip(f"needs {program.name} ({error})")


@asynccontextmanager
async def in_front(name: str, settings: Mapping[str, Any], folder: Path) -> AsyncIterator[UnderTest]:
    """A proxy of this kind in front of two hops to one echo server, started; all ends with the block."""
    server = Server(0)
    proxy = KINDS[name].make(folder, settings)
    try:
        await server.start()
        async with trio.open_nursery() as nursery:
            hops = [Hop(number, server.target) for number in range(2)]
            for hop in hops:
                await nursery.start(hop.run)
            await proxy.start([hop.address for hop in hops])
            yield proxy
            nursery.cancel_scope.cancel()
    finally:
        proxy.close()
        server.close()


async def upstreams_of(proxy: UnderTest, count: int = 4) -> set[int]:
    """The upstreams that so many tunnels, one after the other, lead to; each says hello."""
    found = set()
    with trio.fail_after(20):
        for _ in range(count):
            async with open_websocket_url("ws://{}:{}/".format(*proxy.address)) as websocket:
                await websocket.send_message("hello")
                assert await websocket.get_message() == "hello"
                fields = {name.lower(): value for name, value in websocket.handshake_headers}
                found.add(int(fields[UPSTREAM.lower().encode()]))
    return found


async def leads_to(proxy: UnderTest, *wanted: int) -> int:
    """Returns when tunnels lead to these upstreams and no others, as a proxy's probes may find out a moment later.

    How many were opened for it.
    """
    opened = 0
    with trio.fail_after(60):
        while True:
            opened += 4
            if await upstreams_of(proxy) == set(wanted):
                return opened


async def rough_times(name: str, folder: Path) -> Outcome:
    """What becomes of a proxy of this kind where one of three upstreams is killed, another drained, and it is reloaded."""
    scenario = Scenario(
        duration=2.5,
        upstreams=UpstreamsConfig(count=3),
        load=LoadConfig(clients=6, ramp=0.2, rate=10.0, lifetime=0.8),
        proxy=ProxyConfig(settings={"server": {"drain": {"spread": 0.2}}}),
        faults=(
            FAULTS["kill"](upstreams=(0,), at=0.5, lasts=0.8),
            FAULTS["drain-upstream"](upstreams=(1,), at=1.2, lasts=0.6),
            FAULTS["reload"](settings={"server": {"via": "reloaded"}}, at=2.0),
        ),
    )
    proxy = KINDS[name].make(folder, scenario.proxy.settings)
    return await run(scenario, proxy, seed=1, say=print)
