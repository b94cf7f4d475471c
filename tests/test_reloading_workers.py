"""A reload of several workers, which are real processes: all of it everywhere, or nothing anywhere."""

from __future__ import annotations

import os
import signal
import socket

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, websocket
from support.http_client import get
from support.serving import POOL
from support.supervising import config_of, supervising, wait_for_status
from support.waiting import wait_until

from trioproxy import metrics as m
from trioproxy import reloading_workers, slots
from trioproxy.config import LogConfig, RouteConfig
from trioproxy.reloading import ReloadError


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
    monkeypatch.setattr(reloading_workers, "PREPARE_SECONDS", 0.1)
    async with supervising(tmp_path) as run:
        os.kill(run.slots[1].process.pid, signal.SIGSTOP)
        with pytest.raises(ReloadError, match="worker 1 has not answered"):
            await run.prepare(config_of(tmp_path))


async def test_a_worker_that_comes_up_while_others_prepare_is_asked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(slots, "MISSED_BEATS", 1000)
    async with supervising(tmp_path) as run:
        slow, killed = run.slots
        os.kill(slow.process.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                reloaded, run, config_of(tmp_path, routes=(RouteConfig(name="all", path="/a", pool=POOL),))
            )
            await wait_until(lambda: killed.prepared, "the first answer")
            os.kill(killed.process.pid, signal.SIGKILL)
            await wait_until(lambda: killed.restarts and killed.serving, "another one")
            os.kill(slow.process.pid, signal.SIGCONT)
        await wait_until(lambda: served_on(run, "/a"), "the new path everywhere")
        assert (slow.restarts, killed.restarts) == (0, 1)
        assert run.context.metrics.value(m.WORKER_RESTARTS, ("reload",)) == 0


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
