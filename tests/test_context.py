"""What all connections share: ids, the count of connections, the tunnels' metrics."""

from __future__ import annotations

import re

import attrs
import trio
from support.certificates import authority
from support.scripted import REFUSED, make_context

from trioproxy import metrics as m
from trioproxy.certificates import Certificates
from trioproxy.config import UpstreamTlsConfig
from trioproxy.context import SLICE, new_ids
from trioproxy.wire.traffic import BYTES


def test_ids_are_short_and_differ_within_and_between_processes():
    ids, others = new_ids(), new_ids()
    made = [next(ids) for _ in range(20)] + [next(others)]
    assert all(re.fullmatch(r"[0-9a-f]{6}-[0-9a-f]+", each) for each in made)
    assert len(set(made)) == 21


async def test_waiting_for_no_connections_ends_with_the_last_one():
    context = make_context([REFUSED], None)
    await context.no_connections()
    for _ in range(2):
        context.connection_began()
    over = []
    async with trio.open_nursery() as nursery:

        async def wait():
            await context.no_connections()
            over.append(True)

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        context.connection_ended()
        await trio.testing.wait_all_tasks_blocked()
        assert not over
        context.connection_ended()
    assert over == [True, True]


async def test_a_connection_that_comes_meanwhile_is_waited_for_too(autojump_clock):
    context = make_context([REFUSED], None)
    context.connection_began()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(context.no_connections)
        await trio.testing.wait_all_tasks_blocked()
        context.connection_ended()
        context.connection_began()
        with trio.move_on_after(10) as scope:
            await context.no_connections()
        assert scope.cancelled_caught
        context.connection_ended()


async def test_connections_are_limited_here_and_over_all_processes():
    context = make_context([REFUSED], None)
    context.max_connections = 2
    assert context.connection_began() and context.connection_began()
    assert not context.connection_began()
    context.connection_ended()
    most = context.config.limits.max_connections
    while context.clients.claim(most):  # as another process would
        pass
    assert not context.connection_began()
    assert (context.connections, context.clients.total) == (1, most)


async def test_publishing_asks_every_open_tunnel_and_carries_on_what_it_says():
    context = make_context([REFUSED], None)

    class Opened:
        def __init__(self):
            self.tunnel = self

        def publish(self):
            context.meter.traffic("backend", "up:1").to_client.cells[BYTES] += 5

    context.tunnels = {"1": Opened(), "2": Opened()}
    await context.publish_tunnels()
    assert context.metrics.value(m.BYTES, ("backend", "up:1", "to_client")) == 10


async def test_while_many_tunnels_publish_others_have_their_turn_and_tunnels_may_end():
    context = make_context([REFUSED], None)
    asked: list[int] = []

    class Opened:
        def __init__(self, number):
            self.tunnel, self.number = self, number

        def publish(self):
            asked.append(self.number)

    context.tunnels = {str(number): Opened(number) for number in range(9 * SLICE)}

    async def end_some():
        await trio.lowlevel.checkpoint()
        seen = len(asked)
        del context.tunnels["0"]
        assert 0 < seen < 9 * SLICE

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_some)
        await context.publish_tunnels()
    assert asked == [*range(9 * SLICE)]


async def test_upstreams_have_to_prove_what_the_certificates_in_force_say(tmp_path):
    settings = UpstreamTlsConfig(ca=authority(tmp_path).file)
    context = make_context(["127.0.0.1:1", REFUSED], None, pool={"tls": settings})
    pool = context.pools["backend"]
    assert [upstream.identity for upstream in pool.upstreams] == [None, None]
    context.trust(Certificates.load(context.config))
    first = [upstream.identity for upstream in pool.upstreams]
    assert [identity.name for identity in first] == ["127.0.0.1", ""]
    context.trust(Certificates.load(context.config))
    assert not {upstream.identity for upstream in pool.upstreams} & set(first)
    pool.config = attrs.evolve(pool.config, tls=None)
    context.trust(Certificates())
    assert [upstream.identity for upstream in pool.upstreams] == [None, None]
