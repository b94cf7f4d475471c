"""One upstream taken out and back, and tunnels closed, by the commands of an operator on a running proxy."""

from __future__ import annotations

import json
import os
import signal
from functools import partial

import pytest
import trio
from support.frames import CLOSE, close_payload, open_websocket, websocket
from support.http_client import ask, get
from support.leaving import Goodbye, assert_each_in_its_turn, talk_until_asked
from support.load import load_on
from support.peers import run_server
from support.processes import PYTHON
from support.proxy import run_proxy
from support.settings import settings
from support.waiting import wait_until

each_number_of_workers = pytest.mark.parametrize("workers", [1, 2])


async def two_behind(programs, workers=1, **tables):
    servers = [await run_server(programs, "fast_echo.py", name) for name in ("a", "b")]
    processes = {"workers": workers, "drain": {"spread": 0.2, "timeout": 3}}
    tables = settings([server.address for server in servers], server=processes, **tables)
    return servers, await run_proxy(programs, tables)


async def command(proxy, *args, status=0):
    """What a command writes."""
    argv = [PYTHON, "-m", "trioproxy", *args, "--admin", proxy.admin]
    done = await trio.run_process(argv, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == status, done
    return (done.stdout if status == 0 else done.stderr).decode()


async def post(proxy, path, body=b"{}", *lines):
    fields = ["Content-Type: application/json", f"Content-Length: {len(body)}", "Connection: close", *lines]
    head = "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {proxy.admin}", *fields, "", ""])
    return await ask(proxy.admin, head.encode() + body)


async def seen_servers(proxy, times):
    """The names of the servers that answer; each worker takes turns, so `2 * workers` times are enough for two."""
    return {(await get(proxy.address)).get(b"x-server") for _ in range(times)}


def sum_of(proxy, event, field):
    """Each worker logs its own."""
    return sum(entry[field] for entry in proxy.log if entry["event"] == event)


@pytest.mark.slow
@each_number_of_workers
async def test_five_hundred_tunnels_of_an_upstream_are_asked_over_the_whole_window_and_move(programs, workers):
    count, spread = 500, 5.0
    servers, proxy = await two_behind(programs, workers, timeouts={"close": 60})
    told: list[Goodbye] = []
    async with load_on(proxy.address) as open_tunnels, trio.open_nursery() as clients:
        tunnels = await open_tunnels(range(2 * count))
        for tunnel in tunnels:
            clients.start_soon(talk_until_asked, tunnel, told)
        await proxy.wait_until(lambda seen: seen.total("messages_total") > 2 * count, "load")
        start = trio.current_time()
        path = f"/api/pools/backend/upstreams/{servers[0].address}"
        answer = await post(proxy, f"{path}/drain", b'{"spread": 5, "timeout": 60}')
        going = sum(tunnel.server == "a" for tunnel in tunnels)
        assert abs(going - count) < workers
        assert (answer.status, json.loads(answer.body)["tunnels"]) == (200, going)
        (await proxy.wait_for_state(servers[0].address, "draining"))
        moved = await open_tunnels(range(2 * count, 2 * count + 50))
        assert {tunnel.server for tunnel in moved} == {"b"}
        seen = await proxy.wait_until(
            lambda seen: seen.total("upstream_active", upstream=servers[0].address) == 0, "drained", seconds=60
        )
        assert seen.total("upstream_active") == 2 * count - going + 50
        assert seen.total("closes_total", upstream=servers[0].address, by="proxy", code="1012") == going
        assert sum_of(proxy, "upstream_drained", "cut") == 0
        assert {(one.server, one.code) for one in told} == {("a", 1012)} and len(told) == going
        assert_each_in_its_turn((one.moment for one in told), start, spread, workers)
        answered = {tunnel: tunnel.received for tunnel in tunnels if tunnel.server == "b"}
        assert len(answered) == 2 * count - going and all(answered.values())
        assert (await post(proxy, f"{path}/resume")).status == 200
        back = await open_tunnels(range(3 * count, 3 * count + 2 * workers))
        assert {tunnel.server for tunnel in back} == {"a", "b"}
        clients.cancel_scope.cancel()
    await proxy.stop()


@each_number_of_workers
async def test_who_does_not_go_is_cut_at_the_deadline_and_not_before(programs, workers):
    (server, _), proxy = await two_behind(programs, workers, timeouts={"close": 60})
    told: list[Goodbye] = []
    async with load_on(proxy.address) as open_tunnels, trio.open_nursery() as clients:
        ours = [tunnel for tunnel in await open_tunnels(range(20)) if tunnel.server == "a"]
        for index, tunnel in enumerate(ours):
            clients.start_soon(partial(talk_until_asked, tunnel, told, polite=index % 2 == 0))
        await proxy.wait_until(lambda seen: seen.total("messages_total") > 10, "load")
        start = trio.current_time()
        told_us = await command(proxy, "drain", "backend", server.address, "--spread", "1", "--timeout", "4", "--wait")
        assert told_us == f"{server.address} of pool backend: drained\n"
        assert trio.current_time() - start >= 4
        clients.cancel_scope.deadline = trio.current_time() + 30
    stubborn = [one for one in told if one.ended - start >= 4]
    assert (len(told), len(stubborn)) == (len(ours), len(ours) // 2)
    await wait_until(lambda: sum_of(proxy, "upstream_drained", "cut") == len(stubborn), "each worker's line")
    assert (await proxy.metrics()).total("upstream_active", upstream=server.address) == 0


@each_number_of_workers
async def test_an_operator_looks_takes_out_and_takes_back(programs, workers):
    servers, proxy = await two_behind(programs, workers)
    async with websocket(proxy.address) as a:
        names = [b"a", b"b"]
        gone = names.index(a.head.get(b"x-server"))
        first, second = servers[gone], servers[1 - gone]
        assert first.address in await command(proxy, "tunnels")
        told = json.loads(await command(proxy, "drain", "backend", first.address, "--spread", "0", "--json"))
        assert told["state"] == "draining"
        assert (await a.receive()).close_code == 1012
        await a.send(CLOSE, close_payload(1012))
        assert await a.http.at_end()
        assert "drained" in await command(proxy, "drain", "backend", first.address, "--wait")
        assert "drained" in await command(proxy, "status")
    async with websocket(proxy.address) as b:
        assert b.head.get(b"x-server") == names[1 - gone]
        assert "up" in await command(proxy, "resume", "backend", first.address)
        assert await seen_servers(proxy, 2 * workers) == {b"a", b"b"}
        rows = json.loads(await command(proxy, "tunnels", "--json", "--upstream", second.address))
        opened = await proxy.logged("tunnel_open", upstream=second.address)
        assert opened["id"] in [row["id"] for row in rows]
        assert "closing with 4242" in await command(proxy, "close", opened["id"], "--code", "4242")
        assert (await b.receive()).close_code == 4242
        await b.send(CLOSE, close_payload(4242))
    await proxy.logged("tunnel_end", reason="operator", close_code=4242)
    wrong = await command(proxy, "drain", "backend", "127.0.0.1:1", status=2)
    assert wrong.startswith("trioproxy: ") and first.address in wrong and wrong.count("\n") == 1
    await proxy.stop()
    gone = await command(proxy, "status", status=1)
    assert gone == f"trioproxy: cannot reach the admin at {proxy.admin}: connection refused (is it running?)\n"


@each_number_of_workers
async def test_a_pool_without_an_upstream_left_says_when_to_come_back(programs, workers):
    (first, second), proxy = await two_behind(programs, workers)
    for server in (first, second):
        await command(proxy, "drain", "backend", server.address)
    answer = await get(proxy.address)
    assert answer.status == 503 and answer.get(b"retry-after") is not None
    with pytest.raises(AssertionError, match="503"):
        await open_websocket(proxy.address)
    await proxy.ask_admin("/readyz", status=503)
    await command(proxy, "resume", "backend", second.address)
    assert (await get(proxy.address)).status == 200
    await proxy.ask_admin("/readyz")


@each_number_of_workers
async def test_a_drain_lasts_through_reloads_and_changes_of_health(programs, workers):
    health = {"probe": "tcp", "interval": 1, "timeout": 1, "rise": 1, "fall": 1}
    (first, _), proxy = await two_behind(programs, workers, health=health)
    await command(proxy, "drain", "backend", first.address)
    first.kill()
    await proxy.wait_until(lambda seen: seen.total("upstream_up", upstream=first.address) == 0, "down")
    assert (await proxy.wait_for_state(first.address, "draining")).total("upstream_state", state="up") == 1
    proxy.program.signal(signal.SIGHUP)
    await proxy.logged("reload", result="applied")
    await first.restart()
    await proxy.wait_until(lambda seen: seen.total("upstream_up", upstream=first.address) == 1, "up again")
    assert await seen_servers(proxy, 4) == {b"b"}
    assert ": up" in await command(proxy, "resume", "backend", first.address)
    assert await seen_servers(proxy, 2 * workers) == {b"a", b"b"}


async def test_a_worker_that_comes_later_knows_of_the_drain(programs):
    (first, _), proxy = await two_behind(programs, workers=2)
    await command(proxy, "drain", "backend", first.address)
    before = {each["pid"] for each in (await proxy.status())["processes"]}
    for pid in before:
        os.kill(pid, signal.SIGKILL)

    async def replaced():
        processes = (await proxy.status())["processes"]
        return all(each["serving"] for each in processes) and before.isdisjoint(each["pid"] for each in processes)

    await wait_until(replaced, "new workers")
    assert await seen_servers(proxy, 8) == {b"b"}
    await command(proxy, "resume", "backend", first.address)
    assert await seen_servers(proxy, 4) == {b"a", b"b"}


async def test_a_page_elsewhere_can_do_nothing(programs):
    (first, _), proxy = await two_behind(programs)
    drain = f"/api/pools/backend/upstreams/{first.address}/drain"
    assert (await post(proxy, drain, b"{}", "Origin: https://evil.example")).status == 403
    plain = f"POST {drain} HTTP/1.1\r\nHost: {proxy.admin}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}"
    assert (await ask(proxy.admin, plain.encode())).status == 415
    rebound = f"POST {drain} HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    assert (await ask(proxy.admin, rebound.encode())).status == 403
    seen = await proxy.metrics()
    assert seen.total("upstream_state", state="draining") == 0
