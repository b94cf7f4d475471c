"""Requests that wait for a lease while every upstream is full: who gets one, who does not, and that no limit is exceeded.

Clients come to a worker by chance, so with two of them a lease is often given back in another process than the one that
waits for it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, open_websocket, upgrade_request
from support.http_client import HttpConnection, ask, dial, get_request
from support.proxy import run_proxy
from support.serving import talk_both
from support.settings import settings
from support.upstream import scripted_upstream
from support.waiting import wait_until

WORKERS = pytest.mark.parametrize("workers", [1, 2])
MOST = 2  # leases
QUEUE = 6
DRAIN = {"spread": 0, "timeout": 10}


@attrs.define(eq=False)
class Server:
    """Counts what it serves at once, requests and tunnels."""

    now: int = 0
    most: int = 0

    async def serve(self, http):
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await talk_both(http)
        finally:
            self.now -= 1


@asynccontextmanager
async def full(programs, workers, **pool):
    """A proxy whose only upstream has all the tunnels it may have."""
    server = Server()
    async with scripted_upstream(server.serve) as upstream:
        one = {"address": upstream.address, "max_connections": MOST}
        tables = settings(
            [one], pool={"queue": QUEUE, "queue_timeout": 20, **pool}, server={"workers": workers, "drain": DRAIN}
        )
        proxy = await run_proxy(programs, tables)
        holding = [await open_websocket(proxy.address) for _ in range(MOST)]
        yield proxy, server, holding
        for end in holding:
            await end.http.stream.aclose()


async def in_line(proxy, count):
    async def look():
        return (await proxy.status())["pools"][0]["queued"] == count

    await wait_until(look, f"{count} in the queue")


@WORKERS
async def test_everybody_who_may_wait_is_served_and_the_limit_is_kept(programs, workers):
    async with full(programs, workers) as (proxy, server, holding), trio.open_nursery() as nursery:
        opened, receive = trio.open_memory_channel(QUEUE)

        async def come():
            end = await open_websocket(proxy.address)
            await opened.send(end)

        for number in range(QUEUE):
            nursery.start_soon(come)
            await in_line(proxy, number + 1)
        await proxy.wait_until(lambda seen: seen.total("queue_length", pool="backend") == QUEUE)
        answer = await ask(proxy.address, upgrade_request())
        assert answer.status == 503 and int(answer.get(b"retry-after")) > 0
        await proxy.logged("request", ended_by="proxy", phase="connect", reason="full")
        for left in reversed(range(QUEUE)):
            end = holding.pop(0)
            async with end.http.stream:
                await end.close()
            with trio.fail_after(20):
                holding.append(await receive.receive())
            assert await holding[-1].echo(b"hello") == b"hello"
            await in_line(proxy, left)
        assert server.most == MOST
        assert (await proxy.metrics()).total("upstream_active") == MOST
        entry = await proxy.logged("tunnel_open", upstream=(await upstream_of(proxy))["address"])
        assert "queue_s" not in entry
        waited = [entry["queue_s"] for entry in proxy.log if entry["event"] == "tunnel_open" and "queue_s" in entry]
        assert len(waited) == QUEUE and min(waited) > 0


async def upstream_of(proxy):
    return (await proxy.status())["pools"][0]["upstreams"][0]


@WORKERS
async def test_who_leaves_or_has_waited_for_too_long_goes_without(programs, workers):
    async with full(programs, workers, queue_timeout=2) as (proxy, server, holding), trio.open_nursery() as nursery:
        gone = [HttpConnection(await dial(proxy.address)) for _ in range(4)]
        for number, http in enumerate(gone):
            await http.send(upgrade_request())
            await in_line(proxy, number + 1)
        answers = []

        async def wait():
            answers.append(await ask(proxy.address, get_request("/")))

        nursery.start_soon(wait)
        for http in gone:
            await http.stream.aclose()
        await proxy.logged("request", ended_by="client", phase="connect", reason="closed")
        entry = await proxy.logged("request", ended_by="proxy", phase="connect", reason="timeout", status=503)
        assert entry["queue_s"] >= 2
        await in_line(proxy, 0)
        assert server.most == MOST and (await upstream_of(proxy))["active"] == MOST
        assert [await end.echo(b"hello") for end in holding] == [b"hello"] * MOST
    (answer,) = answers
    assert answer.status == 503 and int(answer.get(b"retry-after")) > 0


@WORKERS
async def test_a_drain_lets_who_waits_wait_on_and_gives_it_what_the_tunnels_leave(programs, workers):
    async with full(programs, workers) as (proxy, _server, holding), trio.open_nursery() as nursery:
        answers = []

        async def wait():
            answers.append(await ask(proxy.address, get_request("/")))

        nursery.start_soon(wait)
        await in_line(proxy, 1)
        proxy.terminate()
        for end in holding:
            assert (await end.receive()).close_code == 1001
            await end.send(CLOSE, close_payload(1001))
        assert await proxy.program.wait() == 0
    assert [answer.status for answer in answers] == [200]
