"""What only the fast engine does, or does not do. The rest is in the contract suite."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing
from support.frames import BINARY, CLOSE, TEXT
from support.tunnels import SMALL, small_buffers, tunnel_between

from trioproxy.errors import Phase, Reason, Source
from trioproxy.relay.pump import DENSE, DENSE_READ, Pump


@pytest.fixture
def bugs():
    return []


@pytest.fixture
async def pump(nursery, bugs):
    pump = Pump(bugs.append)
    await nursery.start(pump.serve)
    yield pump
    nursery.cancel_scope.cancel()


async def echo(rig, count):
    sent, back = rig.client.frame(TEXT, b"x" * 64), rig.upstream.frame(TEXT, b"y" * 64)
    for _ in range(count):
        await rig.client.send(sent)
        assert await rig.upstream.take(len(sent)) == sent
        await rig.upstream.send(back)
        assert await rig.client.take(len(back)) == back


async def test_a_steady_state_makes_no_epoll_ctl_call(pump):
    async with tunnel_between(pump) as one, tunnel_between(pump) as two:
        before, turns = pump.control_calls, pump.turns
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, one, 200)
            nursery.start_soon(echo, two, 200)
        assert pump.control_calls == before
        assert pump.turns - turns == 800


async def test_who_floods_with_tiny_frames_is_read_in_portions_until_it_sends_anything_else(pump):
    async with tunnel_between(pump) as rig:
        fd = rig.tunnel.client.socket.fileno()
        flood = rig.client.frame(TEXT) * (4 * DENSE)
        for _ in range(2):
            await rig.client.send(flood)
            assert await rig.upstream.take(len(flood)) == flood
            assert pump._dense == {fd}
        usual = rig.client.frame(BINARY, bytes(4 * DENSE_READ))
        await rig.client.send(usual)
        assert await rig.upstream.take(len(usual)) == usual
        assert not pump._dense
        small = rig.client.frame(TEXT, b"x" * 64) * 2000
        await rig.client.send(small)
        assert await rig.upstream.take(len(small)) == small
        assert not pump._dense
        await rig.client.send(flood)
        assert await rig.upstream.take(len(flood)) == flood
    assert not pump._dense  # its number may be another's


async def test_an_idle_tunnel_owns_no_buffer_and_a_flushed_one_neither(pump):
    async with tunnel_between(pump, buffers=small_buffers) as rig:
        sent = rig.upstream.frame(BINARY, bytes(10 * SMALL))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.upstream.send, sent)
            await trio.testing.wait_all_tasks_blocked(0.01)
            port = pump._ports[rig.tunnel.client.socket.fileno()]
            assert port.unsent
            assert not port.peer.events, "the source is still watched"
            assert await rig.client.take(len(sent)) == sent
        await trio.testing.wait_all_tasks_blocked()
        assert port.unsent is None
        assert port.peer.events


async def test_a_source_that_resets_while_its_reader_stalls_does_not_spin(pump, autojump_clock):
    async with tunnel_between(pump, buffers=small_buffers) as rig:
        with trio.move_on_after(1):
            await rig.upstream.send(rig.upstream.frame(BINARY, bytes(1 << 22)))
        await rig.client.send(rig.client.frame(TEXT, b"unread"))  # makes a reset of closing
        await trio.testing.wait_all_tasks_blocked()
        rig.upstream.sock.close()
        await trio.testing.wait_all_tasks_blocked()
        turns = pump.turns
        await trio.sleep(0.5)
        assert pump.turns == turns


async def test_a_busy_tunnel_leaves_turns_to_others(pump):
    async with tunnel_between(pump) as busy, tunnel_between(pump) as other, trio.open_nursery() as nursery:

        async def flood():
            data = busy.upstream.frame(BINARY, bytes(1 << 20))
            while True:
                await busy.upstream.send(data)

        async def swallow():
            while True:
                await busy.client.sock.recv(1 << 20)

        nursery.start_soon(flood)
        nursery.start_soon(swallow)
        await echo(other, 50)
        nursery.cancel_scope.cancel()


class BugError(Exception):
    """Stands for any mistake of ours."""


async def test_a_bug_ends_one_tunnel_and_is_reported(pump, bugs):
    async with tunnel_between(pump) as one, tunnel_between(pump) as other:

        class Broken:
            left = 0
            held = b""
            allowance = None

            def scan(self, *_):
                raise BugError

        one.tunnel.to_upstream.scanner = Broken()
        await one.client.send(one.client.frame(TEXT, b"x"))
        ending = await one.ending()
        assert (ending.by, ending.phase, ending.reason) == (Source.PROXY, Phase.TUNNEL, Reason.INTERNAL)
        assert [type(bug) for bug in bugs] == [BugError]
        await echo(other, 3)


async def test_when_serving_ends_open_tunnels_are_cut(nursery):
    pump, services = Pump(lambda _: None), trio.CancelScope()

    async def serve(task_status):
        with services:
            await pump.serve(task_status=task_status)

    await nursery.start(serve)
    async with tunnel_between(pump) as rig:
        services.cancel()
        assert (await rig.ending()).reason is Reason.CUT


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_two_handfuls_of_tunnels_leave_no_descriptor(pump):
    before = open_descriptors()
    for number in range(20):
        async with tunnel_between(pump) as rig:
            if number % 2:
                rig.cancel_scope.cancel()
            else:
                rig.tunnel.close(1001, Reason.DRAINING)
                assert (await rig.client.take(4))[0] & 15 == CLOSE
    assert pump.registered == 0
    assert open_descriptors() == before


async def test_an_unwatched_pump_sleeps(pump, autojump_clock):
    """Without tunnels nothing wakes it; with them, only its sweep."""
    await trio.sleep(1000)
    turns = pump.turns
    async with tunnel_between(pump, idle_timeout=10_000):
        await trio.sleep(100)
    assert pump.turns <= turns + 2
