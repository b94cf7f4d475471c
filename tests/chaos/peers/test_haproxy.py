"""HAProxy under test: what it is told, and what it does."""

import subprocess

import pytest
from support.rivals import BARE, RICH, SETTINGS, UPSTREAMS, in_front, leads_to, needs, rough_times, upstreams_of

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.peers.haproxy import NO_STATE, PROGRAM, haproxy_config, haproxy_remarks
from trioproxy.chaos.peers.settings import understood
from trioproxy.chaos.processes import is_alive
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.servers import listens


def written(settings, folder):
    return haproxy_config(understood("127.0.0.1:3000", UPSTREAMS, settings), folder)


@pytest.mark.parametrize("name", SETTINGS)
def test_haproxy_takes_what_is_written(name, tmp_path):
    (tmp_path / "haproxy.cfg").write_text(written(SETTINGS[name], tmp_path))
    (tmp_path / "servers.state").write_text(NO_STATE)
    words = [needs(PROGRAM), "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_what_a_scenario_asks_stands_in_haproxy_s_words(tmp_path):
    text = written(RICH, tmp_path)
    for words in (
        "nbthread 2",
        "maxconn 500",
        "hard-stop-after 7500ms",
        "close-spread-time 2500ms",
        "retries 2",
        "retry-on conn-failure empty-response 500 502 503 504",
        "timeout tunnel 600000ms",
        "balance leastconn",
        'http-check send meth GET uri /up ver HTTP/1.1 hdr Host "backend" hdr X-Probe "yes"',
        "http-check expect status 200,204",
        "check inter 1500ms fall 2 rise 1",
        "on-marked-down shutdown-sessions observe layer7 error-limit 3 on-error mark-down slowstart 2000ms",
        "server s1 127.0.0.1:3002",
    ):
        assert words in text
    assert "Via" not in text
    assert "http-check expect status 101" in written({}, tmp_path)
    bare = written(BARE, tmp_path)
    assert "retry-on none" in bare
    assert "default-server" not in bare


def test_what_haproxy_does_not_do_is_told():
    (pings,) = haproxy_remarks({"websocket": {"ping_interval": 1}, "pools": {"backend": {"health": {"interval": 1}}}})
    assert pings.startswith("websocket.ping_interval: sends no pings")


async def test_haproxy_in_rough_times(tmp_path):
    needs(PROGRAM)
    outcome = await rough_times("haproxy", tmp_path)
    expected = {"handshake_success": 1, "lost_messages_on_unharmed_tunnels": 0, "proxy_errors": 0}
    assert [str(verdict) for verdict in judge(expected, outcome) if not verdict.held] == []


async def test_it_counts_tunnels_and_is_replaced_by_itself(tmp_path):
    needs(PROGRAM)
    async with in_front("haproxy", {}, tmp_path) as proxy:
        opened = await leads_to(proxy, 0, 1)
        assert (await proxy.counts())["tunnels"] == opened
        with pytest.raises(ProxyError, match="threads of one process"):
            proxy.workers()
        with pytest.raises(ProxyError, match="threads of one process"):
            proxy.ports(1)
        proxy.limit_descriptors(0)
        proxy.limit_descriptors(None)
        await proxy.drain_upstream(0)
        assert await upstreams_of(proxy) == {1}
        await proxy.replace()
        assert await upstreams_of(proxy) == {1}
        await proxy.resume_upstream(0)
        await leads_to(proxy, 0, 1)
        assert await proxy.counts() == {}
        (master,) = proxy._running.pids
        assert (await proxy.stop(), proxy.errors()) == (0, [])
        assert not is_alive(master)
        assert not await listens(proxy.address)
        with pytest.raises(ProxyError, match="runtime socket"):
            await proxy.drain_upstream(0)
