"""SIGTERM: new work is refused, old work ends politely, the deadline or a second signal cuts."""

from __future__ import annotations

import signal
from functools import partial

import pytest
import trio
from support.frames import CLOSE, close_payload, open_websocket
from support.http_client import connection, dial, get_request
from support.leaving import Goodbye, assert_each_in_its_turn, leave_when_asked, talk_until_asked
from support.load import each, load_on
from support.peers import run_server
from support.proxied import proxied, proxied_http
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import reply

SPREAD = 1.0


async def echo_behind(programs, **drain):
    server = await run_server(programs, "fast_echo.py")
    return server, await run_proxy(programs, settings([server.address], server={"drain": drain}))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_proxy_ends_with_0(programs, number):
    _, proxy = await echo_behind(programs)
    proxy.program.signal(number)
    assert await proxy.program.wait() == 0
    assert proxy.log_contains("drain")


async def test_tunnels_are_closed_with_1001_spread_over_time(programs):
    _, proxy = await echo_behind(programs, spread=SPREAD, timeout=20)
    moments: list[float] = []
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(100))
        start = trio.current_time()
        proxy.terminate()
        await each(tunnels, partial(leave_when_asked, code=1001, moments=moments))
        assert len(moments) == 100
        assert_each_in_its_turn(moments, start, SPREAD)
        assert await proxy.program.wait() == 0
    assert proxy.log_contains("tunnel_end", reason="draining")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_five_hundred_tunnels_under_load_are_asked_over_the_whole_window(programs, workers):
    count, spread, limit = 500, 5.0, 60.0
    server = await run_server(programs, "fast_echo.py")
    how = {"workers": workers, "drain": {"spread": spread, "timeout": limit}}
    proxy = await run_proxy(programs, settings([server.address], server=how, timeouts={"close": limit}))
    told: list[Goodbye] = []
    async with load_on(proxy.address) as open_tunnels, trio.open_nursery() as clients:
        for tunnel in await open_tunnels(range(count)):
            clients.start_soon(talk_until_asked, tunnel, told)
        await proxy.wait_until(lambda seen: seen.total("messages_total") > count, "load")
        start = trio.current_time()
        proxy.terminate()
        assert await proxy.program.wait(limit) == 0
    assert {one.code for one in told} == {1001} and len(told) == count
    assert_each_in_its_turn((one.moment for one in told), start, spread, workers)
    assert all(one.answers for one in told)
    ended = [entry for entry in proxy.log if entry["event"] == "tunnel_end"]
    assert {(entry["reason"], entry["close_code"]) for entry in ended} == {("draining", 1001)}
    assert not proxy.log_contains("cut")


async def test_who_does_not_go_is_cut_at_the_deadline_and_not_before(programs):
    server = await run_server(programs, "fast_echo.py")
    drain, limit = {"drain": {"spread": 1, "timeout": 4}}, 4
    proxy = await run_proxy(programs, settings([server.address], server=drain, timeouts={"close": 60}))
    told: list[Goodbye] = []
    async with load_on(proxy.address) as open_tunnels, trio.open_nursery() as clients:
        for tunnel in await open_tunnels(range(20)):
            clients.start_soon(partial(talk_until_asked, tunnel, told, polite=tunnel.number % 2 == 0))
        await proxy.wait_until(lambda seen: seen.total("messages_total") > 20, "load")
        start = trio.current_time()
        proxy.terminate()
        assert await proxy.program.wait() == 0
    stubborn = [one for one in told if one.ended - start >= limit]
    assert len(told) == 20 and len(stubborn) == 10
    assert proxy.log_contains("cut", tunnels=10)


async def test_a_tunnel_works_until_its_close_frame_comes(programs):
    _, proxy = await echo_behind(programs, lame_duck=0.5, spread=0.5, timeout=20)
    end = await open_websocket(proxy.address)
    async with end.http.stream:
        proxy.terminate()
        await proxy.logged("drain")
        assert await end.echo(b"still") == b"still"
        assert (await end.receive()).close_code == 1001
        await end.send(CLOSE, close_payload(1001))
    assert await proxy.program.wait() == 0


async def test_the_deadline_cuts_what_does_not_go(programs):
    _, proxy = await echo_behind(programs, spread=0, timeout=1)
    end = await open_websocket(proxy.address)
    async with end.http.stream:
        proxy.terminate()
        assert await proxy.program.wait() == 0
        assert (await end.receive()).close_code == 1001
        with pytest.raises(ConnectionError):
            await end.receive()


async def test_a_second_signal_cuts_at_once_and_exits_1(programs):
    _, proxy = await echo_behind(programs, spread=60, timeout=120)
    async with load_on(proxy.address) as open_tunnels:
        await open_tunnels(range(20))
        proxy.terminate()
        await proxy.logged("drain")
        proxy.terminate()
        assert await proxy.program.wait(15) == 1


async def test_the_listener_is_closed_and_readyz_says_so(programs):
    _, proxy = await echo_behind(programs, lame_duck=1, spread=0, timeout=3)
    end = await open_websocket(proxy.address)
    async with end.http.stream:
        await proxy.ask_admin("/readyz")
        proxy.terminate()
        await proxy.logged("drain")
        await proxy.ask_admin("/readyz", status=503)
        assert (await proxy.metrics()).total("draining") == 1
        late = await open_websocket(proxy.address)  # a lame duck still accepts: balancers need time to look
        async with late.http.stream:
            assert (await end.receive()).close_code == 1001
            with pytest.raises(OSError):
                await dial(proxy.address)
        assert await proxy.program.wait() == 0


async def test_idle_keep_alive_connections_are_closed(programs):
    async with proxied_http(programs) as both, connection(both.address) as http:
        await http.send(get_request())
        assert (await http.answer()).status == 200
        both.proxy.terminate()
        assert await http.at_end()
        assert await both.proxy.program.wait() == 0


async def test_an_exchange_under_way_is_finished_with_connection_close(programs):
    asked, go_on = trio.Event(), trio.Event()

    async def serve(http):
        await http.head()
        asked.set()
        await go_on.wait()
        await http.send(reply(b"finished"))

    async with proxied(programs, serve, server={"drain": {"timeout": 30}}) as both, connection(both.address) as http:
        await http.send(get_request())
        await asked.wait()
        both.proxy.terminate()
        await both.proxy.logged("drain")
        go_on.set()
        answer = await http.answer()
        assert (answer.body, answer.get(b"connection")) == (b"finished", b"close")
        assert await http.at_end()
        assert await both.proxy.program.wait() == 0
