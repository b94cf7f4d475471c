"""What any engine does with a suspended tunnel: nothing is read or passed on, nothing is lost, deadlines go on."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from support.frames import BINARY, CLOSE, PING, PONG, TEXT, close_payload
from support.tunnels import (
    ENGINES,
    engine_running,
    frames_of,
    relayed,
    small_buffers,
    tcp_pair,
    tunnel_between,
    unix_pair,
)

from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.relay.tunnel import GOING_AWAY, INTERNAL_ERROR

MIB = 1 << 20

pytestmark = pytest.mark.parametrize("engine", ENGINES)


async def settled():
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_what_comes_meanwhile_stays_with_its_sender_and_arrives_whole_behind_it(engine):
    async with relayed(engine) as rig:
        before = rig.client.frame(TEXT, b"before")
        await rig.client.send(before)
        assert await rig.upstream.take(len(before)) == before
        rig.tunnel.suspend()
        up, down = rig.client.frame(TEXT, b"up" * 500), rig.upstream.frame(BINARY, b"down" * 500)
        await rig.client.send(up)
        await rig.upstream.send(down)
        await settled()
        assert (rig.upstream.waiting(), rig.client.waiting()) == (b"", b"")
        assert (rig.tunnel.to_upstream.bytes, rig.tunnel.to_client.bytes) == (len(before), 0)
        rig.tunnel.resume()
        assert await rig.upstream.take(len(up)) == up
        assert await rig.client.take(len(down)) == down


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
async def test_a_stream_of_bytes_that_is_stopped_again_and_again_loses_none_and_swaps_none(engine, pair):
    async with engine_running(engine) as relay, tunnel_between(relay, pair, buffers=small_buffers) as rig:
        up = b"".join(rig.client.frame(BINARY, bytes([number % 256]) * 1000) for number in range(1500))
        down = b"".join(rig.upstream.frame(TEXT, b"%05d" % number * 200) for number in range(1500))
        got = {}

        async def read(peer, size):
            got[peer] = await peer.take(size)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, rig.upstream, len(up))
            nursery.start_soon(read, rig.client, len(down))
            nursery.start_soon(rig.client.send, up)
            nursery.start_soon(rig.upstream.send, down)
            for _ in range(30):
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
                rig.tunnel.suspend()
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                rig.tunnel.resume()
        assert got[rig.upstream] == up and got[rig.client] == down
        assert (rig.tunnel.to_upstream.messages, rig.tunnel.to_client.messages) == (1500, 1500)


async def test_a_sender_is_held_up_when_the_buffers_between_are_full_and_other_tunnels_go_on(engine):
    async with (
        engine_running(engine) as relay,
        tunnel_between(relay, tcp_pair, buffers=small_buffers) as held,
        tunnel_between(relay) as other,
    ):
        held.tunnel.suspend()
        sent = held.upstream.frame(BINARY, bytes(3 * MIB))
        done = trio.Event()

        async def send():
            await held.upstream.send(sent)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for _ in range(10):
                await other.client.send(other.client.frame(TEXT, b"ping"))
                assert await other.upstream.take(10)
            await settled()
            assert not done.is_set() and held.tunnel.to_client.bytes == 0
            held.tunnel.resume()
            assert await held.client.take(len(sent)) == sent
            await done.wait()


async def test_what_a_slow_reader_had_not_taken_does_not_pass_either(engine):
    async with engine_running(engine) as relay, tunnel_between(relay, tcp_pair, buffers=small_buffers) as rig:
        sent = rig.upstream.frame(BINARY, bytes(range(256)) * (MIB // 256))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.upstream.send, sent)
            await settled()
            rig.tunnel.suspend()
            read = rig.tunnel.to_client.bytes
            taken = await rig.client.take(1000)
            await settled()
            assert rig.tunnel.to_client.bytes == read
            rig.tunnel.resume()
            assert taken + await rig.client.take(len(sent) - 1000) == sent


async def test_an_end_that_comes_meanwhile_shows_behind_it(engine):
    async with relayed(engine) as rig:
        rig.tunnel.suspend()
        closing = await rig.client.send_close(1000)
        rig.client.fin()
        await settled()
        assert not rig.tunnel.closing and rig.upstream.waiting() == b""
        rig.tunnel.resume()
        assert await rig.upstream.take(len(closing)) == closing
        answer = await rig.upstream.send_close(1000)
        rig.upstream.fin()
        assert await rig.client.rest() == answer
        assert await rig.ending() == Ending(Source.CLIENT, Phase.CLOSE, Reason.DONE, "close 1000")


async def test_silence_of_its_own_making_ends_it_as_idle_and_is_told_as_injected(engine, autojump_clock):
    async with relayed(engine, idle_timeout=30) as rig:
        rig.tunnel.suspend()
        await rig.client.send(rig.client.frame(TEXT, b"unheard"))
        assert frames_of(await rig.client.take(4), client=True) == [(CLOSE, GOING_AWAY)]
        ending = await rig.ending()
        assert (ending.by, ending.reason, ending.injected) == (Source.PROXY, Reason.IDLE, True)
        assert (ending.told.by, ending.told.phase, ending.told.reason) == (Source.PROXY, Phase.TUNNEL, Reason.CHAOS)


async def test_pings_go_out_and_pongs_that_nobody_reads_end_it(engine, autojump_clock, monkeypatch):
    moments = iter((0.25, 0.75))  # of ten seconds: the upstream is pinged first, and has no time left before the client
    monkeypatch.setattr("trioproxy.relay.heartbeat.random.random", lambda: next(moments))
    async with relayed(engine, ping_interval=10, ping_timeout=4) as rig:
        rig.tunnel.suspend()
        ((opcode, payload),) = frames_of(await rig.upstream.take(18), client=False)
        assert opcode == PING
        await rig.upstream.send(rig.upstream.frame(PONG, payload))
        assert frames_of(await rig.client.take(4), client=True) == [(CLOSE, INTERNAL_ERROR)]
        ending = await rig.ending()
        assert (ending.by, ending.reason, ending.injected) == (Source.UPSTREAM, Reason.TIMEOUT, True)
        assert (ending.told.by, ending.told.reason) == (Source.PROXY, Reason.CHAOS)
        assert ending.told.detail == "as by upstream: timeout, no Pong from the upstream in 4 s"


async def test_a_pong_that_was_held_back_is_heard_when_it_goes_on(engine, autojump_clock):
    async with relayed(engine, ping_interval=10, ping_timeout=60) as rig:
        rig.tunnel.suspend()
        await trio.sleep(15)
        rig.tunnel.resume()
        await trio.sleep(1)
        assert not rig.tunnel.closing
        ping = frames_of(rig.client.waiting(), client=True)
        assert [opcode for opcode, _ in ping] == [PING]


async def test_a_polite_close_and_a_cut_reach_a_suspended_tunnel(engine, autojump_clock):
    async with engine_running(engine) as relay, tunnel_between(relay) as polite, tunnel_between(relay, tcp_pair) as cut:
        for rig in (polite, cut):
            rig.tunnel.suspend()
        polite.tunnel.close(4001, Reason.OPERATOR)
        assert frames_of(await polite.client.take(4), client=True) == [(CLOSE, 4001)]
        cut.tunnel.cut()
        assert (await cut.ending()).reason is Reason.CUT
        await polite.client.send(polite.client.frame(CLOSE, close_payload(4001)))
        ending = await polite.ending()  # at the deadline, as the client's answer is not read
        assert (ending.by, ending.reason, ending.injected) == (Source.PROXY, Reason.OPERATOR, False)


async def test_a_tunnel_that_was_never_suspended_or_is_over_can_be_resumed(engine):
    async with relayed(engine) as rig:
        rig.tunnel.resume()
        await rig.client.send(rig.client.frame(TEXT, b"hi"))
        assert await rig.upstream.take(8)
        rig.tunnel.suspend()
        rig.tunnel.cut()
        await rig.ending()
        rig.tunnel.resume()
        rig.tunnel.suspend()
