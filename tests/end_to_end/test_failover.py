"""An upstream that is killed or stopped under load: the other's tunnels notice nothing, new ones go on being opened.

The bounds in seconds come from the probe's settings; a guard of ten times the bound allows for a busy machine, and the
figure itself is printed.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from support.frames import open_websocket
from support.load import LoadTunnel, each, load_on, shares
from support.peers import run_server
from support.proxy import run_proxy
from support.settings import settings
from support.waiting import wait_until

PROBE = {"interval": 0.5, "timeout": 0.4, "rise": 2, "fall": 3}
BOUND = PROBE["interval"] * PROBE["fall"] + PROBE["timeout"]
GUARD = 10 * BOUND
PAUSE_SECONDS = 0.02  # of one client: closed loops would take the processor from the proxy and its probes


@attrs.define(eq=False)
class Load:
    """Two jobs under way: tunnels that talk all the time, and new handshakes one after the other."""

    talked: int = 0
    opened: list[str] = attrs.Factory(list)  # the servers that handshakes reached: every one of them succeeds

    async def talk(self, tunnel):
        while True:
            await tunnel.burst(5)
            self.talked += 5
            await trio.sleep(PAUSE_SECONDS)

    async def knock(self, address):
        number = 10_000
        while True:
            tunnel = LoadTunnel(number, await open_websocket(address))
            async with tunnel.end.http.stream:
                try:
                    await tunnel.burst(1)
                    await tunnel.close()
                except (ConnectionError, trio.BrokenResourceError, AssertionError):
                    if tunnel.server != "a":  # this one was open, to the server that was killed
                        raise
            self.opened.append(tunnel.server)
            number += 1
            await trio.sleep(PAUSE_SECONDS)

    async def go_on(self):
        """Returns once messages and handshakes were both seen to succeed after the call."""
        talked, opened = self.talked, len(self.opened)
        await wait_until(lambda: self.talked > talked + 100 and len(self.opened) > opened + 5, "the load goes on")

    async def reached(self, name):
        """Returns once a handshake that ended after the call reached this server."""
        before = len(self.opened)
        await wait_until(lambda: name in self.opened[before:], f"a new tunnel to {name}")


@asynccontextmanager
async def under_load(address, staying):
    """Any loss or error in a tunnel or a handshake fails the test there and then."""
    load = Load()
    async with trio.open_nursery() as nursery:
        for tunnel in staying:
            nursery.start_soon(load.talk, tunnel)
        for _ in range(4):
            nursery.start_soon(load.knock, address)
        yield load
        nursery.cancel_scope.cancel()


async def three_parties(programs, **pool):
    servers = {name: await run_server(programs, "fast_echo.py", name) for name in ("a", "b")}
    health = {"path": "/", **PROBE, **pool.pop("health")}
    tables = settings([server.address for server in servers.values()], pool=pool, health=health)
    return servers, await run_proxy(programs, tables)


async def seconds_until_down(proxy, server):
    started = trio.current_time()
    await proxy.wait_for_state(server.address, "down", seconds=GUARD)
    taken = trio.current_time() - started
    print(f"down after {taken:.2f} s; bound {BOUND:.2f} s")  # noqa: T201 - a figure
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("probe", ["tcp", "http", "websocket"])
async def test_a_killed_upstream_costs_its_own_tunnels_and_nothing_else(programs, probe):
    servers, proxy = await three_parties(programs, health={"probe": probe})
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(100))
        assert shares(tunnels) == {"a": 50, "b": 50}
        staying = [tunnel for tunnel in tunnels if tunnel.server == "b"]
        losing = [tunnel for tunnel in tunnels if tunnel.server == "a"]
        async with under_load(proxy.address, staying) as load:
            await load.reached("a")
            servers["a"].kill()
            await seconds_until_down(proxy, servers["a"])
            await each(losing, assert_ended_abnormally)
            await load.go_on()
            seen = await proxy.wait_until(
                lambda seen: seen.total("upstream_active", upstream=servers["a"].address) == 0
            )
            assert seen.by("upstream", "upstream_up") == {servers["a"].address: 0, servers["b"].address: 1}
            await servers["a"].restart()
            await proxy.wait_for_state(servers["a"].address, "up", seconds=GUARD)
            await load.reached("a")
    await proxy.logged("upstream_down", upstream=servers["a"].address)
    await proxy.logged("upstream_up", upstream=servers["a"].address)


async def assert_ended_abnormally(tunnel):
    """The end of a tunnel whose upstream died: Close 1011, or a cut where no Close fitted; never a regular one."""
    try:
        code = (await tunnel.end.receive()).close_code
    except ConnectionError:
        return
    assert code == 1011


@pytest.mark.slow
async def test_a_stopped_upstream_is_seen_by_the_websocket_probe(programs):
    """Its kernel still accepts, so only a probe that asks for a pong can tell.

    A handshake that went to the stopped server waits, at most until the probe says that it is down, and is then given
    to the other one: nothing is asked of `timeouts.handshake` but to be longer than that.
    """
    servers, proxy = await three_parties(programs, health={"probe": "websocket"})
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(100))
        staying = [tunnel for tunnel in tunnels if tunnel.server == "b"]
        paused = [tunnel for tunnel in tunnels if tunnel.server == "a"]
        async with under_load(proxy.address, staying) as load:
            await load.reached("a")
            servers["a"].program.pause()
            await seconds_until_down(proxy, servers["a"])
            assert shares(await open_tunnels(range(200, 220))) == {"b": 20}
            await load.go_on()
            servers["a"].program.resume()
            await proxy.wait_for_state(servers["a"].address, "up", seconds=GUARD)
            await load.reached("a")
            await each(paused, lambda tunnel: tunnel.burst(5))  # a pause is no end: these tunnels were never closed


@pytest.mark.slow
async def test_a_stopped_upstream_looks_alive_to_a_probe_that_only_connects(programs):
    servers, proxy = await three_parties(programs, health={"probe": "tcp"})
    address = servers["a"].address
    servers["a"].program.pause()
    wanted = (await proxy.metrics()).total("probes_total", upstream=address) + 2 * PROBE["fall"]
    seen = await proxy.wait_until(lambda seen: seen.total("probes_total", upstream=address) >= wanted)
    assert seen.total("upstream_up", upstream=address) == 1


async def test_traffic_fails_over_at_once_where_nothing_listens(programs):
    """Without any probe: a refused connect is retried on the other upstream within the same request."""
    servers = [await run_server(programs, "fast_echo.py", name) for name in ("a", "b")]
    proxy = await run_proxy(programs, settings([server.address for server in servers]))
    servers[0].kill()
    await servers[0].program.process.wait()
    async with load_on(proxy.address) as open_tunnels:
        assert shares(await open_tunnels(range(20))) == {"b": 20}
        seen = await proxy.metrics()
        assert seen.total("retries_total") == seen.total("connect_failures_total") == 10


async def test_backups_take_over_only_when_no_primary_is_up(programs):
    servers = [await run_server(programs, "fast_echo.py", name) for name in ("primary", "backup")]
    upstreams = [{"address": servers[0].address}, {"address": servers[1].address, "backup": True}]
    proxy = await run_proxy(programs, settings(upstreams, health={"probe": "tcp", **PROBE}))
    async with load_on(proxy.address) as open_tunnels:
        assert shares(await open_tunnels(range(10))) == {"primary": 10}
        servers[0].kill()
        await proxy.wait_for_state(servers[0].address, "down", seconds=GUARD)
        assert shares(await open_tunnels(range(10))) == {"backup": 10}


async def test_an_upstream_takes_no_more_than_its_max_connections(programs):
    servers = [await run_server(programs, "fast_echo.py", name) for name in ("small", "large")]
    upstreams = [{"address": servers[0].address, "max_connections": 3}, {"address": servers[1].address}]
    proxy = await run_proxy(programs, settings(upstreams))
    async with load_on(proxy.address) as open_tunnels:
        assert shares(await open_tunnels(range(20))) == {"small": 3, "large": 17}
