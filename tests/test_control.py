"""The admin's commands as one process carries them out: what they answer, and what they do not find."""

from __future__ import annotations

import json

import pytest
from support.frames import websocket
from support.serving import POOL, serving_unix
from trio.testing import wait_all_tasks_blocked

from trioproxy.admin import Unknown
from trioproxy.config import PoolConfig, UpstreamConfig
from trioproxy.control import find_upstream
from trioproxy.upstreams import Pool


def upstream_of(proxy):
    return proxy.context.pools[POOL].upstreams[0]


async def test_it_shows_what_the_proxy_has(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        control = proxy.control
        assert control.config is proxy.context.config and control.metrics is proxy.context.metrics
        assert control.ready() == proxy.status.ready()
        assert (await control.status())["state"] == "running"


async def test_tunnels_are_listed(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address):
        await wait_all_tasks_blocked()
        page = await proxy.control.tunnels(after="", limit=10, where={"pool": POOL})
        assert page["total"] == 1
        assert [row["id"] for row in page["tunnels"]] == list(proxy.context.tunnels)
        assert (await proxy.control.tunnels(after="", limit=10, where={"pool": "x"}))["total"] == 0


async def test_drain_and_resume_answer_how_the_upstream_stands(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address):
        await wait_all_tasks_blocked()
        address = upstream_of(proxy).address
        told = await proxy.control.drain_upstream(POOL, address, spread=5, timeout=30)
        stands = {"pool": POOL, "upstream": address, "active": 1, "tunnels": 1}
        assert json.loads(json.dumps(told)) == {**stands, "state": "draining", "spread": 5, "timeout": 30}
        assert (await proxy.control.drain_upstream(POOL, address, spread=100, timeout=30))["spread"] == 15
        told = await proxy.control.resume_upstream(POOL, address)
        assert json.loads(json.dumps(told)) == {**stands, "state": "up"}


async def test_a_tunnel_is_closed_with_the_code_asked_for(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address) as end:
        await wait_all_tasks_blocked()
        (name,) = proxy.context.tunnels
        assert await proxy.control.close_tunnel(name, 4001) == {"id": name, "code": 4001}
        assert (await end.receive()).close_code == 4001


def test_an_upstream_is_found_however_its_address_is_spelt():
    upstreams = tuple(UpstreamConfig(address=each) for each in ("[::1]:80", "Chat.internal:80", "unix:/run/A"))
    pools = {"b": Pool(PoolConfig(name="b", upstreams=upstreams))}
    for spelt, upstream in zip(("[0::1]:80", "chat.INTERNAL:80", "unix:/run/A"), pools["b"].upstreams, strict=True):
        assert find_upstream(pools, "b", spelt) is upstream
    with pytest.raises(Unknown):
        find_upstream(pools, "b", "unix:/run/a")


async def test_names_that_are_not_known_are_told_with_those_that_are(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        control, address = proxy.control, upstream_of(proxy).address
        with pytest.raises(Unknown, match=f"^no pool 'x'; there are: {POOL}$"):
            await control.drain_upstream("x", address, spread=0, timeout=0)
        with pytest.raises(Unknown, match=f"^no upstream of pool {POOL} 'y:1'; there are: {address}$"):
            await control.resume_upstream(POOL, "y:1")
        with pytest.raises(Unknown, match=r"^no open tunnel 'abc-1'$"):
            await control.close_tunnel("abc-1", 1012)
        assert not upstream_of(proxy).draining
