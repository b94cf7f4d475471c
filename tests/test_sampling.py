"""What a sample says of traffic that is known, on the mock clock."""

from __future__ import annotations

import json
import time

import pytest
import trio
from support.frames import BINARY, websocket
from support.http_client import get
from support.serving import POOL, make_config, make_context, serving_unix

from trioproxy import metrics as m
from trioproxy.sampling import Sampler
from trioproxy.status import Status

ADDRESS = "127.0.0.1:1"  # the upstream of make_config
NOTHING = {"to_upstream": 0.0, "to_client": 0.0}


def sampler_of(**config):
    context = make_context(make_config(**config))
    return context, Sampler(Status(context, [], accepting=True))


async def test_at_rest_everything_is_zero(autojump_clock):
    context, sampler = sampler_of()
    await trio.sleep(1)
    sample = sampler.sample()
    assert sample.pop("time") == pytest.approx(time.time(), abs=60)
    assert sample == {
        "state": "running",
        "connections": 0,
        "tunnels": 0,
        "chaos": None,
        "messages_per_second": NOTHING,
        "bytes_per_second": NOTHING,
        "requests_per_second": 0.0,
        "handshakes_per_second": {"accepted": 0.0, "failed": 0.0},
        "handshake_seconds": None,
        "endings_per_second": {},
    }
    (pool,) = sampler.pools()
    assert (pool["name"], pool["balance"], pool["queued"]) == (POOL, context.pools[POOL].config.balance, 0)
    assert json.loads(json.dumps(pool["upstreams"])) == [
        {
            "address": ADDRESS,
            "state": "unknown",
            "health": "unknown",
            "drain": None,
            "ejection": None,
            "weight": 1,
            "backup": False,
            "active": 0,
            "last_probe": None,
            "tunnels": 0,
            "messages_per_second": NOTHING,
            "bytes_per_second": NOTHING,
        }
    ]


async def test_rates_are_since_the_sample_before(autojump_clock):
    context, sampler = sampler_of()
    inc = context.metrics.inc
    for _ in range(2):
        inc(m.MESSAGES, (POOL, ADDRESS, "to_client"), 30)
        inc(m.BYTES, (POOL, ADDRESS, "to_upstream"), 4000)
        inc(m.REQUESTS, ("r", POOL, "http", "200"), 4)
        inc(m.REQUESTS, ("r", POOL, "websocket", "101"), 2)
        inc(m.HANDSHAKES, ("r", POOL, ADDRESS, "accepted"), 2)
        inc(m.HANDSHAKES, ("r", POOL, ADDRESS, "refused"), 1)
        inc(m.HANDSHAKES, ("r", POOL, ADDRESS, "timeout"), 3)
        inc(m.ENDINGS, ("client", "tunnel", "done"), 6)
        inc(m.ENDINGS, ("client", "close", "done"), 2)
        inc(m.ENDINGS, ("upstream", "tunnel", "reset"), 1)
        await trio.sleep(2)
        sample = sampler.sample()
        assert sample["messages_per_second"] == {"to_upstream": 0.0, "to_client": 15.0}
        assert sample["bytes_per_second"] == {"to_upstream": 2000.0, "to_client": 0.0}
        assert sample["requests_per_second"] == 3.0
        assert sample["handshakes_per_second"] == {"accepted": 1.0, "failed": 2.0}
        assert sample["endings_per_second"] == {"done": 4.0, "reset": 0.5}
        (upstream,) = sampler.pools()[0]["upstreams"]
        assert upstream["messages_per_second"] == {"to_upstream": 0.0, "to_client": 15.0}
        assert upstream["bytes_per_second"] == {"to_upstream": 2000.0, "to_client": 0.0}
    await trio.sleep(1)
    sample = sampler.sample()
    assert sample["messages_per_second"] == NOTHING and sample["endings_per_second"] == {}


async def test_what_there_was_before_the_first_look_is_no_rate(autojump_clock):
    context = make_context(make_config())
    context.metrics.inc(m.MESSAGES, (POOL, ADDRESS, "to_client"), 30)
    sampler = Sampler(Status(context, []))
    await trio.sleep(1)
    assert sampler.sample()["messages_per_second"] == NOTHING


async def test_handshake_quantiles_look_back_ten_seconds(autojump_clock):
    context, sampler = sampler_of()
    context.metrics.observe(m.HANDSHAKE_DURATION, (POOL,), 0.002)
    found = []
    for _ in range(12):
        await trio.sleep(1)
        found.append(sampler.sample()["handshake_seconds"])
    assert found[:10] == [{"p50": 0.00175, "p99": 0.002485}] * 10
    assert found[10:] == [None, None]


async def test_an_upstream_that_a_reload_brought_has_figures_too(autojump_clock):
    context, sampler = sampler_of()
    pool = context.pools[POOL]
    sampler.sample()
    pool.upstreams.append(pool.new_upstream(pool.config, pool.config.upstreams[0]))
    pool.upstreams[-1].labels = POOL, "10.0.0.9:1"
    assert sampler.pools()[0]["upstreams"][-1]["tunnels"] == 0
    context.metrics.inc(m.TUNNELS_ACTIVE, ("r", POOL, "10.0.0.9:1"), 4)
    assert sampler.pools()[0]["upstreams"][-1]["tunnels"] == 0  # as of the last sample
    sampler.sample()
    assert sampler.pools()[0]["upstreams"][-1]["tunnels"] == 4


async def test_traffic_of_a_proxy_shows(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address) as tunnel:
        sampler = Sampler(proxy.status)
        for _ in range(8):
            await tunnel.send(BINARY, bytes(50))
            await tunnel.receive()
        await get(proxy.listeners[0].address)
        await trio.sleep(1)
        await proxy.context.publish_tunnels()
        sample = sampler.sample()
        assert sample["tunnels"] == 1
        assert sample["messages_per_second"] == {"to_upstream": 8.0, "to_client": 8.0}
        assert sample["bytes_per_second"] == {"to_upstream": 448.0, "to_client": 416.0}
        assert sample["requests_per_second"] == 1.0
        (upstream,) = sampler.pools()[0]["upstreams"]
        assert (upstream["tunnels"], upstream["active"], upstream["state"]) == (1, 1, "up")
        assert upstream["bytes_per_second"] == sample["bytes_per_second"]
        await tunnel.close()
