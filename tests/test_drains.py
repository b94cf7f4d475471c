"""The drain of one upstream while the proxy runs: no new work, tunnels asked over time, the deadline, the way back."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from support.frames import CLOSE, close_payload, upgrade_answer, upgrade_request, websocket
from support.http_client import connection, get, get_request
from support.serving import POOL, make_config, talk_both, unix_upstream
from support.upstream import reply
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import HealthConfig, PoolConfig, UpstreamConfig
from trioproxy.errors import Reason
from trioproxy.logs import Log
from trioproxy.server import serve


@asynccontextmanager
async def serving(folder, *talks, log=None, backup=(), **pool):
    """A proxy before one upstream for each of `talks`; `backup` are the indices of those that are backups."""
    async with AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(unix_upstream(folder / f"up{index}", talk))
            for index, talk in enumerate(talks)
        ]
        upstreams = tuple(UpstreamConfig(address=each, backup=i in backup) for i, each in enumerate(addresses))
        pools = {POOL: PoolConfig(name=POOL, upstreams=upstreams, **{"health": HealthConfig(probe="none"), **pool})}
        config = make_config(listeners=(f"unix:{folder / 'public'}",), pools=pools)
        async with serve(config, log=log) as proxy:
            yield proxy


def upstreams(proxy):
    return proxy.context.pools[POOL].upstreams


async def drain(proxy, upstream, spread=10.0, timeout=30.0):  # noqa: ASYNC109 - the drain's
    return await proxy.control.drain_upstream(POOL, upstream.address, spread=spread, timeout=timeout)


async def resume(proxy, upstream):
    return await proxy.control.resume_upstream(POOL, upstream.address)


async def opened(stack, proxy, count):
    ends = [await stack.enter_async_context(websocket(proxy.listeners[0].address)) for _ in range(count)]
    await wait_all_tasks_blocked()
    return ends


async def leave(end, told, start):
    code = (await end.receive()).close_code
    told.append((trio.current_time() - start, code))
    await end.send(CLOSE, close_payload(code))
    assert await end.http.at_end()


@pytest.mark.rule("close-codes")
async def test_its_tunnels_get_1012_each_in_a_slice_of_its_own_and_others_nothing(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving(tmp_path, talk_both, talk_both, log=log) as proxy, AsyncExitStack() as stack:
        going, staying = upstreams(proxy)
        ends = await opened(stack, proxy, 40)  # round-robin: every second one
        start, told = trio.current_time(), []
        await drain(proxy, going)
        async with trio.open_nursery() as clients:
            for end in ends[::2]:
                clients.start_soon(leave, end, told, start)
        moments = [moment for moment, _ in told]
        assert {code for _, code in told} == {1012}
        assert [int(moment * 20 / 10) for moment in moments] == list(range(20))
        await going.no_leases()
        assert (going.active, staying.active) == (0, 20)
        assert proxy.context.metrics.total(m.CLOSES, by="proxy", code="1012") == 20
        for end in ends[1::2]:
            assert await end.echo(b"still") == b"still"
    events = [event for event in log.events if event["event"].startswith("upstream_drain")]
    begun, done = events
    assert (begun["event"], begun["active"], begun["spread"], begun["timeout"]) == ("upstream_drain", 20, 10, 30)
    assert (done["event"], done["upstream"], done["cut"]) == ("upstream_drained", going.address, 0)


async def test_it_gets_no_new_work_and_the_others_get_it_all(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both, talk_both) as proxy, AsyncExitStack() as stack:
        going, staying = upstreams(proxy)
        await drain(proxy, going)
        await opened(stack, proxy, 6)
        assert (going.active, staying.active) == (0, 6)
        assert not staying.connections  # tunnels are found as such
        assert going.state == "draining"


async def test_with_the_last_upstream_gone_clients_are_told_to_come_back(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both) as proxy:
        (only,) = upstreams(proxy)
        await drain(proxy, only)
        answer = await get(proxy.listeners[0].address)
        assert answer.status == 503 and answer.get(b"retry-after") == b"1"
        assert not proxy.control.ready()[0]
        await resume(proxy, only)
        assert (await get(proxy.listeners[0].address)).status == 200
        assert proxy.control.ready()[0]


async def test_without_its_primary_the_backup_takes_over_and_can_be_drained_itself(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both, talk_both, backup={1}) as proxy, AsyncExitStack() as stack:
        primary, backup = upstreams(proxy)
        await drain(proxy, backup)
        (end,) = await opened(stack, proxy, 1)
        assert (primary.active, backup.active) == (1, 0)
        await resume(proxy, backup)
        await drain(proxy, primary, spread=0)
        assert (await end.receive()).close_code == 1012
        await opened(stack, proxy, 1)
        assert backup.active == 1


async def test_what_is_left_at_the_deadline_is_cut(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving(tmp_path, talk_both, log=log) as proxy, AsyncExitStack() as stack:
        (only,) = upstreams(proxy)
        (end,) = await opened(stack, proxy, 1)
        start = trio.current_time()
        await drain(proxy, only, spread=0, timeout=3)  # below `timeouts.close`
        assert (await end.receive()).close_code == 1012
        assert await end.http.rest() == b""  # a Unix socket knows no reset
        assert trio.current_time() - start == pytest.approx(3)
        await only.no_leases()
    assert [event["cut"] for event in log.events if event["event"] == "upstream_drained"] == [1]
    assert [event["reason"] for event in log.events if event["event"] == "tunnel_end"] == ["cut"]


async def test_a_spread_longer_than_the_deadline_still_tells_every_tunnel(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both) as proxy, AsyncExitStack() as stack:
        ends = await opened(stack, proxy, 10)
        start, told = trio.current_time(), []
        await drain(proxy, upstreams(proxy)[0], spread=100, timeout=10)
        async with trio.open_nursery() as clients:
            for end in ends:
                clients.start_soon(leave, end, told, start)
        assert max(moment for moment, _ in told) <= 5
        assert [code for _, code in told] == [1012] * 10


def slow(asked, go_on, body=b"late"):
    async def talk(http):
        await http.head()
        asked.set()
        await go_on.wait()
        await http.send(reply(body))
        await trio.sleep_forever()

    return talk


async def test_a_plain_request_under_way_finishes(tmp_path, autojump_clock):
    asked, go_on = trio.Event(), trio.Event()
    async with serving(tmp_path, slow(asked, go_on)) as proxy, connection(proxy.listeners[0].address) as http:
        (only,) = upstreams(proxy)
        await http.send(get_request())
        await asked.wait()
        await drain(proxy, only)
        await trio.sleep(20)
        assert only.active == 1
        go_on.set()
        answer = await http.answer()
        assert (answer.status, answer.body) == (200, b"late")
        await trio.sleep(1.5)
        assert only.active == 0 and not only.connections
        assert not len(proxy.context.idle[POOL])  # its kept connection went at the next sweep


async def test_a_plain_request_left_at_the_deadline_goes_to_another_upstream(tmp_path, autojump_clock):
    asked = trio.Event()
    async with (
        serving(tmp_path, slow(asked, trio.Event()), talk_both) as proxy,
        connection(proxy.listeners[0].address) as http,
    ):
        going, _ = upstreams(proxy)
        await http.send(get_request())
        await asked.wait()
        start = trio.current_time()
        await drain(proxy, going, timeout=10)
        answer = await http.answer()
        assert (answer.status, answer.body) == (200, b"fine")
        assert trio.current_time() - start == pytest.approx(10)
        assert going.active == 0


async def test_an_answer_left_at_the_deadline_is_cut_in_the_middle(tmp_path, autojump_clock):
    async def half(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await trio.sleep_forever()

    async with serving(tmp_path, half) as proxy, connection(proxy.listeners[0].address) as http:
        (only,) = upstreams(proxy)
        await http.send(get_request())
        assert (await http.head()).start.endswith(b"200 OK")
        await drain(proxy, only, timeout=10)
        assert await http.rest() == b"half"
        assert only.active == 0
        await proxy.context.no_connections()
        assert proxy.context.metrics.total(m.ENDINGS, by="proxy", phase="response", reason="cut") == 1


@pytest.mark.parametrize("raw", [get_request(), upgrade_request()], ids=["request", "upgrade"])
async def test_what_is_left_at_the_deadline_with_nowhere_to_go_is_told_to_come_back(tmp_path, autojump_clock, raw):
    asked = trio.Event()
    async with serving(tmp_path, slow(asked, trio.Event())) as proxy, connection(proxy.listeners[0].address) as http:
        (only,) = upstreams(proxy)
        await http.send(raw)
        await asked.wait()
        await drain(proxy, only, timeout=2)
        answer = await http.answer()
        assert answer.status == 503 and answer.get(b"retry-after") == b"1"
        metrics = proxy.context.metrics
        assert metrics.total(m.ENDINGS, by="proxy", reason="cut") == 1
        assert metrics.total(m.ENDINGS, by="upstream") == metrics.total(m.HANDSHAKES) == 0  # it did nothing wrong


async def test_an_upgrade_left_at_the_deadline_goes_to_another_upstream(tmp_path, autojump_clock):
    asked = trio.Event()
    async with serving(tmp_path, slow(asked, trio.Event()), talk_both) as proxy:
        going, staying = upstreams(proxy)
        start = trio.current_time()

        async def drain_when_asked():
            await asked.wait()
            await drain(proxy, going, timeout=2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain_when_asked)
            async with websocket(proxy.listeners[0].address) as end:
                assert await end.echo(b"hello") == b"hello"
                assert trio.current_time() - start == pytest.approx(2)
                assert (going.active, staying.active) == (0, 1)


async def test_a_tunnel_that_opens_during_the_drain_is_asked_at_once(tmp_path, autojump_clock):
    asked, go_on = trio.Event(), trio.Event()

    async def late(http):
        head = await http.head()
        asked.set()
        await go_on.wait()
        await http.send(upgrade_answer(head))
        await trio.sleep_forever()

    async with serving(tmp_path, late) as proxy:
        (only,) = upstreams(proxy)

        async def drain_when_asked():
            await asked.wait()
            await drain(proxy, only, spread=100, timeout=1000)
            go_on.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain_when_asked)
            start = trio.current_time()
            async with websocket(proxy.listeners[0].address) as end:
                assert (await end.receive()).close_code == 1012
                assert trio.current_time() == start


async def test_resumed_in_the_middle_it_works_at_once_and_keeps_who_was_not_told(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving(tmp_path, talk_both, log=log) as proxy, AsyncExitStack() as stack:
        (only,) = upstreams(proxy)
        ends = await opened(stack, proxy, 10)
        start, told = trio.current_time(), []
        await drain(proxy, only, spread=10, timeout=30)
        async with trio.open_nursery() as clients:
            for end in ends:
                clients.start_soon(leave, end, told, start)
            await trio.sleep(5)
            await resume(proxy, only)
            assert only.state == "up" and len(told) == 5
            await opened(stack, proxy, 1)
            await trio.sleep(100)  # well behind the deadline it had
            assert len(told) == 5 and only.active == 6
            clients.cancel_scope.cancel()
    events = [event["event"] for event in log.events if event["event"].startswith(("upstream_dr", "upstream_res"))]
    assert events == ["upstream_drain", "upstream_resume"]


async def test_a_second_drain_takes_the_place_of_the_first(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both) as proxy, AsyncExitStack() as stack:
        (only,) = upstreams(proxy)
        ends = await opened(stack, proxy, 10)
        start, told = trio.current_time(), []
        await drain(proxy, only, spread=1000, timeout=10_000)
        await trio.sleep(1)
        await drain(proxy, only, spread=10, timeout=30)
        async with trio.open_nursery() as clients:
            for end in ends:
                clients.start_soon(leave, end, told, start)
        assert all(1 <= moment <= 11 for moment, _ in told)
        await only.no_leases()
        assert only.draining


async def test_resuming_what_is_not_drained_changes_nothing(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving(tmp_path, talk_both, log=log) as proxy:
        (only,) = upstreams(proxy)
        news = proxy.context.metrics.news
        assert (await resume(proxy, only))["state"] == "up"
        assert proxy.context.metrics.news == news
    assert "upstream_resume" not in [event["event"] for event in log.events]


async def test_health_goes_on_below_the_drain_and_shows_when_it_is_over(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both, talk_both, health=HealthConfig(probe="none", fall=1, rise=1)) as proxy:
        going, _ = upstreams(proxy)
        await drain(proxy, going)
        going.observe(ok=False)
        assert going.state == "draining"
        assert (await resume(proxy, going))["state"] == "down"
        await drain(proxy, going)
        going.observe(ok=True)
        assert going.state == "draining" and not going.eligible
        assert (await resume(proxy, going))["state"] == "up"


async def test_each_step_is_news_for_a_scrape(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both) as proxy:
        (only,) = upstreams(proxy)
        seen = [proxy.context.metrics.news]
        await drain(proxy, only)
        seen.append(proxy.context.metrics.news)
        await wait_all_tasks_blocked()  # drained: it had nothing
        seen.append(proxy.context.metrics.news)
        await resume(proxy, only)
        seen.append(proxy.context.metrics.news)
        assert seen == sorted(set(seen))


async def test_the_drain_of_the_process_goes_on_beside_it(tmp_path, autojump_clock):
    async with serving(tmp_path, talk_both) as proxy, AsyncExitStack() as stack:
        (only,) = upstreams(proxy)
        ends = await opened(stack, proxy, 4)
        told, start = [], trio.current_time()
        await drain(proxy, only, spread=1000, timeout=10_000)
        async with trio.open_nursery() as clients:
            for end in ends:
                clients.start_soon(leave, end, told, start)
            await proxy.drain()
        assert [code for _, code in told] == [1001] * 4
        assert proxy.context.metrics.total(m.ENDINGS, reason=Reason.DRAINING) == 4
