"""The proxy under test: its settings, its processes, what it can be told."""

import contextlib
import os
import resource
import signal
import tomllib

import pytest
from support.waiting import wait_until

from trioproxy.chaos.processes import children
from trioproxy.chaos.proxies import (
    ProxyError,
    Trioproxy,
    as_toml,
    base_settings,
    laid_over,
)
from trioproxy.chaos.servers import Server, listens
from trioproxy.config_file import parse_config

SETTINGS = {"a b": {"c": [1, {"d": 'e"\x7f'}], "f": {}}, "g": True, "h": 0.25, "i": [], "j": "\u20ac"}


def test_settings_are_read_again_as_they_were_written():
    assert tomllib.loads(as_toml(SETTINGS)) == SETTINGS


def test_tables_are_merged_and_all_else_is_replaced():
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert laid_over(below, {"a": {"c": [3], "e": {}}, "d": {"x": 1}}) == {
        "a": {"b": 1, "c": [3], "e": {}},
        "d": {"x": 1},
    }
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_what_a_run_begins_with_is_a_configuration():
    config = parse_config(as_toml(base_settings("127.0.0.1:1", "127.0.0.1:2", ["127.0.0.1:3"])), "config.toml")
    assert config.pools["backend"].upstreams[0].address == "127.0.0.1:3"


@pytest.fixture
async def upstream():
    server = Server(0)
    await server.start()
    yield server
    server.close()


@pytest.fixture
async def started(tmp_path, upstream):
    """Starts a proxy in front of one upstream, with these settings."""
    proxies = []

    async def start(settings):
        proxy = Trioproxy(tmp_path, settings)
        proxies.append(proxy)
        await proxy.start(["{}:{}".format(*upstream.target)])
        return proxy

    yield start
    for proxy in proxies:
        proxy.close()


async def test_it_serves_and_ends(started):
    taken_over = {"log": {"format": "json", "level": "error", "file": "/nowhere"}, "admin": {"address": ""}}
    proxy = await started(taken_over)
    assert await listens(proxy.address)
    counts = ("tunnels", "open_tunnels", "messages_to_upstream", "messages_to_client")
    assert await proxy.counts() == dict.fromkeys(counts, 0)
    with pytest.raises(ProxyError, match="there are no worker processes"):
        proxy.workers()
    assert (await proxy.stop(), proxy.errors()) == (0, [])
    assert not await listens(proxy.address)


async def test_its_orders_are_carried_out(started, tmp_path):
    proxy = await started({"server": {"workers": 2}})
    workers = proxy.workers()
    assert len(workers) == len(children(proxy.pid)) == 2
    await proxy.reload({"server": {"via": "changed"}})
    assert tomllib.loads((tmp_path / "config.toml").read_text())["server"]["via"] == "changed"
    with pytest.raises(ProxyError, match=r"refused.*server.workers"):
        await proxy.reload({"server": {"workers": 3}})
    usual = [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers]
    proxy.limit_descriptors(50)
    assert all(resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] < 200 for pid in (proxy.pid, *workers))
    proxy.limit_descriptors(None)
    assert [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers] == usual
    await proxy.drain_upstream(0)
    assert (await proxy._status())["pools"][0]["upstreams"][0]["state"] == "draining"
    await proxy.resume_upstream(0)
    assert (await proxy._status())["pools"][0]["upstreams"][0]["state"] != "draining"
    await proxy.inject(0, "refuse", {"share": 1, "seconds": 60})
    assert [each["verb"] for each in (await proxy._status())["chaos"]] == ["refuse"]
    await proxy.stop_injecting()
    assert (await proxy._status())["chaos"] == []
    os.kill(workers[0], signal.SIGKILL)
    await wait_until(lambda: workers[0] not in proxy.workers(), "the end of a worker")
    assert await proxy.stop() == 0


async def test_a_new_process_takes_over(started):
    proxy = await started({})
    before = proxy.pid
    await proxy.replace()
    assert proxy.pid != before
    assert await listens(proxy.address)
    assert await proxy.counts() == {}
    assert await proxy.stop() == 0


async def test_it_may_be_left_without_descriptors(started):
    proxy = await started({})
    proxy.limit_descriptors(0)
    proxy.limit_descriptors(None)
    assert await listens(proxy.address)
    assert await proxy.stop() == 0
    with pytest.raises(ProxyError, match="has ended"):
        await proxy.reload({})


async def test_one_that_does_not_start_says_why(started):
    with pytest.raises(ProxyError, match=r"trioproxy ended at once: .*pools.backend.balance"):
        await started({"pools": {"backend": {"balance": "nothing"}}})


async def test_bugs_in_its_log_are_told(tmp_path):
    with contextlib.closing(Trioproxy(tmp_path, {})) as proxy:
        assert proxy.errors() == []
        (tmp_path / "proxy.log").write_text("all is well\nTraceback (most recent call last):\n")
        assert proxy.errors() == ["Traceback (most recent call last):"]
