"""nginx under test: what it is told, and what it does."""

import os
import signal
import subprocess

import pytest
from support.rivals import RICH, SETTINGS, UPSTREAMS, in_front, leads_to, needs, rough_times, upstreams_of
from support.waiting import wait_until

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.peers.nginx import PROGRAM, nginx_config, nginx_remarks
from trioproxy.chaos.peers.settings import understood
from trioproxy.chaos.processes import is_alive
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.servers import listens


def written(settings, folder, drained=()):
    return nginx_config(understood("127.0.0.1:3000", UPSTREAMS, settings), folder, drained)


@pytest.mark.parametrize("name", SETTINGS)
def test_nginx_takes_what_is_written(name, tmp_path):
    (tmp_path / "nginx.conf").write_text(written(SETTINGS[name], tmp_path, UPSTREAMS[:1]))
    words = [needs(PROGRAM), "-t", "-q", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_a_scenario_asks_stands_in_nginx_s_words(tmp_path):
    text = written(RICH, tmp_path, UPSTREAMS[:1])
    for words in (
        "server 127.0.0.1:3001 max_fails=3 fail_timeout=4s down;",
        "server 127.0.0.1:3002 max_fails=3 fail_timeout=4s;",
        "least_conn;",
        "worker_processes 2;",
        "worker_shutdown_timeout 7500ms;",
        "proxy_next_upstream error timeout http_500 http_502 http_503 http_504;",
        "proxy_next_upstream_tries 3;",
        "proxy_read_timeout 600000ms;",
        "proxy_socket_keepalive on;",
    ):
        assert words in text
    assert "Via" not in text
    usual = written({}, tmp_path)
    assert 'proxy_set_header Via "1.1 trioproxy";' in usual
    assert "server 127.0.0.1:3002 max_fails=0;" in usual


def test_what_nginx_does_not_do_is_told():
    (probes,) = nginx_remarks({"pools": {"backend": {"attempts": 2, "health": {"interval": 1, "fall": 2}}}})
    assert probes.startswith("pools.backend.health: has no probes")
    assert nginx_remarks({"websocket": {"max_message_rate": 3}}) == ["websocket.max_message_rate: has no such setting"]


async def test_nginx_in_rough_times(tmp_path):
    needs(PROGRAM)
    outcome = await rough_times("nginx", tmp_path)
    expected = {"handshake_success": 1, "lost_messages_on_unharmed_tunnels": 0, "proxy_errors": 0}
    assert [str(verdict) for verdict in judge(expected, outcome) if not verdict.held] == []
    assert outcome.comparisons == []


async def test_its_workers_can_be_killed_and_its_program_replaced(tmp_path):
    needs(PROGRAM)
    async with in_front("nginx", {"server": {"workers": 2}}, tmp_path) as proxy:
        first, second = proxy.workers()
        assert proxy.ports(first) | proxy.ports(second) >= {proxy.address[1]}
        os.kill(first, signal.SIGKILL)
        await wait_until(lambda: len(set(proxy.workers()) - {first}) == 2, "another worker")
        proxy.limit_descriptors(0)
        proxy.limit_descriptors(None)
        old = proxy.workers()
        await proxy.replace()
        assert not set(proxy.workers()) & set(old)
        await proxy.drain_upstream(0)
        assert await upstreams_of(proxy) == {1}
        await proxy.resume_upstream(0)
        await leads_to(proxy, 0, 1)
        masters = list(proxy._running.pids)
        assert (await proxy.stop(), proxy.errors()) == (0, [])
        assert not any(is_alive(pid) for pid in [*masters, *old])
        assert not await listens(proxy.address)


async def test_what_is_left_of_it_is_killed(tmp_path):
    needs(PROGRAM)
    async with in_front("nginx", {}, tmp_path) as proxy:
        pids = [*proxy._running.pids, *proxy.workers()]
    await wait_until(lambda: not any(map(is_alive, pids)), "the end of nginx")


async def test_what_nginx_refuses_is_said(tmp_path):
    needs(PROGRAM)
    async with in_front("nginx", {}, tmp_path) as proxy:
        with pytest.raises(ProxyError, match=r"nginx ended with status 1: .*too long parameter"):
            await proxy.reload({"server": {"via": "x" * 5000}})
        with pytest.raises(ProxyError, match=r"expected .*round-robin"):
            await proxy.reload({"pools": {"backend": {"balance": "nothing"}}})
