"""Several workers as one proxy, inside the test's own Trio run: the workers are real processes.

What operators and clients see of it is in end_to_end/test_workers.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, websocket
from support.http_client import get
from support.serving import POOL, descriptors, make_config, talk_both, unix_upstream
from support.waiting import wait_until

from trioproxy import metrics as m
from trioproxy import supervisor
from trioproxy.config import AdminConfig, DrainConfig, LogConfig, RouteConfig, ServerConfig
from trioproxy.logs import Log
from trioproxy.reloading import ReloadError
from trioproxy.shared_board import worker_row
from trioproxy.slots import Slot
from trioproxy.supervisor import WorkersError, supervise, worker_count
from trioproxy.transport import ListenError

SERVER = ServerConfig(workers=2, drain=DrainConfig(spread=0, timeout=5))
QUIET = LogConfig(level="error")


def config_of(folder, *upstreams, listeners=("127.0.0.1:0",), **settings):
    tables = {"server": SERVER, "admin": AdminConfig(address="127.0.0.1:0"), "log": QUIET, **settings}
    return make_config(*(upstreams or (f"unix:{folder / 'up'}",)), listeners=listeners, **tables)


@asynccontextmanager
async def supervising(folder, **settings):
    gc.collect()
    before = descriptors()
    log = Log.memory()
    async with unix_upstream(folder / "up", talk_both), supervise(config_of(folder, **settings), log=log) as run:
        yield run
    assert all(slot.process.returncode is not None for slot in run.slots)
    gc.collect()
    assert {name for name in descriptors() - before if "board" not in name} == set()


async def status(run):
    return (await get(run.admin_address, "/api/status")).body


def address_of(run):
    return run.listeners[0].address


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


async def wait_for_status(run, wanted):
    """Until ten answers in a row are the same: both workers are asked, as good as certainly."""

    async def look():
        return [(await get(address_of(run))).status for _ in range(10)] == [wanted] * 10

    await wait_until(look, f"status {wanted}")


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


async def reloaded(run, config):
    return (await run.prepare(config)).commit()


async def test_a_reload_comes_into_force_in_all_workers(tmp_path):
    async with supervising(tmp_path) as run:
        before = run.listeners[0]
        async with websocket(before.address) as tunnel:
            kept = {"listeners": (before.config.address, f"unix:{tmp_path / 'new'}", "127.0.0.1:0")}
            routes = (RouteConfig(name="all", path="/a", pool=POOL),)
            config = config_of(tmp_path, **kept, routes=routes)
            config = attrs.evolve(config, pools={**config.pools, "more": attrs.evolve(config.pools[POOL], name="more")})
            prepared = await run.prepare(config)
            assert prepared.commit() + await prepared.lost_elsewhere() == 1
            assert [listener.config.name for listener in run.listeners] == ["l0", "l1", "l2"]
            assert run.context.pools["more"].ready
            await wait_until(lambda: served_on(run, "/a"), "the new path on all listeners")
            assert (await get(before.address, "/b")).status == 404
            # The tunnel's route is no more.
            assert (await tunnel.receive()).close_code == 1012
            await tunnel.send(CLOSE, close_payload(1012))
        await reloaded(run, config_of(tmp_path))  # port 0 goes on where it was
        await wait_until(lambda: not (tmp_path / "new").exists(), "the file's end")
        assert run.listeners == [before]
        await wait_for_status(run, 200)


async def served_on(run, path):
    return all([(await get(listener.address, path)).status == 200 for listener in run.listeners for _ in range(5)])


async def test_one_refusal_keeps_the_old_configuration_everywhere(tmp_path):
    async with supervising(tmp_path) as run:
        old = run.context.config
        with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ReloadError, match="in use"):
            await run.prepare(config_of(tmp_path, listeners=("127.0.0.1:0", f"127.0.0.1:{other.getsockname()[1]}")))
        # What only a worker refuses: its log cannot be opened.
        broken = LogConfig(file=str(tmp_path / "no" / "log"))
        with pytest.raises(ReloadError, match=r"log\.file"):
            await run.prepare(config_of(tmp_path, listeners=("127.0.0.1:0", "127.0.0.1:0"), log=broken))
        assert run.context.config is old and len(run.listeners) == 1
        await wait_for_status(run, 200)
        await reloaded(run, config_of(tmp_path))


async def test_a_worker_that_does_not_answer_refuses_a_reload(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "PREPARE_SECONDS", 0.1)
    async with supervising(tmp_path) as run:
        os.kill(run.slots[1].process.pid, signal.SIGSTOP)
        with pytest.raises(ReloadError, match="worker 1 has not answered"):
            await run.prepare(config_of(tmp_path))


async def test_a_worker_that_came_up_with_the_old_configuration_is_started_anew(tmp_path):
    async with supervising(tmp_path) as run:
        prepared = await run.prepare(config_of(tmp_path))
        run.slots[1].prepared = False  # as if it had died meanwhile, and was back
        prepared.commit()
        await wait_until(lambda: run.slots[1].restarts == 1 and run.slots[1].serving, "a new worker")
        assert run.context.metrics.value(m.WORKER_RESTARTS, ("reload",)) == 1


async def test_a_drain_wins_over_a_reload(tmp_path):
    async with supervising(tmp_path) as run:
        old = run.context.config
        prepared = await run.prepare(config_of(tmp_path, listeners=("127.0.0.1:0", "127.0.0.1:0")))
        run.context.lame_duck = True
        assert prepared.commit() == 0
        assert run.context.config is old and len(run.listeners) == 1


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
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(served, run)
            await trio.sleep(0.05)  # they are in the queues
            await run.drain()


async def served(run):
    assert (await get(address_of(run))).status == 200


async def test_the_log_is_opened_anew_everywhere(tmp_path):
    path = tmp_path / "log"
    async with supervising(tmp_path, log=LogConfig(file=str(path))) as run:
        path.rename(tmp_path / "old")
        run.reopen_log()
        await wait_until(path.exists, "a new file")
