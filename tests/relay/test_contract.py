"""What any engine does with the bytes: exactly, in order, counted, with back-pressure. How tunnels end: `test_contract_endings`."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT
from support.fuzz import examples
from support.tunnels import ENGINES, engine_running, relayed, small_buffers, tcp_pair, tunnel_between, unix_pair

MIB = 1 << 20

pytestmark = pytest.mark.parametrize("engine", ENGINES)

payloads = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]).map(lambda size: b"x" * size),
)


@st.composite
def messages(draw):
    """(opcode, payload, fin) of some messages, fragmented at will, with pings and pongs in between."""
    frames = []
    for _ in range(draw(st.integers(1, 6))):
        parts = draw(st.lists(payloads, min_size=1, max_size=3))
        for i, part in enumerate(parts):
            opcode = CONTINUATION if i else draw(st.sampled_from([TEXT, BINARY]))
            frames.append((opcode, part, i == len(parts) - 1))
            if draw(st.booleans()):
                frames.append((draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)), True))
    return frames


async def send_in_chunks(peer, data, sizes):
    """The first few hundred chunks as they are wished, then larger ones, to come to an end."""
    for count in itertools.count():
        if not data:
            break
        size = sizes[count % len(sizes)] * (count // 300 + 1)
        await peer.send(data[:size])
        data = data[size:]
        await trio.lowlevel.checkpoint()


@examples(50, suppress_health_check=[HealthCheck.too_slow])
@given(up=messages(), down=messages(), sizes=st.lists(st.integers(1, 100) | st.integers(1000, 90000), min_size=1))
@pytest.mark.rule("frames-relayed")
async def test_any_frames_in_any_chunks_arrive_as_they_were_sent_and_are_counted(engine, up, down, sizes):
    async with relayed(engine) as rig:
        expected = {}
        async with trio.open_nursery() as nursery:
            for sender, reader, frames in ((rig.client, rig.upstream, up), (rig.upstream, rig.client, down)):
                sent = b"".join(sender.frame(opcode, payload, fin=fin) for opcode, payload, fin in frames)
                nursery.start_soon(send_in_chunks, sender, sent, sizes)
                expected[reader] = sent

                async def check(reader=reader, sent=sent):
                    assert await reader.take(len(sent)) == sent

                nursery.start_soon(check)
        for way, frames, reader in (
            (rig.tunnel.to_upstream, up, rig.upstream),
            (rig.tunnel.to_client, down, rig.client),
        ):
            assert way.bytes == len(expected[reader])
            assert way.traffic.frames == [sum(opcode == n for opcode, _, _ in frames) for n in range(16)]
            assert way.messages == sum(fin for opcode, _, fin in frames if opcode < 8)
            assert way.close_code is None
            assert way.traffic.injected == [0] * 16


async def test_a_frame_counts_with_its_header_and_a_message_with_its_last_byte(engine):
    async with relayed(engine) as rig:
        way, sent = rig.tunnel.to_upstream, rig.client.frame(TEXT, b"hello")
        for size, frames, message in ((5, 0, 0), (6, 1, 0), (10, 1, 0), (11, 1, 1)):
            await rig.client.send(sent[way.bytes : size])
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert (way.bytes, way.traffic.frames[TEXT], way.messages) == (size, frames, message)


@pytest.mark.rule("early-data", "first-frames")
async def test_early_bytes_of_both_sides_go_first_and_count(engine):
    up, down = b"\x81\x82\0\0\0\0hi", b"\x82\x03one\x82"
    async with relayed(engine, early_to_upstream=up, early_to_client=down) as rig:
        assert await rig.upstream.take(len(up)) == up
        await rig.upstream.send(b"\x03two")
        assert await rig.client.take(10) == b"\x82\x03one\x82\x03two"
        assert (rig.tunnel.to_upstream.bytes, rig.tunnel.to_client.bytes) == (8, 10)
        assert (rig.tunnel.to_upstream.messages, rig.tunnel.to_client.messages) == (1, 2)


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
async def test_huge_frames_pass_both_ways_at_once(engine, pair):
    async with relayed(engine, pair) as rig:
        up = rig.client.frame(BINARY, bytes(range(256)) * (4 * MIB // 256))
        down = rig.upstream.frame(BINARY, bytes(reversed(range(256))) * (6 * MIB // 256))
        got = {}

        async def read(peer, size):
            got[peer] = await peer.take(size)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.client.send, up)
            nursery.start_soon(rig.upstream.send, down)
            nursery.start_soon(read, rig.upstream, len(up))
            nursery.start_soon(read, rig.client, len(down))
        assert got[rig.upstream] == up and got[rig.client] == down
        assert rig.tunnel.to_client.messages == rig.tunnel.to_upstream.messages == 1


async def test_many_tiny_frames_in_one_write_pass(engine):
    async with relayed(engine) as rig:
        sent = rig.client.frame(TEXT, b"") * 20_000 + rig.client.frame(BINARY, b"x") * 20_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.client.send, sent)
            assert await rig.upstream.take(len(sent)) == sent
        assert rig.tunnel.to_upstream.traffic.frames[TEXT] == rig.tunnel.to_upstream.traffic.frames[BINARY] == 20_000
        assert rig.tunnel.to_upstream.messages == 40_000


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
@pytest.mark.rule("back-pressure")
async def test_a_reader_that_stops_stops_its_writer_and_no_one_else(engine, pair):
    async with (
        engine_running(engine) as relay,
        tunnel_between(relay, pair, buffers=small_buffers) as slow,
        tunnel_between(relay, pair) as other,
    ):
        sent = slow.upstream.frame(BINARY, bytes(range(256)) * (3 * MIB // 256))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.upstream.send, sent)
            for _ in range(20):  # while it is blocked, the others go on
                await other.client.send(other.client.frame(TEXT, b"ping"))
                assert await other.upstream.take(10)
                await trio.testing.wait_all_tasks_blocked(0.001)
            held = slow.tunnel.to_client.bytes
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert slow.tunnel.to_client.bytes == held < MIB, "the writer was not stopped"
            assert len(nursery.child_tasks) == 1
            await slow.client.send(slow.client.frame(TEXT, b"the other way is open"))
            assert len(await slow.upstream.take(27)) == 27
            assert await slow.client.take(len(sent)) == sent


@pytest.mark.rule("fin-behind-close")
async def test_half_close_behind_a_close_frame_lets_the_other_side_finish(engine):
    async with relayed(engine) as rig:
        close = await rig.client.send_close(1000)
        rig.client.fin()
        assert await rig.upstream.rest() == close
        data = rig.upstream.frame(TEXT, b"still talking")
        await rig.upstream.send(data)
        assert await rig.client.take(len(data)) == data
        reply = await rig.upstream.send_close(1000)
        rig.upstream.fin()
        assert await rig.client.rest() == reply
        await rig.ending()
        assert rig.summary() == ("client", "close", "done")


async def test_many_tunnels_at_once_keep_apart(engine):
    async with engine_running(engine) as relay, trio.open_nursery() as nursery:

        async def talk(number):
            async with tunnel_between(relay) as rig:
                for i in range(20):
                    sent = rig.client.frame(BINARY, bytes([number, i]) * (number * 40))
                    await rig.client.send(sent)
                    assert await rig.upstream.take(len(sent)) == sent
                    back = rig.upstream.frame(TEXT, bytes([i, number]) * number)
                    await rig.upstream.send(back)
                    assert await rig.client.take(len(back)) == back

        for number in range(100):
            nursery.start_soon(talk, number)


async def test_cancelling_the_task_lets_go_of_both_streams_at_once(engine):
    async with engine_running(engine) as relay:
        async with tunnel_between(relay) as rig:
            await rig.client.send(rig.client.frame(TEXT, b"in flight")[:7])
            assert await rig.upstream.take(6)
            rig.cancel_scope.cancel()
            await rig.over.wait()
            assert rig.result is None
            assert getattr(relay, "registered", 0) == 0
        async with tunnel_between(relay) as rig:  # most likely with the same descriptors
            await rig.client.send(rig.client.frame(TEXT, b"hi"))
            assert len(await rig.upstream.take(8)) == 8


async def test_without_strict_anything_goes(engine):
    async with relayed(engine, strict=False) as rig:
        odd = [
            rig.client.frame(3, b"reserved opcode"),
            b"\x01\x03not",  # no mask
            rig.client.frame(TEXT, b"new message inside a message", rsv=7),
            b"\x89\xfe\x00\x80" + bytes(132),  # a long ping
            b"\x82\xff" + (5).to_bytes(8, "big") + b"maskhello",
            rig.client.frame(CLOSE, b"\x03\xe8"),
            rig.client.frame(TEXT, b"behind the Close"),
        ]
        for sent in odd:
            await send_in_chunks(rig.client, sent, [3])
            assert await rig.upstream.take(len(sent)) == sent
        assert rig.tunnel.to_upstream.traffic.frames[TEXT] == 3
        assert rig.tunnel.to_upstream.close_code == 1000
