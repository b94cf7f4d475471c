"""Limits on clients hold over all workers, change with a reload, and count what they refuse."""

from __future__ import annotations

from contextlib import AsyncExitStack

import trio
from support.frames import upgrade_request
from support.http_client import HttpConnection, ask, split_address
from support.peers import run_server
from support.proxy import run_proxy
from support.settings import settings

WORKERS = 2


async def connect(address, source="127.0.0.1"):
    return HttpConnection(await trio.open_tcp_stream(*split_address(address), local_address=source))


def limited(upstream, **listener):
    return settings([upstream], listener=listener, server={"workers": WORKERS})


async def test_one_address_gets_its_connections_over_all_workers(programs):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(programs, limited(server.address, max_connections_per_client=4))
    async with AsyncExitStack() as open_ones:

        async def open_tunnel(source):
            http = await connect(proxy.address, source)
            open_ones.push_async_callback(http.stream.aclose)
            await http.send(upgrade_request())
            return (await http.answer()).status

        # Connections are spread over the workers by their ports: 24 of them reach both.
        found = [await open_tunnel("127.0.0.1") for _ in range(24)]
        assert found == [101] * 4 + [503] * 20
        assert [await open_tunnel("127.0.0.2") for _ in range(5)] == [101] * 4 + [503]
        seen = await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 8, "eight tunnels")
        assert seen.by("reason", "connections_rejected_total") == {"too_many": 21, "overloaded": 0, "forbidden": 0}

        # None is closed for a lower limit, and nobody new comes in; a higher one holds at once.
        await proxy.reload(limited(server.address, max_connections_per_client=2))
        assert await open_tunnel("127.0.0.1") == 503
        await proxy.reload(limited(server.address, max_connections_per_client=6))
        assert [await open_tunnel("127.0.0.1") for _ in range(3)] == [101, 101, 503]
        await proxy.reload(limited(server.address, deny=["127.0.0.2"]))
        assert [await open_tunnel("127.0.0.1") for _ in range(3)] == [101] * 3
        denied = await connect(proxy.address, "127.0.0.2")
        async with denied.stream:
            assert await denied.at_end()
    seen = await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 0, "all gone")
    assert seen.by("reason", "connections_rejected_total") == {"too_many": 23, "overloaded": 0, "forbidden": 1}
    assert proxy.log_contains("connection_rejected", reason="too_many", listener="public", client="127.0.0.1")
    assert proxy.log_contains("connection_rejected", reason="forbidden", listener="public", client="127.0.0.2")
    await proxy.stop()


async def test_the_workers_share_one_handshake_rate(programs):
    server = await run_server(programs, "fast_echo.py")
    # One upgrade in ten minutes: whatever the second worker would have of its own would show.
    proxy = await run_proxy(programs, limited(server.address, handshake_rate=1 / 600))
    answers = [await ask(proxy.address, upgrade_request()) for _ in range(16)]
    assert sorted(answer.status for answer in answers) == [101] + [503] * 15
    waits = [int(answer.get(b"retry-after")) for answer in answers if answer.status == 503]
    assert min(waits) > 590 and max(waits) <= 600
    too_many = {"by": "proxy", "phase": "route", "reason": "too_many"}  # counted when the answer has gone out
    seen = await proxy.wait_until(lambda seen: seen.total("endings_total", **too_many) == 15, "fifteen refused")
    assert seen.total("handshakes_total") == seen.total("handshakes_total", result="accepted") == 1
    await proxy.reload(limited(server.address, handshake_rate=100_000))
    assert [(await ask(proxy.address, upgrade_request())).status for _ in range(8)] != [503] * 8
    await proxy.reload(limited(server.address))
    assert [(await ask(proxy.address, upgrade_request())).status for _ in range(8)] == [101] * 8
    await proxy.stop()
