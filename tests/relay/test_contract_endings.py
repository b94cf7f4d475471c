"""How any engine ends a tunnel: Close frames on boundaries, FIN, RST, deadlines, and who is said to have ended it."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, PING, TEXT
from support.fuzz import examples
from support.tunnels import ENGINES, engine_running, frames_of, relayed, small_buffers, tcp_pair, tunnel_between

from trioproxy.errors import Reason
from trioproxy.relay import Tunnel

pytestmark = pytest.mark.parametrize("engine", ENGINES)


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_closing_handshake_is_done_by_who_said_close_first(engine, first):
    async with relayed(engine) as rig:
        ends = rig.client, rig.upstream
        one, other = ends if first == "client" else reversed(ends)
        sent = await one.send_close(4000)
        assert await other.take(len(sent)) == sent
        reply = await other.send_close(4000)
        assert await one.take(len(reply)) == reply
        rig.upstream.fin()
        assert await rig.client.rest() == b""
        rig.client.fin()
        await rig.ending()
        assert rig.summary() == (first, "close", "done")
        assert rig.tunnel.to_client.close_code == rig.tunnel.to_upstream.close_code == 4000
        assert rig.tunnel.sent_code is None


async def test_simultaneous_closes_pass_each_other(engine):
    async with relayed(engine) as rig:
        up, down = await rig.client.send_close(1000), await rig.upstream.send_close(1001)
        rig.upstream.fin()
        assert await rig.client.rest() == down
        rig.client.fin()
        assert await rig.upstream.rest() == up
        ending = await rig.ending()
        assert (ending.phase, ending.reason) == ("close", "done")


async def test_an_upstream_that_keeps_its_connection_after_the_handshake_is_not_waited_for(engine, autojump_clock):
    async with relayed(engine, close_timeout=5) as rig:
        await rig.client.send_close()
        await rig.upstream.send_close()
        start = trio.current_time()
        await rig.ending()
        assert 5 <= rig.ended_at - start <= 7
        assert rig.summary() == ("client", "close", "done")


@pytest.mark.rule("fin-behind-close")
async def test_a_close_without_an_answer_times_out(engine, autojump_clock):
    async with relayed(engine, close_timeout=5) as rig:
        sent = await rig.client.send_close()
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1011)]
        assert await rig.upstream.rest() == sent
        await rig.ending()
        assert rig.summary() == ("upstream", "close", "timeout")


@pytest.mark.rule("after-close")
async def test_what_follows_a_close_is_dropped(engine):
    async with relayed(engine) as rig:
        sent = rig.client.frame(CLOSE, b"\x03\xe8")
        await rig.client.send(sent + rig.client.frame(TEXT, b"no more") + rig.client.frame(PING))
        await rig.client.send(rig.client.frame(TEXT, b"no more"))
        rig.client.fin()
        assert await rig.upstream.rest() == sent
        await rig.upstream.send_close()
        rig.upstream.fin()
        await rig.ending()
        assert rig.tunnel.to_upstream.traffic.frames[TEXT] == 0
        assert rig.summary() == ("client", "close", "done")


# The polite close.


async def test_an_idle_tunnel_gets_its_close_at_once_and_both_sides_see_a_proper_end(engine):
    async with relayed(engine) as rig:
        rig.tunnel.close(1012, Reason.DRAINING)
        rig.tunnel.close(1001, Reason.IDLE)  # the first stands
        assert await rig.client.take(4) == b"\x88\x02\x03\xf4"
        await rig.upstream.send(rig.upstream.frame(TEXT, b"too late"))
        reply = await rig.client.send_close(1012)
        assert await rig.upstream.take(len(reply)) == reply
        await rig.upstream.send_close(1012)
        rig.upstream.fin()
        assert await rig.client.rest() == b""
        rig.client.fin()
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "draining")
        assert rig.tunnel.to_client.traffic.injected[CLOSE] == 1
        assert rig.tunnel.to_upstream.traffic.injected == [0] * 16
        assert rig.tunnel.sent_code == 1012
        assert rig.tunnel.to_client.traffic.frames[TEXT] == 1


async def test_a_close_asked_for_before_the_relay_runs_is_the_first_thing_sent(engine):
    def close(tunnel):
        tunnel.close(1001, Reason.DRAINING)

    async with relayed(engine, before=close, early_to_client=b"\x81\x02hi") as rig:
        await rig.client.send_close(1001)
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1001)]
    rig.tunnel.close(1001, Reason.IDLE)  # over: without effect
    rig.tunnel.cut()


@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=20), cut=st.integers(0, 2000), data=st.data())
@examples(40)
@pytest.mark.rule("injection")
async def test_an_injected_close_lands_on_a_boundary(engine, sizes, cut, data):
    async with relayed(engine) as rig:
        sent = b"".join(rig.upstream.frame(BINARY, bytes([i]) * size) for i, size in enumerate(sizes))
        cut = min(cut, len(sent))
        await rig.upstream.send(sent[:cut])
        await trio.testing.wait_all_tasks_blocked()
        rig.tunnel.close(1001, Reason.DRAINING)
        rest = sent[cut:]
        while rest:
            size = data.draw(st.integers(1, 500))
            await rig.upstream.send(rest[:size])
            rest = rest[size:]
        await rig.upstream.send_close()
        rig.upstream.fin()
        frames = frames_of(await rig.client.rest(), client=True)
        assert frames.pop() == (CLOSE, 1001)
        whole = [(BINARY, bytes([i]) * size) for i, size in enumerate(sizes)]
        assert frames == whole[: len(frames)]
        assert rig.tunnel.to_client.traffic.frames[BINARY] == len(sizes)


async def test_a_client_that_just_goes_after_our_close_is_told_to_the_upstream(engine):
    async with relayed(engine) as rig:
        rig.tunnel.close(1001, Reason.DRAINING)
        rig.client.fin()
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        rig.upstream.fin()
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "draining")
        assert rig.tunnel.to_upstream.traffic.injected[CLOSE] == 1


async def test_a_close_during_back_pressure_comes_behind_what_waits(engine):
    async with relayed(engine, buffers=small_buffers) as rig:
        sent = rig.upstream.frame(BINARY, bytes(1000)) * 3000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.upstream.send, sent)
            await trio.testing.wait_all_tasks_blocked(0.01)
            rig.tunnel.close(1001, Reason.DRAINING)
            await rig.client.send_close(1001)
            frames = frames_of(await rig.client.rest(), client=True)
            nursery.cancel_scope.cancel()
        assert frames.pop() == (CLOSE, 1001)
        assert 0 < len(frames) < 3000
        assert set(frames) == {(BINARY, bytes(1000))}


async def test_a_close_that_finds_no_boundary_in_time_ends_in_a_reset(engine, autojump_clock):
    async with relayed(engine, tcp_pair, close_timeout=5) as rig:
        await rig.upstream.send(rig.upstream.frame(BINARY, bytes(1000))[:500])
        assert len(await rig.client.take(500)) == 500
        rig.tunnel.close(1001, Reason.DRAINING)
        with pytest.raises(ConnectionResetError):
            await rig.client.rest()
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "draining")


# Sides that vanish.


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.rule("vanished", "close-codes")
async def test_an_upstream_gone_at_a_boundary_is_told_to_the_client(engine, how):
    async with relayed(engine, tcp_pair) as rig:
        data = rig.upstream.frame(TEXT, b"last")
        await rig.upstream.send(data)
        assert await rig.client.take(len(data)) == data
        getattr(rig.upstream, how)()
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1011)]
        rig.client.fin()
        if how == "fin":
            assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        await rig.ending()
        assert rig.summary() == ("upstream", "tunnel", "closed" if how == "fin" else "reset")
        assert rig.tunnel.to_client.traffic.injected[CLOSE] == 1


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.rule("vanished", "close-codes")
async def test_a_client_gone_at_a_boundary_is_told_to_the_upstream(engine, how):
    async with relayed(engine, tcp_pair) as rig:
        getattr(rig.client, how)()
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        rig.upstream.fin()
        await rig.ending()
        assert rig.summary() == ("client", "tunnel", "closed" if how == "fin" else "reset")


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.parametrize("side", ["client", "upstream"])
@pytest.mark.rule("vanished")
async def test_a_side_gone_inside_a_frame_is_a_reset_for_the_other(engine, side, how):
    async with relayed(engine, tcp_pair) as rig:
        gone, left = (rig.client, rig.upstream) if side == "client" else (rig.upstream, rig.client)
        part = gone.frame(BINARY, bytes(1000))[:700]
        await gone.send(part)
        assert await left.take(700) == part
        getattr(gone, how)()
        with pytest.raises(ConnectionResetError):
            await left.rest()
        await rig.ending()
        assert rig.summary() == (side, "tunnel", "closed" if how == "fin" else "reset")


async def test_a_client_that_says_close_and_resets_was_still_done(engine):
    async with relayed(engine, tcp_pair) as rig:
        await rig.upstream.send(rig.upstream.frame(TEXT, b"never read"))
        sent = await rig.client.send_close()
        assert await rig.upstream.take(len(sent)) == sent
        rig.client.reset()
        await rig.upstream.send_close()
        rig.upstream.fin()
        await rig.ending()
        assert rig.summary() == ("client", "close", "done")


async def test_an_upstream_that_ends_without_answering_a_close_is_to_blame(engine):
    async with relayed(engine) as rig:
        await rig.client.send_close()
        rig.upstream.fin()
        assert frames_of(await rig.client.rest(), client=True) == [(CLOSE, 1011)]
        rig.client.fin()
        await rig.ending()
        assert rig.summary() == ("upstream", "close", "closed")


async def test_a_vanished_side_that_leaves_the_other_waiting_ends_by_deadline(engine, autojump_clock):
    async with relayed(engine, close_timeout=5) as rig:
        rig.client.fin()
        start = trio.current_time()
        await rig.ending()
        assert 5 <= rig.ended_at - start <= 7
        assert rig.summary() == ("client", "tunnel", "closed")


# Time and force.


@pytest.mark.rule("close-codes")
async def test_an_idle_tunnel_is_closed_on_both_sides(engine, autojump_clock):
    async with relayed(engine, idle_timeout=60) as rig:
        await trio.sleep(50)
        sent = rig.upstream.frame(PING)
        await rig.upstream.send(sent)
        assert await rig.client.take(2) == sent
        start = trio.current_time()
        assert frames_of(await rig.upstream.take(8), client=False) == [(CLOSE, 1001)]
        assert 60 <= trio.current_time() - start <= 62
        assert frames_of(await rig.client.take(4), client=True) == [(CLOSE, 1001)]
        await rig.client.send_close(1001)
        await rig.upstream.send_close(1001)
        assert await rig.client.rest() == await rig.upstream.rest() == b""
        rig.client.fin()
        rig.upstream.fin()
        await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "idle")


@pytest.mark.rule("back-pressure", "slow")
async def test_a_write_without_progress_is_a_reset_in_the_end(engine, autojump_clock):
    async with relayed(engine, tcp_pair, idle_timeout=60, buffers=small_buffers) as rig:
        start = trio.current_time()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await rig.upstream.send(rig.upstream.frame(BINARY, bytes(1 << 24)))
        assert 60 <= trio.current_time() - start <= 63
        await rig.ending()
        assert rig.summary() == ("client", "tunnel", "stalled")


async def test_a_stalled_reader_does_not_keep_a_closing_tunnel(engine, autojump_clock):
    async with relayed(engine, tcp_pair, close_timeout=5, buffers=small_buffers) as rig:
        async with trio.open_nursery() as nursery:

            async def write():
                with pytest.raises((ConnectionResetError, BrokenPipeError)):
                    await rig.upstream.send(rig.upstream.frame(BINARY, bytes(1 << 24)))

            nursery.start_soon(write)
            await trio.testing.wait_all_tasks_blocked(0.01)
            rig.tunnel.close(1001, Reason.DRAINING)
            await rig.ending()
        assert rig.summary() == ("proxy", "tunnel", "draining")
        with pytest.raises(ConnectionResetError):
            await rig.client.rest()


async def test_a_cut_resets_both_sides_at_once(engine):
    async with relayed(engine, tcp_pair) as rig:
        rig.tunnel.close(1001, Reason.DRAINING)
        rig.tunnel.cut()
        rig.tunnel.cut()
        await rig.ending()
        assert rig.summary() == ("proxy", "close", "cut")
        for peer in (rig.client, rig.upstream):
            with pytest.raises(ConnectionResetError):
                await peer.rest()


async def test_a_tunnel_cut_before_the_relay_runs_ends_at_once(engine):
    async with engine_running(engine) as relay:
        async with tunnel_between(relay, before=Tunnel.cut) as rig:
            assert (await rig.ending()).reason is Reason.CUT
        async with tunnel_between(relay) as rig:  # the engine goes on
            sent = await rig.client.send_close()
            assert await rig.upstream.take(len(sent)) == sent


async def test_a_client_that_resets_while_it_stalls_is_told_to_the_upstream(engine):
    async with relayed(engine, tcp_pair, buffers=small_buffers) as rig:
        sent = rig.upstream.frame(BINARY, bytes(1000)) * 4000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.upstream.send, sent)
            await trio.testing.wait_all_tasks_blocked(0.01)
            rig.client.reset()
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        rig.upstream.fin()
        await rig.ending()
        assert rig.summary() == ("client", "tunnel", "reset")
