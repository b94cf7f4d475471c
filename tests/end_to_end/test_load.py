"""A thousand tunnels at once over two upstreams: every message arrives once, in order, and the shares are even."""

from __future__ import annotations

import pytest
import trio
from support.load import each, load_on, shares
from support.nginx import run_nginx
from support.peers import run_server
from support.proxy import run_proxy
from support.settings import settings

TUNNELS = 1000
MESSAGES = 100
BURST = 10


async def two_servers(programs):
    return [await run_server(programs, "fast_echo.py", name) for name in ("a", "b")]


async def talk(tunnel):
    """Single messages first, then bursts: a burst puts several frames into one read, a lone message one."""
    for _ in range(BURST):
        await tunnel.burst(1)
    for _ in range(BURST, MESSAGES, BURST):
        await tunnel.burst(BURST)


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["round-robin", "least-connections"])
async def test_a_thousand_tunnels_lose_and_reorder_nothing_and_are_shared_evenly(programs, balance):
    servers = await two_servers(programs)
    proxy = await run_proxy(programs, settings([server.address for server in servers], pool={"balance": balance}))
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(TUNNELS))
        assert abs(shares(tunnels)["a"] - shares(tunnels)["b"]) <= 1, shares(tunnels)
        started = trio.current_time()
        await each(tunnels, talk)
        print(f"{balance}: {TUNNELS * MESSAGES / (trio.current_time() - started):.0f} echoes/s")  # noqa: T201 - a figure
        assert {tunnel.received for tunnel in tunnels} == {MESSAGES}
        seen = await proxy.wait_until(
            lambda seen: seen.total("messages_total") == 2 * TUNNELS * MESSAGES, "all counted"
        )
        active = seen.by("upstream", "tunnels_active")
        assert sum(active.values()) == TUNNELS
        assert max(active.values()) - min(active.values()) <= 1
        await each(tunnels, lambda tunnel: tunnel.close())
        ended = await proxy.wait_until(lambda seen: seen.total("upstream_active") == 0, "no lease held")
    assert ended.total("tunnels_active") == 0
    assert ended.total("closes_total", code="1000") == TUNNELS
    await proxy.stop()


async def test_least_connections_fills_the_upstream_that_lost_tunnels(programs):
    servers = await two_servers(programs)
    tables = settings([server.address for server in servers], pool={"balance": "least-connections"})
    proxy = await run_proxy(programs, tables)
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(100))
        leaving = [tunnel for tunnel in tunnels if tunnel.server == "a"][:30]
        await each(leaving, lambda tunnel: tunnel.close())
        await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 70, "thirty tunnels gone")
        fresh = await open_tunnels(range(100, 140))
        assert shares(fresh) == {"a": 35, "b": 5}
        assert shares([tunnel for tunnel in tunnels if tunnel not in leaving] + fresh) == {"a": 55, "b": 55}


async def test_weights_share_round_robin_in_their_proportion(programs):
    servers = await two_servers(programs)
    upstreams = [{"address": servers[0].address, "weight": 3}, {"address": servers[1].address}]
    proxy = await run_proxy(programs, settings(upstreams))
    async with load_on(proxy.address) as open_tunnels:
        assert shares(await open_tunnels(range(40))) == {"a": 30, "b": 10}


@pytest.mark.slow
async def test_the_load_of_this_file_passes_nginx_unharmed(programs):
    servers = await two_servers(programs)
    address = await run_nginx(programs, [server.address for server in servers])
    async with load_on(address) as open_tunnels:
        tunnels = await open_tunnels(range(TUNNELS))
        assert shares(tunnels) == {"a": TUNNELS // 2, "b": TUNNELS // 2}
        await each(tunnels, talk)
        await each(tunnels, lambda tunnel: tunnel.close())
