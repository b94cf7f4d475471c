"""Envoy under test: what it does."""

import pytest
from support.rivals import in_front, leads_to, needs, rough_times, upstreams_of

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.peers.envoy import PROGRAM, envoy_remarks
from trioproxy.chaos.processes import is_alive
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.servers import listens


def test_what_envoy_does_not_do_is_told():
    (pings,) = envoy_remarks({"websocket": {"ping_interval": 1}, "pools": {"backend": {"health": {"interval": 1}}}})
    assert pings.startswith("websocket.ping_interval: sends no pings")


async def test_envoy_in_rough_times(tmp_path):
    needs(PROGRAM)
    outcome = await rough_times("envoy", tmp_path)
    expected = {"handshake_success": 1, "lost_messages_on_unharmed_tunnels": 0, "disagreements": 0, "proxy_errors": 0}
    assert [str(verdict) for verdict in judge(expected, outcome) if not verdict.held] == []
    assert [comparison.what for comparison in outcome.comparisons] == ["tunnels"]


async def test_it_counts_tunnels_and_is_restarted_without_closing_its_port(tmp_path):
    needs(PROGRAM)
    async with in_front("envoy", {"server": {"drain": {"spread": 1, "timeout": 2}}}, tmp_path) as proxy:
        assert (await proxy.counts())["tunnels"] == 0
        opened = await leads_to(proxy, 0, 1)
        assert (await proxy.counts())["tunnels"] == opened
        await proxy.drain_upstream(0)
        assert await upstreams_of(proxy) == {1}
        with pytest.raises(ProxyError, match="threads of one process"):
            proxy.workers()
        with pytest.raises(ProxyError, match="threads of one process"):
            proxy.ports(1)
        with pytest.raises(ProxyError, match="envoy refused the new routes"):
            await proxy.reload({"server": {"via": "x" * 20_000}})
        await proxy.reload({"server": {"via": "short"}})
        proxy.limit_descriptors(0)
        proxy.limit_descriptors(None)
        await proxy.replace()
        assert await upstreams_of(proxy) == {1}
        await proxy.resume_upstream(0)
        await leads_to(proxy, 0, 1)
        assert await proxy.counts() == {}
        assert (await proxy.stop(), proxy.errors()) == (0, [])
        assert not any(map(is_alive, proxy._running.pids))
        assert not await listens(proxy.address)
