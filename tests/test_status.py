"""What a running proxy says of itself, as operators and Prometheus ask it."""

from __future__ import annotations

import json
import platform

import attrs
import pytest
import trio
from support.certificates import LONG_AGO, authority
from support.frames import websocket
from support.http_client import connection, get_request
from support.serving import POOL, make_config, make_context, serving_unix

from trioproxy import metrics as m
from trioproxy._version import __version__
from trioproxy.config import AdminConfig, HealthConfig, ListenerTlsConfig, PoolConfig, UpstreamConfig
from trioproxy.health import UpstreamState
from trioproxy.server import serve
from trioproxy.status import Status

UP = {"backend": True, "other": True}


def status_of(*, ready_pools=(), up=("backend", "other")):
    """Two pools with one upstream each; those in `up` are up."""
    pools = {
        name: PoolConfig(
            name=name, upstreams=(UpstreamConfig(address="10.0.0.1:80", weight=3),), health=HealthConfig(rise=1, fall=1)
        )
        for name in ("backend", "other")
    }
    context = make_context(make_config(pools=pools, admin=AdminConfig(address="", ready_pools=ready_pools)))
    for name, pool in context.pools.items():
        pool.upstreams[0].observe(ok=name in up)
    return Status(context, [], accepting=True)


def gauges(status):
    return {(metric.name, labels): value for metric, labels, value in status.gauges()}


async def test_a_running_proxy_with_an_upstream_is_ready():
    assert status_of().ready() == (True, {"ready": True, "state": "running", "pools": UP})
    assert status_of(up=["other"]).ready()[0]


async def test_without_an_upstream_it_is_not_ready():
    ready, body = status_of(up=[]).ready()
    assert not ready and body["pools"] == {"backend": False, "other": False}


@pytest.mark.parametrize(("needed", "ready"), [((), True), (("other",), True), (("backend",), False), (UP, False)])
async def test_pools_that_are_needed_decide(needed, ready):
    assert status_of(ready_pools=tuple(needed), up=["other"]).ready()[0] is ready


async def test_a_summary_is_one_line_with_the_numbers_that_matter():
    status = status_of(up=["other"])
    status.context.connection_began()
    assert status.summary() == "running: 1 connections, 0 tunnels, 1 of 2 upstreams up"
    status.context.draining = True
    assert status.summary().startswith("draining: ")


async def test_while_starting_it_is_not_ready():
    status = status_of()
    status.accepting = False
    assert status.ready() == (False, {"ready": False, "state": "starting", "pools": UP})


@pytest.mark.parametrize("which", ["lame_duck", "draining"])
async def test_while_draining_it_is_not_ready(which):
    status = status_of()
    setattr(status.context, which, True)
    assert status.ready() == (False, {"ready": False, "state": "draining", "pools": UP})
    assert gauges(status)["trioproxy_draining", ()] == 1


async def test_gauges_say_what_is_running_and_how_the_upstreams_are():
    seen = gauges(status_of(up=["other"]))
    assert seen["trioproxy_build_info", (__version__, platform.python_version(), trio.__version__)] == 1
    assert seen["trioproxy_draining", ()] == 0
    assert seen["trioproxy_upstream_up", ("other", "10.0.0.1:80")] == 1
    assert seen["trioproxy_upstream_up", ("backend", "10.0.0.1:80")] == 0
    assert seen["trioproxy_upstream_weight", ("backend", "10.0.0.1:80")] == 3
    assert seen["trioproxy_upstream_active", ("backend", "10.0.0.1:80")] == 0
    states = {state: seen["trioproxy_upstream_state", ("backend", "10.0.0.1:80", state)] for state in UpstreamState}
    assert [state for state, value in states.items() if value] == [UpstreamState.DOWN]


async def test_an_upstream_drained_by_hand_is_still_up_but_shows_as_draining():
    status = status_of()
    status.context.pools["other"].upstreams[0].draining = True
    seen = gauges(status)
    assert seen["trioproxy_upstream_up", ("other", "10.0.0.1:80")] == 1
    assert seen["trioproxy_upstream_state", ("other", "10.0.0.1:80", "draining")] == 1
    assert seen["trioproxy_upstream_state", ("other", "10.0.0.1:80", "up")] == 0


async def test_the_status_document_is_json_and_tells_what_is_going_on(tmp_path, autojump_clock):
    async with serving_unix(tmp_path, health=HealthConfig(probe="tcp")) as proxy:
        address = proxy.listeners[0].address
        async with connection(address) as http, websocket(address) as tunnel:
            await http.send(get_request())
            await http.answer()
            for _ in range(2):
                await tunnel.echo(b"hello")
            await proxy.context.publish_tunnels()
            told = json.loads(json.dumps(proxy.status.status()))
            assert told.pop("uptime_seconds") >= 0
            (pool,) = told.pop("pools")
            assert told == {
                "version": __version__,
                "state": "running",
                "workers": 1,
                "connections": 2,
                "tunnels": 1,
                "chaos": None,
                "listeners": [
                    {"name": "l0", "address": address, "tls": False, "certificate_expires": None, "active": 2}
                ],
            }
            (upstream,) = pool.pop("upstreams")
            assert pool == {"name": POOL, "balance": "round-robin", "queued": 0}
            probe = upstream.pop("last_probe")
            assert probe["result"] == "ok" and probe["when"] > 0 and probe["detail"] == ""
            assert upstream == {
                "address": proxy.context.config.pools[POOL].upstreams[0].address,
                "state": "up",
                "health": "up",
                "drain": None,
                "ejection": None,
                "weight": 1,
                "backup": False,
                "active": 1,
                "tunnels": 1,
                "tunnels_total": 1,
                "messages_total": {"to_upstream": 2, "to_client": 2},
                "bytes_total": {"to_upstream": 2 * 11, "to_client": 2 * 7},
            }
            await tunnel.close()


async def test_a_draining_upstream_tells_its_health_and_its_deadline(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        (upstream,) = proxy.context.pools[POOL].upstreams
        upstream.drain(30)
        await trio.sleep(10)

        def told():
            (pool,) = proxy.status.status()["pools"]
            return {key: pool["upstreams"][0][key] for key in ("state", "health", "drain")}

        assert told() == {"state": "draining", "health": "up", "drain": {"cut_in_seconds": 20}}
        await trio.sleep(100)
        assert told()["drain"] == {"cut_in_seconds": 0}
        upstream.resume()
        assert told() == {"state": "up", "health": "up", "drain": None}


async def test_when_the_certificate_of_a_listener_expires_is_a_gauge_and_in_the_document(tmp_path):
    files = authority(tmp_path).issue("a.test", expired=True)
    config = make_config(listeners=("127.0.0.1:0", "127.0.0.1:0"))
    tls = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    config = attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], tls=tls), config.listeners[1]))
    async with serve(config) as proxy:
        seen = {name: value for name, value in gauges(proxy.status).items() if "certificate" in name[0]}
        assert seen == {("trioproxy_certificate_expiry_timestamp_seconds", ("l0",)): LONG_AGO.timestamp() + 86400}
        told = [(each["tls"], each["certificate_expires"]) for each in proxy.status.status()["listeners"]]
        assert told == [(True, LONG_AGO.timestamp() + 86400), (False, None)]


async def test_gauges_are_part_of_a_scrape(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        samples = {(sample.metric, sample.labels): sample.value for sample in proxy.context.metrics.samples()}
        assert samples[m.DRAINING, ()] == 0
        assert samples[m.CONNECTIONS_LIMIT, ()] == 100
        proxy.context.max_connections = 50  # as where there are few descriptors
        (limit,) = (each.value for each in proxy.context.metrics.samples() if each.metric is m.CONNECTIONS_LIMIT)
        assert limit == 50
        assert any(metric is m.UPSTREAM_UP and value == 1 for (metric, _), value in samples.items())
