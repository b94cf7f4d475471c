"""Several workers as one proxy, inside the test's own Trio run: the workers are real processes.

What operators and clients see of it is in end_to_end/test_workers.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from contextlib import AsyncExitStack
from functools import partial

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, websocket
from support.http_client import connection, get, get_request
from support.serving import POOL, descriptors, make_config, talk_both, unix_upstream
from support.supervising import SERVER, address_of, config_of, supervising, wait_for_status
from support.waiting import wait_until

from trioproxy import metrics as m
from trioproxy import slots, supervisor
from trioproxy.config import DrainConfig, LogConfig, ServerConfig
from trioproxy.health import UpstreamState
from trioproxy.logs import Log
from trioproxy.shared_board import worker_row
from trioproxy.slots import Slot
from trioproxy.supervisor import WorkersError, supervise, worker_count
from trioproxy.transport import ListenError


def test_how_many_workers():
    assert worker_count(make_config(server=ServerConfig(workers=3))) == 3
    assert worker_count(make_config(server=ServerConfig(workers=0))) == len(os.sched_getaffinity(0))


async def test_other_systems_have_one_worker_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor.sys, "platform", "darwin")
    with pytest.raises(WorkersError, match="2: several workers need Linux"):
        async with supervise(config_of(tmp_path), log=Log.memory()):
            pytest.fail("the body must not begin")


async def test_the_body_begins_when_all_workers_accept(tmp_path):
    async with supervising(tmp_path) as run:
        assert all(slot.serving for slot in run.slots)
        assert (await get(address_of(run))).body == b"fine"
        assert (await get(run.admin_address, "/readyz")).status == 200
        names = [event["listener"] for event in run.context.log.events if event["event"] == "listening"]
        assert names == ["admin", "l0"]
        run.release(["unix:/unknown"])
        assert not run.control.live.ended
        run.release([run.context.config.admin.address])
        assert run.control.live.ended  # so that nobody who follows it keeps the address here


async def test_a_port_in_use_is_an_error_before_any_process_is_started(tmp_path):
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        config = config_of(tmp_path, listeners=(f"127.0.0.1:{other.getsockname()[1]}",))
        with pytest.raises(ListenError, match="in use"):
            async with supervise(config, log=Log.memory()):
                pytest.fail("the body must not begin")


async def test_workers_that_end_before_they_accept_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "Slot", partial(Slot, command=("/nowhere",)))
    before = descriptors()
    with pytest.raises(WorkersError):
        async with supervise(config_of(tmp_path), log=Log.memory()):
            pytest.fail("the body must not begin")
    gc.collect()
    assert {name for name in descriptors() - before if "board" not in name} == set()


async def test_what_the_body_raises_comes_out_as_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError):
        async with supervise(config_of(tmp_path), log=Log.memory()):
            raise ZeroDivisionError


async def test_health_reaches_the_workers_and_a_new_one(tmp_path):
    async with supervising(tmp_path) as run:
        (upstream,) = run.context.pools[POOL].upstreams
        for _ in range(3):  # `fall`
            upstream.observe(ok=False)
        await wait_for_status(run, 503)
        os.kill(run.slots[0].process.pid, signal.SIGKILL)
        await wait_until(lambda: run.slots[0].restarts == 1 and run.slots[0].serving, "a new worker")
        await wait_for_status(run, 503)
        for _ in range(2):  # `rise`
            upstream.observe(ok=True)
        await wait_for_status(run, 200)


async def test_many_upstreams_that_change_at_once_are_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "MOST_UNSENT", 10)
    async with supervising(tmp_path) as run:
        (upstream,) = run.context.pools[POOL].upstreams
        for number in range(50):
            upstream.learn(UpstreamState.DOWN if number % 2 else UpstreamState.UP)
            upstream.on_change(upstream)
        await wait_for_status(run, 503)
        assert [slot.restarts for slot in run.slots] == [0, 0]
        upstream.learn(UpstreamState.UP)
        upstream.on_change(upstream)
        await wait_for_status(run, 200)


async def test_a_worker_may_have_a_name_looked_up_again(tmp_path):
    async with supervising(tmp_path) as run:
        (upstream,) = run.context.pools[POOL].upstreams
        run.heard(run.slots[0], supervisor.Resolve(POOL, "other:1"))
        assert not upstream.resolve_wanted.is_set()
        run.heard(run.slots[0], supervisor.Resolve(POOL, upstream.address))
        assert upstream.resolve_wanted.is_set()


async def test_what_a_dead_worker_counted_stays_and_what_it_held_goes(tmp_path):
    async with supervising(tmp_path) as run:
        metrics = run.context.metrics
        for _ in range(20):
            await get(address_of(run))
        await wait_until(lambda: metrics.total(m.REQUESTS, code="200") == 20, "all counted")
        async with websocket(address_of(run)):
            await wait_until(lambda: run.context.open_tunnels.total == 1, "the tunnel")
            for slot in run.slots:
                os.kill(slot.process.pid, signal.SIGKILL)
            await wait_until(lambda: metrics.total(m.WORKER_RESTARTS) == 2, "both ends")
            assert metrics.total(m.REQUESTS, code="200") == 20
            assert run.context.open_tunnels.total == run.context.clients.total == metrics.total(m.TUNNELS_ACTIVE) == 0
            await wait_until(lambda: all(slot.serving for slot in run.slots), "both again")
        row = run.context.metrics.board.rows[worker_row(0)]
        assert (await get(address_of(run))).status == 200 and row is not None


async def test_commands_go_to_the_workers(tmp_path):
    async with supervising(tmp_path) as run, websocket(address_of(run)) as tunnel:
        await wait_until(lambda: run.context.open_tunnels.total == 1, "the tunnel")
        (row,) = (await run.control.tunnels(after="", limit=9, where={}))["tunnels"]
        await run.control.close_tunnel(row["id"], 1012)
        assert (await tunnel.receive()).close_code == 1012
        drained = await run.control.drain_upstream(
            POOL, run.context.config.pools[POOL].upstreams[0].address, spread=0, timeout=1
        )
        assert drained["state"] == "draining"
        await wait_for_status(run, 503)


async def test_a_drain_ends_all_workers(tmp_path):
    path = tmp_path / "public"
    async with supervising(tmp_path, listeners=(f"unix:{path}", "127.0.0.1:0")) as run:
        async with websocket(run.listeners[1].address) as tunnel, trio.open_nursery() as nursery:
            nursery.start_soon(run.drain)
            assert (await tunnel.receive()).close_code == 1001
            await tunnel.send(CLOSE, close_payload(1001))
        assert all(slot.over.is_set() for slot in run.slots)
        assert run.status.ready()[0] is False
        assert not await trio.Path(path).exists()


async def test_a_cut_ends_all_at_once(tmp_path):
    async with unix_upstream(tmp_path / "up", talk_both), AsyncExitStack() as stack:
        async with supervise(config_of(tmp_path), log=Log.memory()) as run:
            tunnel = await stack.enter_async_context(websocket(address_of(run)))
            run.cut()
            await trio.sleep_forever()  # the body is cut, too
        assert all(slot.process.returncode == 0 for slot in run.slots)
        with pytest.raises((ConnectionError, trio.BrokenResourceError)):
            await tunnel.receive()


async def test_a_drain_does_not_wait_for_ever_for_a_worker_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "DRAIN_MARGIN", 0.2)
    server = attrs.evolve(SERVER, drain=DrainConfig(lame_duck=0.1, spread=0, timeout=0.2))
    async with supervising(tmp_path, server=server) as run:
        os.kill(run.slots[1].process.pid, signal.SIGSTOP)
        await run.drain()
        assert run.slots[1].process.returncode == -signal.SIGKILL


async def test_what_waits_for_a_worker_that_is_gone_is_served_in_a_drain(tmp_path):
    async with supervising(tmp_path) as run:
        victim = run.slots[0]
        os.kill(victim.process.pid, signal.SIGKILL)
        await wait_until(lambda: not victim.serving, "its end")
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connection(address_of(run))) for _ in range(10)]  # in the queues
            for http in clients:
                await http.send(get_request())
            await run.drain()
            assert [(await http.answer()).status for http in clients] == [200] * 10


async def test_the_log_is_opened_anew_everywhere(tmp_path):
    path = tmp_path / "log"
    async with supervising(tmp_path, log=LogConfig(file=str(path))) as run:
        path.rename(tmp_path / "old")
        run.reopen_log()
        await wait_until(path.exists, "a new file")
