"""A run from beginning to end, with real processes."""

import os
import signal
from random import Random

import attrs
import pytest
import trio
from support.waiting import wait_until

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.faults import FAULTS, Fault
from trioproxy.chaos.hop import Hop
from trioproxy.chaos.load import Load
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.proxies import ProxyError, Trioproxy
from trioproxy.chaos.records import End, Sample, Tunnel
from trioproxy.chaos.runner import _sample, counted_by_clients, is_harmed, run
from trioproxy.chaos.scenario import LoadConfig, Scenario, UpstreamsConfig
from trioproxy.chaos.scenario_file import load_scenario
from trioproxy.chaos.servers import Server, ServerError, listens
from trioproxy.remote import RemoteError

LOAD = LoadConfig(clients=4, ramp=0.2, rate=10.0)


async def run_it(scenario, folder):
    said, watched = [], []

    async def watch(load):
        try:
            await trio.sleep_forever()
        finally:
            watched.append((load.tunnels, load.now))

    proxy = Trioproxy(folder, scenario.proxy.settings)
    outcome = await run(scenario, proxy, seed=3, say=said.append, watch=watch)
    ((tunnels, until),) = watched
    assert tunnels is outcome.tunnels
    assert until >= scenario.duration
    assert not await listens(proxy.address)
    return outcome, said


async def test_a_run_without_faults_loses_nothing_and_the_proxy_says_the_same(tmp_path):
    outcome, said = await run_it(Scenario(duration=1.0, load=LOAD), tmp_path)
    expected = {"handshake_success": 1, "tunnels": 4, "lost_messages": 0, "disagreements": 0, "proxy_errors": 0}
    assert [str(verdict) for verdict in judge(expected, outcome) if not verdict.held] == []
    assert said == []
    assert len(outcome.comparisons) == 3
    assert {tunnel.upstream for tunnel in outcome.tunnels} == {0, 1}
    assert {sample.open_tunnels for sample in outcome.samples} <= set(range(5))


async def test_a_killed_upstream_harms_its_own_tunnels_alone(tmp_path):
    scenario = load_scenario("kill-one").stretched(0.15)
    outcome, said = await run_it(scenario, tmp_path)
    timeless = {name: wanted for name, wanted in scenario.expect.items() if "seconds" not in name}
    assert [str(verdict) for verdict in judge(timeless, outcome) if not verdict.held] == []
    (span,), (happened,) = outcome.spans, outcome.happened
    assert (happened.fault, happened.upstreams) == (span.fault, span.upstreams)
    assert span.begin <= happened.begin < span.end < happened.end  # its new process took a while
    harmed = [tunnel for tunnel in outcome.tunnels if tunnel.harmed]
    assert {tunnel.upstream for tunnel in harmed} == set(span.upstreams)
    assert all(tunnel.asked < happened.begin for tunnel in harmed)
    assert [words.split("  ")[-1] for words in said] == [
        f"kill {what}: upstream {span.upstreams[0]}" for what in ("begins", "is over")
    ]


async def test_servers_that_run_already(tmp_path):
    server = Server(0)
    await server.start()
    try:
        upstreams = UpstreamsConfig(addresses=("{}:{}".format(*server.target),))
        drawn = []

        @attrs.frozen(kw_only=True, eq=False)
        class Draws(Fault):
            name = "draws"

            async def begin(self, stage, upstreams):
                drawn.append(stage.random.random())

        scenario = Scenario(duration=0.5, load=LOAD, upstreams=upstreams, faults=(Draws(), Draws()))
        outcome, _ = await run_it(scenario, tmp_path)
        assert MEASURES["handshake_success"].of(outcome) == 1
        assert set(drawn) == {Random(f"3 stage {number}").random() for number in range(2)}  # whichever came first
        assert await listens(server.target)
    finally:
        server.close()


async def test_a_proxy_that_crashes_is_what_came_of_the_run(tmp_path):
    proxy = Trioproxy(tmp_path, {})

    async def strike(load):
        await wait_until(lambda: any(tunnel.echoed for tunnel in load.tunnels), "the first echo")
        os.kill(proxy.pid, signal.SIGKILL)

    outcome = await run(Scenario(duration=0.5, load=LOAD), proxy, seed=3, say=lambda _: None, watch=strike)
    held = {verdict.name: verdict.held for verdict in judge({"disagreements": 0, "proxy_errors": 0}, outcome)}
    assert held == {"disagreements": False, "proxy_errors": False}
    assert (outcome.exit_status, outcome.comparisons) == (signal.SIGKILL, [])


async def test_what_cannot_be_done_ends_the_run_and_everything_in_it(tmp_path):
    workers = Scenario(duration=5.0, load=LOAD, faults=(FAULTS["worker-kill"](at=0.1),))
    with pytest.RaisesGroup(pytest.RaisesExc(ProxyError, match="no worker processes"), flatten_subgroups=True):
        await run_it(workers, tmp_path)
    nothing = Scenario(upstreams=UpstreamsConfig(addresses=("127.0.0.1:1",)))
    with pytest.RaisesGroup(pytest.RaisesExc(ServerError, match="nothing listens there"), flatten_subgroups=True):
        await run_it(nothing, tmp_path)


async def test_what_the_proxy_says_meanwhile_is_noted_where_it_says_anything(autojump_clock):
    answers = iter([{"open_tunnels": 3}, RemoteError("away"), {}, {"open_tunnels": 5, "tunnels": 9}])

    class Proxy:
        async def counts(self):
            answer = next(answers)
            if isinstance(answer, RemoteError):
                raise answer
            return answer

    load, samples = Load(LOAD, "", 0, seed=1, duration=9.0), []
    with trio.move_on_after(3.5):
        await _sample(Proxy(), load, samples)
    assert samples == [Sample(0.0, 3), Sample(3.0, 5)]


def test_harmed_is_a_tunnel_where_it_goes_and_not_where_it_was_tried_before():
    hops = Hop(0, ("", 1)), Hop(1, ("", 2))
    hops[1].harmed.add("0-0")
    for upstream, harmed in ((0, False), (1, True), (None, True), (7, True)):
        assert is_harmed(Tunnel("0-0", 0, 0.0, upstream=upstream), hops) is harmed
    assert not is_harmed(Tunnel("0-1", 0, 0.0, upstream=1), hops)


def test_where_no_hop_can_read_a_name_a_fault_may_have_touched_any_tunnel():
    hops = Hop(0, ("", 1)), Hop(1, ("", 2))
    assert not is_harmed(Tunnel("0-0", 0, 0.0), hops)
    hops[1].harmed.add("")
    assert is_harmed(Tunnel("0-0", 0, 0.0), hops)
    for upstream in (0, 1):  # its head could be read, so the fault was on another: a probe, say
        assert not is_harmed(Tunnel("0-0", 0, 0.0, upstream=upstream), hops)


def test_what_was_on_its_way_where_a_tunnel_was_cut_may_have_been_counted_or_not():
    tunnels = [
        Tunnel("0-0", 0, 0.0, opened=0.1, end=End.CLIENT, sent=5, echoed=4, corrupted=1),
        Tunnel("1-0", 1, 0.0, opened=0.1, end=End.CUT, sent=7, echoed=5, duplicated=1),
        Tunnel("2-0", 2, 0.0, failure="status 503"),
        Tunnel("3-0", 3, 0.0, failure="timeout"),
    ]
    assert counted_by_clients(tunnels) == {
        "tunnels": (2, 3),
        "messages_to_upstream": (10, 12),
        "messages_to_client": (11, 13),
    }
