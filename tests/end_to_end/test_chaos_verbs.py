"""Faults injected into a running proxy by an operator, in one process and in two: who is struck, who is not, what is counted.

Real clients, real servers; real faults beside the injected ones are told apart from them.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack

import pytest
import trio
from support.frames import CLOSE, close_payload, open_websocket
from support.http_client import ask
from support.peers import run_server
from support.processes import PYTHON
from support.proxy import run_proxy
from support.settings import settings
from support.waiting import wait_until

each_number_of_workers = pytest.mark.parametrize("workers", [1, 2])


async def two_behind(programs, workers=1, *, chaos=True, pool=None, **tables):
    servers = [await run_server(programs, "fast_echo.py", name) for name in ("a", "b")]
    admin = {"address": "127.0.0.1:0", "chaos": chaos}
    tables = settings([each.address for each in servers], server={"workers": workers}, admin=admin, pool=pool, **tables)
    return servers, await run_proxy(programs, tables)


async def command(proxy, *args):
    """What `trioproxy fault` answers."""
    argv = [PYTHON, "-m", "trioproxy", "fault", *args, "--json", "--admin", proxy.admin]
    return json.loads((await trio.run_process(argv, capture_stdout=True)).stdout)


async def request(proxy, method, path, body=None, *lines):
    content = b"" if body is None else json.dumps(body).encode()
    fields = ["Content-Type: application/json", f"Content-Length: {len(content)}", "Connection: close", *lines]
    head = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {proxy.admin}", *fields, "", ""])
    answer = await ask(proxy.admin, head.encode() + content)
    return answer.status, json.loads(answer.body)


async def inject(proxy, server, verb, *lines, **body):
    return await request(proxy, "POST", f"/api/chaos/pools/backend/upstreams/{server.address}/{verb}", body, *lines)


async def opened(stack, proxy, count):
    """Clients' ends by the name of their server."""
    found = {"a": [], "b": []}
    for _ in range(count):
        end = await open_websocket(proxy.address)
        await stack.enter_async_context(end.http.stream)
        found[end.head.get(b"x-server").decode()].append(end)
    return found


async def goodbye(end, codes):
    code = (await end.receive()).close_code
    await end.send(CLOSE, close_payload(code))
    codes.append(code)


@each_number_of_workers
async def test_a_share_of_tunnels_is_closed_exactly_and_the_others_go_on(programs, workers):
    (server, _), proxy = await two_behind(programs, workers)
    assert proxy.log_contains("chaos_allowed", level="warning")
    async with AsyncExitStack() as stack:
        ends = await opened(stack, proxy, 40)
        count = len(ends["a"])
        told = await command(
            proxy, "close", "backend", server.address, "--share", "0.25", "--code", "4001", "--seed", "3"
        )
        struck = int(0.25 * count + 0.5)
        assert (told["tunnels"], told["of"], told["code"], told["seed"]) == (struck, count, 4001, 3)
        codes = []
        async with trio.open_nursery() as nursery:
            for end in ends["a"]:
                nursery.start_soon(goodbye, end, codes)
            await wait_until(lambda: len(codes) == struck, "goodbyes")
            nursery.cancel_scope.cancel()
        assert codes == [4001] * struck
        seen = await proxy.wait_until(
            lambda seen: seen.total("tunnels_active", upstream=server.address) == count - struck, "closed ones gone"
        )
        assert seen.total("tunnels_active") == 40 - struck
        assert seen.total("chaos_injected_total") == seen.total(
            "chaos_injected_total", upstream=server.address, verb="close"
        )
        assert seen.total("chaos_injected_total") == struck
        assert seen.total("endings_total", by="proxy", phase="tunnel", reason="chaos") == struck
        assert seen.total("closes_total", upstream=server.address, by="proxy", code="4xxx") == struck
        assert seen.total("upstream_failures_total") == 0
        for end in ends["b"]:
            assert await end.echo(b"on") == b"on"
        lines = [entry for entry in proxy.log if entry["event"] == "tunnel_end"]
        assert Counter((entry["reason"], entry["injected"]) for entry in lines) == {("chaos", "close"): struck}
        assert [entry["state"] for entry in proxy.log if entry["event"] == "chaos"] == ["begin", "end"]
    await proxy.stop()


@each_number_of_workers
async def test_tunnels_in_a_black_hole_lose_nothing_and_go_on_when_it_is_over(programs, workers):
    (server, _), proxy = await two_behind(programs, workers)
    async with AsyncExitStack() as stack:
        ends = await opened(stack, proxy, 20)
        count = len(ends["a"])
        status, told = await inject(proxy, server, "blackhole", share=0.5, seconds=3600)
        struck = int(0.5 * count + 0.5)
        assert (status, told["tunnels"], told["of"]) == (200, struck, count)
        assert (await proxy.status())["chaos"][0]["id"] == told["id"]
        heard = Counter()

        async def talk(end, server):
            payload = os.urandom(200_000)
            assert await end.echo(payload) == payload
            heard[server] += 1

        async with trio.open_nursery() as nursery:
            for name, those in ends.items():
                for end in those:
                    nursery.start_soon(talk, end, name)
            await wait_until(lambda: heard == {"a": count - struck, "b": len(ends["b"])}, "those not struck")
            seen = await proxy.metrics()
            assert seen.total("chaos_active", upstream=server.address, verb="blackhole") == 1
            assert seen.total("chaos_injected_total", verb="blackhole") == struck
            stopped = await command(proxy, "stop")
            assert [each["id"] for each in stopped["stopped"]] == [told["id"]]
        assert heard["a"] == count
        assert (await proxy.metrics()).total("chaos_active") == 0
    await proxy.stop()
    touched = Counter(entry.get("injected") for entry in proxy.log if entry["event"] == "tunnel_end")
    assert touched == {"blackhole": struck, None: 20 - struck}


@each_number_of_workers
async def test_upgrades_are_refused_or_tried_elsewhere_and_an_ejection_by_it_is_told_apart(programs, workers):
    passive = {"max_failures": 5, "eject": 300}
    (server, other), proxy = await two_behind(programs, workers, pool={"passive": passive})
    await inject(proxy, server, "refuse", share=1, seconds=3600, status=429)
    answers = Counter()
    async with AsyncExitStack() as stack:
        for _ in range(20):
            try:
                await opened(stack, proxy, 1)
                answers["opened"] += 1
            except AssertionError as refused:
                answers["429"] += b"429" in str(refused).encode()
        assert answers.total() == 20 and abs(answers["429"] - 10) <= workers
        told = (await request(proxy, "GET", "/api/chaos"))[1]["faults"]
        assert [each["handshakes"] for each in told] == [answers["429"]]
        status, _ = await inject(proxy, server, "refuse", share=1, seconds=3600, status="reset")
        assert status == 200
        ends = await opened(stack, proxy, 20)  # nobody notices: they are tried again
        assert (len(ends["a"]), len(ends["b"])) == (0, 20)
        seen = await proxy.wait_for_state(server.address, "ejected")
        failures = seen.total("upstream_failures_total", upstream=server.address, reason="chaos")
        assert failures == seen.total("upstream_failures_total") >= 5
        assert seen.total("retries_total", reason="chaos") == seen.total("retries_total") == failures
        assert seen.total("upstream_ejections_total", reason="chaos") == seen.total("upstream_ejections_total") == 1
        assert seen.total("handshakes_total", upstream=server.address) == answers["429"] + failures
        assert seen.total("handshakes_total", result="chaos") == answers["429"] + failures
        assert seen.total("handshakes_total", upstream=other.address, result="accepted") == 20 + answers["opened"]
        assert seen.total("endings_total", by="proxy", phase="handshake", reason="chaos") == answers["429"]
        requests = [entry for entry in proxy.log if entry["event"] == "request"]
        assert Counter((each["reason"], each["injected"]) for each in requests) == {("chaos", "refuse"): answers["429"]}
    await proxy.stop()
    assert proxy.log_contains("chaos", state="end", why="drain")


@each_number_of_workers
async def test_a_server_that_really_dies_beside_an_injected_fault_is_told_apart(programs, workers):
    (struck, killed), proxy = await two_behind(programs, workers, timeouts={"close": 0.5})
    async with AsyncExitStack() as stack:
        ends = await opened(stack, proxy, 12)
        await inject(proxy, struck, "close", share=1)
        codes = []
        async with trio.open_nursery() as nursery:
            for end in ends["a"]:
                nursery.start_soon(goodbye, end, codes)
        killed.kill()
        for end in ends["b"]:
            assert (await end.receive()).close_code == 1011
            await end.http.stream.aclose()
        seen = await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 0, "all gone")
        injected = seen.total("endings_total", reason="chaos")
        assert (injected, seen.total("closes_total", upstream=struck.address, by="proxy")) == (len(ends["a"]),) * 2
        assert seen.total("endings_total", by="upstream", phase="tunnel") == len(ends["b"])
        assert seen.total("upstream_failures_total", upstream=killed.address, reason="tunnel") == len(ends["b"])
        assert seen.total("upstream_failures_total") == len(ends["b"])
        lines = [entry for entry in proxy.log if entry["event"] == "tunnel_end"]
        assert Counter((entry["upstream"], entry.get("injected")) for entry in lines) == {
            (struck.address, "close"): len(ends["a"]),
            (killed.address, None): len(ends["b"]),
        }
    await proxy.stop()


async def test_a_worker_that_takes_another_ones_place_refuses_as_that_did(programs):
    (server, _), proxy = await two_behind(programs, 2)
    await inject(proxy, server, "refuse", share=1, seconds=3600, status="reset")
    for process in (await proxy.status())["processes"]:
        os.kill(process["pid"], signal.SIGKILL)

    async def replaced():
        return all(each["serving"] and each["restarts"] == 1 for each in (await proxy.status())["processes"])

    await wait_until(replaced, "new workers")
    async with AsyncExitStack() as stack:
        ends = await opened(stack, proxy, 8)
        assert (len(ends["a"]), len(ends["b"])) == (0, 8)
    await proxy.stop()


async def test_off_each_verb_is_refused_and_no_page_of_another_site_injects_anything(programs):
    (server, _), proxy = await two_behind(programs, chaos=False)
    bodies = {"close": {}, "blackhole": {"seconds": 1}, "refuse": {"seconds": 1}}
    off = {"error": "chaos verbs are off: admin.chaos = true in the configuration allows them"}
    for verb, more in bodies.items():
        assert await inject(proxy, server, verb, share=1, **more) == (403, off)
    tables = settings([server.address], admin={"address": proxy.admin, "chaos": True})
    await proxy.stop()
    on = await run_proxy(programs, tables)
    for verb, more in bodies.items():
        status, error = await inject(on, server, verb, "Origin: http://evil.example", share=1, **more)
        assert (status, error["error"]) == (403, "Origin is neither the admin address nor in admin.hosts")
    assert (await request(on, "GET", "/api/chaos")) == (200, {"faults": []})
    await on.stop()
