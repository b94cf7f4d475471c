"""Upstreams that fail in the traffic itself while their probes pass: they are ejected, whichever worker saw it, and return.

They are real servers on real sockets; what they do with a handshake is the test's to say.
"""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs
import pytest
from support.frames import open_websocket, upgrade_request
from support.http_client import ask
from support.proxy import run_proxy
from support.serving import echo
from support.settings import settings
from support.upstream import scripted_upstream, serve_websocket
from support.waiting import wait_until


@attrs.define(eq=False)
class Moody:
    """A server that echoes, or closes every connection behind the head of its handshake."""

    broken: bool = False
    upstream: object = None
    served: int = 0  # handshakes answered
    hung_up: int = 0

    async def serve(self, http):
        if self.broken:
            await http.head()
            self.hung_up += 1
        else:
            self.served += 1
            await serve_websocket(http, echo)


@asynccontextmanager
async def before(programs, workers, *moods, eject=300, **pool):
    servers = [Moody(broken=broken) for broken in moods]
    async with AsyncExitStack() as stack:
        for server in servers:
            server.upstream = await stack.enter_async_context(scripted_upstream(server.serve))
        passive = {"max_failures": 5, "eject": eject}
        tables = settings(
            [server.upstream.address for server in servers],
            pool={"passive": passive, "attempts": len(servers), **pool},
            server={"workers": workers},
        )
        proxy = await run_proxy(programs, tables)
        yield proxy, tables, servers


async def shake_hands(address):
    """Whether that worked; each comes to a worker by chance."""
    try:
        end = await open_websocket(address)
    except AssertionError:
        return False
    async with end.http.stream:
        return await end.echo(b"hello") == b"hello"


async def until(proxy, upstream, state):
    """Handshakes, until that upstream is in this state; whether they all worked."""
    worked = []

    async def look():
        worked.append(await shake_hands(proxy.address))
        return (await proxy.metrics()).total("upstream_state", upstream=upstream.address, state=state)

    await wait_until(look, f"{upstream.address} {state}")
    return all(worked)


@pytest.mark.parametrize("workers", [1, 2])
async def test_clients_notice_nothing_of_an_upstream_that_closes_handshakes_and_it_is_asked_no_more(programs, workers):
    async with before(programs, workers, True, False) as (proxy, _, (bad, good)):
        assert await until(proxy, bad.upstream, "ejected")
        entry = await proxy.logged("upstream_ejected", upstream=bad.upstream.address)
        assert (entry["reason"], entry["seconds"], entry["ejections"]) == ("handshake", 300, 1)
        seen = await proxy.metrics()
        labels = {"upstream": bad.upstream.address, "reason": "handshake"}
        assert seen.total("upstream_ejections_total", **labels) == seen.total("upstream_ejections_total") == 1
        assert seen.total("upstream_failures_total", **labels) == bad.hung_up >= 5
        assert seen.total("upstream_up", upstream=bad.upstream.address) == 1
        await settled(proxy, bad)
        asked, served = bad.hung_up, good.served
        for _ in range(20):
            assert await shake_hands(proxy.address)
        assert (bad.hung_up, good.served) == (asked, served + 20)
        (told,) = [
            each for each in (await proxy.status())["pools"][0]["upstreams"] if each["address"] == bad.upstream.address
        ]
        assert told["state"] == "ejected" and 0 < told["ejection"]["returns_in_seconds"] <= 300
        await proxy.stop()


async def all_serving(proxy):
    return all(each["serving"] for each in (await proxy.status())["processes"])


async def settled(proxy, bad):
    """Until every worker has heard of it: ten handshakes in a row that the bad one sees nothing of."""

    async def look():
        before = bad.hung_up
        return all([await shake_hands(proxy.address) for _ in range(10)]) and bad.hung_up == before

    await wait_until(look, "all workers know")


async def test_it_gets_work_again_when_its_time_is_over_and_slowly_where_that_is_asked_for(programs):
    async with before(programs, 2, True, False, eject=1, slow_start=300) as (proxy, _, (bad, _good)):
        await until(proxy, bad.upstream, "ejected")
        bad.broken = False
        await proxy.logged("upstream_returned", upstream=bad.upstream.address, state="up")
        weights = (await proxy.metrics()).by("upstream", "upstream_weight")
        assert 0.1 <= weights.pop(bad.upstream.address) < 1 and list(weights.values()) == [1]
        served = bad.served

        async def look():
            return await shake_hands(proxy.address) and bad.served > served

        await wait_until(look, "a handshake with it")


async def test_an_ejection_survives_a_reload_and_the_end_of_a_worker(programs):
    async with before(programs, 2, True, False) as (proxy, tables, (bad, _good)):
        await until(proxy, bad.upstream, "ejected")
        await proxy.reload({**tables, "timeouts": {"head": 9}})
        (victim, _) = (await proxy.status())["processes"]
        os.kill(victim["pid"], signal.SIGKILL)
        await proxy.wait_until(lambda seen: seen.total("worker_restarts_total") == 1, "the end of a worker")
        await wait_until(partial(all_serving, proxy), "another one")
        await settled(proxy, bad)
        seen = await proxy.metrics()
        assert seen.total("upstream_state", upstream=bad.upstream.address, state="ejected") == 1
        assert seen.total("upstream_ejections_total") == 1
        assert seen.total("upstream_failures_total") == bad.hung_up


async def test_half_of_the_pool_stays_in_whatever_fails(programs):
    async with before(programs, 2, True, True, True, attempts=1) as (proxy, _, servers):
        for _ in range(60):
            assert (await ask(proxy.address, upgrade_request())).status == 502
        seen = await proxy.wait_until(lambda seen: seen.total("upstream_failures_total") == 60)
        assert seen.total("upstream_ejections_total") == seen.total("upstream_state", state="ejected") == 1
        assert sum(server.hung_up for server in servers) == 60
