"""Faults of the upstreams' processes, with processes."""

import signal
from pathlib import Path

import pytest
import trio
from support.waiting import wait_until

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.hop import Hop
from trioproxy.chaos.processes import is_alive
from trioproxy.chaos.runner import Stage
from trioproxy.chaos.servers import Server, listens


@pytest.fixture
async def stage():
    servers = [Server(number) for number in range(2)]
    async with trio.open_nursery() as nursery:
        for server in servers:
            nursery.start_soon(server.start)
    yield Stage([Hop(number, server.target) for number, server in enumerate(servers)], servers, None, None)
    for server in servers:
        server.close()


async def listening(stage):
    return [await listens(server.target) for server in stage.servers]


@pytest.mark.parametrize("name", ["kill", "terminate"])
async def test_one_that_is_ended_is_started_again_when_it_is_over(stage, name):
    fault = FAULTS[name]()
    await fault.begin(stage, [1])
    await stage.servers[1].ended()
    assert await listening(stage) == [True, False]
    await fault.end(stage, [1])
    assert await listening(stage) == [True, True]


async def test_one_that_is_stopped_goes_on_when_it_is_over(stage):
    def state(server):
        return Path(f"/proc/{server._process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    fault = FAULTS["stop"]()
    await fault.begin(stage, [0])
    await wait_until(lambda: state(stage.servers[0]) == "T", "a stopped process")
    await fault.end(stage, [0])
    await wait_until(lambda: state(stage.servers[0]) != "T", "a process that goes on")


async def test_a_restart_is_over_when_it_listens_again(stage):
    before = [server._process.pid for server in stage.servers]
    await FAULTS["restart"]().begin(stage, [0])
    after = [server._process.pid for server in stage.servers]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)
    assert await listening(stage) == [True, True]


async def test_a_rolling_restart_takes_one_after_the_other(stage, monkeypatch):
    began, send = [], Server.signal

    def noted(server, number):
        if number == signal.SIGTERM:
            began.append((server.number, [is_alive(other._process.pid) for other in stage.servers]))
        send(server, number)

    monkeypatch.setattr(Server, "signal", noted)
    await FAULTS["rolling-restart"](pause=0.0).begin(stage, [0, 1])
    assert began == [(0, [True, True]), (1, [True, True])]
    assert await listening(stage) == [True, True]
