"""A new configuration for a proxy that runs: what stays, what comes, what goes, and that half of it is never seen."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, websocket
from support.http_client import connection, get, get_request
from support.serving import POOL, descriptors, make_config, talk_both, unix_upstream
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import AdminConfig, DrainConfig, PoolConfig, RouteConfig, ServerConfig, UpstreamConfig
from trioproxy.logs import Log
from trioproxy.reloading import ReloadError
from trioproxy.server import serve

NOW = DrainConfig(spread=0, timeout=7)


@attrs.define(eq=False)
class Reloads:
    """A running proxy before one upstream, all on Unix sockets of one folder."""

    folder: object
    proxy: object
    upstream: str

    @property
    def address(self):
        return self.proxy.listeners[0].address

    def config(self, *upstreams, listeners=("public",), **settings):
        paths = tuple(f"unix:{self.folder / name}" for name in listeners)
        return make_config(*(upstreams or [self.upstream]), listeners=paths, **{"drain": NOW, **settings})

    async def reload(self, *upstreams, **settings):
        return (await self.proxy.prepare(self.config(*upstreams, **settings))).commit()


@asynccontextmanager
async def reloads(folder, **settings):
    async with unix_upstream(folder / "up", talk_both) as upstream:
        made = Reloads(folder, None, upstream)
        async with serve(made.config(**settings), log=Log.memory()) as made.proxy:
            yield made


async def told(tunnel, code=1012):
    assert (await tunnel.receive()).close_code == code
    await tunnel.send(CLOSE, close_payload(code))
    assert await tunnel.http.at_end()


async def test_a_configuration_that_says_the_same_changes_nothing(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, websocket(run.address) as tunnel:
        assert await tunnel.echo(b"before") == b"before"
        upstreams = run.proxy.context.pools[POOL].upstreams.copy()
        listeners = run.proxy.listeners.copy()
        assert await run.reload() == 0
        assert run.proxy.context.pools[POOL].upstreams == upstreams
        assert run.proxy.listeners == listeners
        assert await tunnel.echo(b"after") == b"after"


async def test_what_is_prepared_does_not_show_until_it_is_committed(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        before = descriptors()
        prepared = await run.proxy.prepare(run.config(run.upstream, more, listeners=("public", "new")))
        assert len(run.proxy.context.pools[POOL].upstreams) == len(run.proxy.listeners) == 1
        prepared.abandon()
        await wait_all_tasks_blocked()
        assert descriptors() == before
        assert not (tmp_path / "new").exists()
        assert len(run.proxy.context.pools[POOL].upstreams) == len(run.proxy.listeners) == 1


async def test_a_new_listener_and_a_new_upstream_serve_at_once(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        await run.reload(run.upstream, more, listeners=("public", "new"))
        async with AsyncExitStack() as stack:
            for listener in run.proxy.listeners:
                await stack.enter_async_context(websocket(listener.address))
            await wait_all_tasks_blocked()
            assert [upstream.active for upstream in run.proxy.context.pools[POOL].upstreams] == [1, 1]


async def test_a_listener_that_cannot_be_bound_refuses_the_reload(tmp_path, autojump_clock):
    (tmp_path / "taken").write_text("no socket")
    async with reloads(tmp_path) as run:
        before = descriptors()
        with pytest.raises(ReloadError, match=r"listener l1: cannot listen on unix:.*taken: Address already in use"):
            await run.reload(listeners=("public", "taken"))
        assert descriptors() == before
        assert (await get(run.address)).status == 200


async def test_what_takes_a_restart_refuses_the_reload(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        with pytest.raises(ReloadError) as caught:
            await run.reload(server=ServerConfig(workers=2), admin=AdminConfig())
        assert [problem.partition(":")[0] for problem in caught.value.problems] == ["server.workers", "admin.address"]


@pytest.mark.parametrize("broken", ["listener", "route", "pool", "upstream"])
async def test_a_tunnel_whose_chain_is_broken_is_told_to_come_back(tmp_path, autojump_clock, broken):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        settings = {
            "listener": {"listeners": ("new",)},
            "route": {"routes": (RouteConfig(name="all", path="/other", pool=POOL),)},
            "pool": {
                "routes": (RouteConfig(name="all", path="/", pool="other"),),
                "pools": {"other": PoolConfig(name="other", upstreams=(UpstreamConfig(address=run.upstream),))},
            },
            "upstream": {},
        }[broken]
        async with websocket(run.address) as tunnel:
            await wait_all_tasks_blocked()
            assert await run.reload(*[more] * (broken == "upstream"), **settings) == 1
            await told(tunnel)
            await run.proxy.context.no_connections()
        assert run.proxy.context.metrics.total(m.CLOSES, by="proxy", code="1012") == 1
        assert run.proxy.context.metrics.total(m.ENDINGS, reason="removed") == 1


async def test_a_removed_listener_serves_what_is_queued_and_is_gone(tmp_path, autojump_clock):
    async with reloads(tmp_path, listeners=("public", "old")) as run:
        address = run.proxy.listeners[1].address
        async with connection(address) as idle, connection(address) as used:
            await used.send(get_request())
            await used.answer()
            await wait_all_tasks_blocked()
            async with connection(address) as queued:
                await run.reload()
                await queued.send(get_request())
                assert (await queued.answer()).get(b"connection") == b"close"
            assert await idle.at_end() and await used.at_end()
        assert not (tmp_path / "old").exists()
        assert (await get(run.address)).status == 200


async def test_a_drain_that_began_meanwhile_wins(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run:
        prepared = await run.proxy.prepare(run.config(listeners=("public", "new")))
        await run.proxy.drain()
        assert prepared.commit() == 0
        assert not (tmp_path / "new").exists()


async def test_a_tunnel_that_does_not_answer_is_cut_at_the_deadline(tmp_path, autojump_clock):
    async with reloads(tmp_path) as run, unix_upstream(tmp_path / "more", talk_both) as more:
        route = RouteConfig(name="all", path="/", pool=POOL, timeouts=attrs.evolve(run.config().timeouts, close=100))
        await run.reload(routes=(route,))
        async with websocket(run.address) as tunnel:
            await wait_all_tasks_blocked()
            start = trio.current_time()
            await run.reload(more)
            await run.proxy.context.no_connections()
            assert trio.current_time() - start == pytest.approx(NOW.timeout)
            assert (await tunnel.receive()).close_code == 1012
