"""One reload from a file: what it comes to, who is told, and that whatever goes wrong changes nothing."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from support.http_client import get
from support.serving import descriptors, talk_both
from support.settings import settings, toml
from support.upstream import scripted_upstream
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config_file import load_config
from trioproxy.logs import Log
from trioproxy.reloader import Reloader, Result
from trioproxy.server import serve

if TYPE_CHECKING:
    from pathlib import Path


@attrs.define(eq=False)
class Run:
    """A proxy that was started from a file."""

    file: Path
    upstream: str
    log: Log
    proxy: object
    reloader: Reloader

    async def reload(self, **tables):
        self.file.write_text(toml(self.tables(**tables)))
        return await self.reloader.reload()

    def tables(self, *upstreams, **more):
        return settings([self.upstream, *upstreams], **{"admin": {"address": ""}, **more})

    @property
    def said(self):
        return [
            {key: value for key, value in event.items() if key in {"level", "result", "reason", "tunnels_closing"}}
            for event in self.log.events
            if event["event"] == "reload"
        ]

    def gauge(self, metric):
        return self.proxy.context.metrics.value(metric)

    async def serves(self, path, status=200):
        assert (await get(self.proxy.listeners[0].address, path)).status == status


@asynccontextmanager
async def running(folder, *, log=None, **tables):
    async with scripted_upstream(talk_both) as upstream:
        run = Run(folder / "config.toml", upstream.address, log or Log.memory(), None, None)
        run.file.write_text(toml(run.tables(**tables)))
        async with serve(load_config(run.file), log=run.log) as run.proxy:
            run.reloader = Reloader(str(run.file), run.log, run.proxy)
            yield run


async def test_a_good_file_comes_into_force(tmp_path):
    async with running(tmp_path) as run:
        since = run.gauge(m.CONFIG_LAST_RELOAD_SUCCESS)
        assert since > 1e9 and run.gauge(m.CONFIG_LAST_RELOAD_SUCCESSFUL) == 1
        assert await run.reload(route={"path": "/new"}) is Result.APPLIED
        await run.serves("/new")
        await run.serves("/", 404)
        assert run.said == [{"level": "info", "result": "applied", "tunnels_closing": 0}]
        assert run.gauge(m.CONFIG_LAST_RELOAD_SUCCESS) >= since


@pytest.mark.parametrize(
    ("tables", "result", "reasons"),
    [
        (
            {"limits": {"max_connections": 0}, "oops": {"a": 1}},
            Result.INVALID,
            ["max_connections: expected", "oops: expected a key"],
        ),
        ({"admin": {"address": "127.0.0.1:0"}}, Result.REFUSED, ['admin.address: takes a restart: "" is in force']),
    ],
)
async def test_what_cannot_be_done_changes_nothing_and_is_told_problem_by_problem(tmp_path, tables, result, reasons):
    async with running(tmp_path) as run:
        before = descriptors()
        assert await run.reload(route={"path": "/new"}, **tables) is result
        assert descriptors() == before
        await run.serves("/")
        assert [(each["level"], each["result"]) for each in run.said] == [("error", result)] * len(reasons)
        said = [each["reason"] for each in run.said]
        assert [reason in each for reason, each in zip(reasons, said, strict=True)] == [True] * len(reasons), said
        assert run.gauge(m.CONFIG_LAST_RELOAD_SUCCESSFUL) == 0
        assert run.proxy.context.metrics.value(m.CONFIG_RELOADS, (result,)) == 1
        assert await run.reload() is Result.APPLIED
        assert run.gauge(m.CONFIG_LAST_RELOAD_SUCCESSFUL) == 1


async def test_a_file_that_is_gone_is_a_problem_like_any_other(tmp_path):
    async with running(tmp_path) as run:
        run.file.unlink()
        assert await run.reloader.reload() is Result.INVALID
        assert "cannot be read" in run.said[0]["reason"]


async def test_where_the_proxy_refuses_the_log_stays_as_it_is(tmp_path):
    log = Log.open(load_from(tmp_path, {"file": str(tmp_path / "log")}))
    async with running(tmp_path, log=log) as run:
        before = descriptors()
        result = await run.reload(admin={"address": "127.0.0.1:0"}, log={"file": str(tmp_path / "other")})
        assert result is Result.REFUSED
        assert descriptors() == before
    log.close()
    assert "takes a restart" in (tmp_path / "log").read_text()


async def test_a_log_that_cannot_be_opened_refuses_the_reload(tmp_path):
    log = Log.open(load_from(tmp_path, {"file": str(tmp_path / "log")}))
    async with running(tmp_path, log=log) as run:
        assert await run.reload(log={"file": str(tmp_path / "nowhere" / "log")}) is Result.REFUSED
    log.close()
    assert "log.file: cannot be opened: No such file" in (tmp_path / "log").read_text()


async def test_the_log_goes_where_the_file_says(tmp_path):
    log = Log.open(load_from(tmp_path, {"file": str(tmp_path / "log")}))
    async with running(tmp_path, log=log) as run:
        assert await run.reload(log={"file": str(tmp_path / "other")}) is Result.APPLIED
    log.close()
    assert "result=applied" in (tmp_path / "other").read_text()


def load_from(folder, log):
    path = folder / "log.toml"
    path.write_text(toml(settings(["127.0.0.1:1"], log=log)))
    return load_config(path).log


async def test_a_bug_is_told_with_its_traceback_and_the_next_reload_goes_on(tmp_path):
    async with running(tmp_path) as run:
        run.reloader.path = None  # no path at all
        assert await run.reloader.reload() is Result.FAILED
        (event,) = (event for event in run.log.events if event["event"] == "reload")
        assert "TypeError" in event["exception"]
        assert run.gauge(m.CONFIG_LAST_RELOAD_SUCCESSFUL) == 0
        run.reloader.path = str(run.file)
        assert await run.reloader.reload() is Result.APPLIED


async def test_cancelled_it_changes_nothing(tmp_path):
    probed = trio.Event()

    async def silent(http):
        probed.set()
        await http.rest()

    async with running(tmp_path) as run, scripted_upstream(silent) as new:
        before = descriptors()
        health = {"probe": "http", "timeout": 600, "interval": 600}
        run.file.write_text(toml(run.tables(new.address, health=health)))
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as reloading:
                reloading.start_soon(run.reloader.reload)
                await probed.wait()
                scope.cancel()
        await wait_all_tasks_blocked()
        assert run.said == []
        assert len(run.proxy.context.pools["backend"].upstreams) == 1
        new.close()
        await wait_all_tasks_blocked()
        assert len(descriptors()) <= len(before)
