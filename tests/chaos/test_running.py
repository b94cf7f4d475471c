"""A proxy that runs already, and goes on running."""

import subprocess
import sys

import attrs
import pytest
import trio
from support.ports import free_address
from support.rivals import needs
from support.waiting import wait_until

from trioproxy.chaos.command import ChaosError, carry_out
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.peers.nginx import PROGRAM, nginx_config
from trioproxy.chaos.peers.settings import understood
from trioproxy.chaos.proxies import ProxyError, as_toml, base_settings
from trioproxy.chaos.running import RunningProxy
from trioproxy.chaos.scenario import LoadConfig, ProxyConfig, Scenario, UpstreamsConfig
from trioproxy.chaos.servers import listens
from trioproxy.remote import Remote, RemoteError


def split(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


@attrs.frozen
class Site:
    """A trioproxy that was started by somebody else, and the addresses that its configuration names."""

    address: str
    admin: str
    hops: tuple[str, ...]
    process: subprocess.Popen

    def scenario(self, *faults, **proxy):
        return Scenario(
            duration=1.5,
            upstreams=UpstreamsConfig(hops=self.hops),
            proxy=ProxyConfig(address=self.address, admin=self.admin, **proxy),
            load=LoadConfig(clients=4, ramp=0.1, rate=10.0),
            faults=faults,
            expect={"handshake_success": 1, "lost_messages_on_unharmed_tunnels": 0, "disagreements": 0},
        )


@pytest.fixture
def site(tmp_path):
    address, admin, *hops = [free_address() for _ in range(4)]
    settings = base_settings(address, admin, hops)
    settings["admin"]["token_file"] = str(tmp_path / "token")
    settings["pools"]["backend"]["health"]["interval"] = settings["pools"]["backend"]["health"]["timeout"] = 0.3
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "config.toml").write_text(as_toml(settings))
    words = [sys.executable, "-m", "trioproxy", "run", "-c", str(tmp_path / "config.toml")]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, stderr=log)
    yield Site(address, admin, tuple(hops), process)
    process.kill()
    process.wait()


@pytest.fixture
def serving(site):
    trio.run(wait_until, lambda: listens(split(site.address)), "a proxy that serves")
    return site


def test_a_scenario_against_it_counts_what_comes_with_the_run_alone_and_leaves_it_running(serving, tmp_path):
    token = str(tmp_path / "token")
    reset = FAULTS["reset"](upstreams=(0,), at=0.5, lasts=0.01)
    drain = FAULTS["drain-upstream"](upstreams=(1,), at=0.8, lasts=0.4)
    for _ in range(2):  # the second time it has counted before
        result = carry_out(serving.scenario(reset, drain, token_file=token), seed=1, say=print)
        assert [str(verdict) for verdict in result.verdicts if not verdict.held] == []
        assert len(result.outcome.comparisons) == 3
        assert any(tunnel.harmed for tunnel in result.outcome.tunnels)
        assert result.outcome.exit_status is None
    assert serving.process.poll() is None
    assert trio.run(listens, split(serving.address))


def test_without_hops_it_is_load_alone(serving, tmp_path):
    scenario = attrs.evolve(
        serving.scenario(token_file=str(tmp_path / "token")), upstreams=UpstreamsConfig(), duration=0.3
    )
    outcome = carry_out(scenario, seed=1, say=print).outcome
    assert MEASURES["handshakes_failed"].of(outcome) == len(outcome.tunnels) > 0  # its upstreams are not there
    assert outcome.upstreams == 0


def test_what_is_wrong_with_it_is_said(serving, tmp_path):
    token = str(tmp_path / "token")
    nobody = free_address()
    for scenario, words in (
        (serving.scenario(token_file=str(tmp_path / "none")), "none: No such file"),
        (serving.scenario(), "token"),
        (
            attrs.evolve(serving.scenario(token_file=token), upstreams=UpstreamsConfig(hops=(nobody,))),
            f"has no upstream {nobody}",
        ),
        (
            attrs.evolve(serving.scenario(), proxy=ProxyConfig(address=nobody)),
            f"nothing listens at proxy.address {nobody}",
        ),
        (
            attrs.evolve(serving.scenario(), upstreams=UpstreamsConfig(hops=(serving.address,))),
            f"the hop of upstream 0: {serving.address}: Address already in use",
        ),
    ):
        with pytest.raises(ChaosError, match=words):
            carry_out(scenario, seed=1, say=print)


async def test_upstreams_that_it_does_not_find_are_told(site, monkeypatch, tmp_path):
    monkeypatch.setattr("trioproxy.chaos.running.FIND_SECONDS", 0.1)
    await wait_until(lambda: listens(split(site.address)), "a proxy that serves")
    proxy = RunningProxy(split(site.address), Remote(site.admin, b"secret"))
    with pytest.raises(ProxyError, match=f"has not found {site.hops[0]}, {site.hops[1]} up"):
        await proxy.start(site.hops)
    with pytest.raises(RemoteError):
        await RunningProxy(split(site.address), Remote(site.admin, b"wrong")).start(site.hops)
    with pytest.raises(ProxyError, match="opens no tunnel at /"):
        await RunningProxy(split(site.address)).start(site.hops)


async def test_it_is_commanded_only_as_far_as_its_admin_goes():
    proxy = RunningProxy(("127.0.0.1", 1))
    for command in (
        lambda: proxy.drain_upstream(0),
        lambda: proxy.resume_upstream(0),
        lambda: proxy.inject(0, "close", {"share": 1}),
        proxy.stop_injecting,
        lambda: proxy.reload({}),
        proxy.replace,
    ):
        with pytest.raises(ProxyError, match="was not started here"):
            await command()
    for command in (proxy.workers, lambda: proxy.ports(1), lambda: proxy.limit_descriptors(1)):
        with pytest.raises(ProxyError, match="was not started here"):
            command()
    assert (await proxy.counts(), await proxy.stop(), proxy.errors(), proxy.close()) == ({}, None, (), None)


def test_any_other_proxy_is_only_asked_for_tunnels(tmp_path):
    program = needs(PROGRAM)
    address, *hops = [free_address() for _ in range(3)]
    (tmp_path / "nginx.conf").write_text(nginx_config(understood(address, hops, {}), tmp_path) + "daemon off;")
    process = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    try:
        trio.run(wait_until, lambda: listens(split(address)), "nginx listens")
        scenario = Scenario(
            duration=1.0,
            upstreams=UpstreamsConfig(hops=tuple(hops)),
            proxy=ProxyConfig(address=address),
            load=LoadConfig(clients=4, ramp=0.1, rate=10.0),
            faults=(FAULTS["kill"](upstreams=(0,), at=0.5),),
            expect={"handshake_success": 1, "lost_messages_on_unharmed_tunnels": 0},
        )
        result = carry_out(scenario, seed=1, say=print)
        assert [str(verdict) for verdict in result.verdicts if not verdict.held] == []
        assert result.outcome.comparisons == []
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait()
