"""What any engine does with pings of the proxy's own: on boundaries only, unseen by the other side, and a sign of life."""

from __future__ import annotations

import itertools
from contextlib import suppress

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, masked
from support.fuzz import examples
from support.tunnels import ENGINES, engine_running, frames_of, relayed, small_buffers, tcp_pair, tunnel_between
from wsproto.frame_protocol import FrameDecoder

pytestmark = pytest.mark.parametrize("engine", ENGINES)
sides = pytest.mark.parametrize("side", ["client", "upstream"])


def ends(rig, side):
    return (rig.client, rig.upstream) if side == "client" else (rig.upstream, rig.client)


def to_side(rig, side):
    return rig.tunnel.to_client if side == "client" else rig.tunnel.to_upstream


async def take_ping(peer):
    """The payload of the ping that comes next."""
    head = await peer.take(2)
    assert head[0] == 0x80 | PING, head
    assert bool(head[1] & 0x80) == (peer.mask is None), "towards an upstream, and only there, frames are masked"
    mask = await peer.take(4) if head[1] & 0x80 else bytes(4)
    return masked(await peer.take(head[1] & 0x7F), mask)


async def answer(peer):
    payload = await take_ping(peer)
    await peer.send(peer.frame(PONG, payload))
    return payload


@attrs.define(eq=False)
class Endpoint:
    """Reads frames and sets the proxy's pings apart from the rest, `passed`; answers them at once, or in `send`."""

    peer: object
    others_pings: frozenset = frozenset()
    waits: bool = False
    passed: bytearray = attrs.field(factory=bytearray)
    raw: bytearray = attrs.field(factory=bytearray)
    pongs: list = attrs.field(factory=list)
    _rest: bytearray = attrs.field(factory=bytearray)

    async def read(self):
        with suppress(OSError, trio.ClosedResourceError):  # the test is over
            await self._read()

    async def _read(self):
        while data := await self.peer.receive():
            self.raw += data
            self._rest += data
            while size := whole(self._rest):
                one = bytes(self._rest[:size])
                del self._rest[:size]
                body = 6 if one[1] & 0x80 else 2
                payload = masked(one[6:], one[2:6]) if body == 6 else one[2:]
                if one[0] == 0x80 | PING and payload not in self.others_pings:
                    self.pongs.append(self.peer.frame(PONG, payload))
                else:
                    self.passed += one
            if not self.waits:
                await self.peer.send(self.take_pongs())

    def take_pongs(self):
        pongs = b"".join(self.pongs)
        self.pongs.clear()
        return pongs

    async def send(self, frames, sizes):
        for step, one in enumerate(frames):
            data = self.take_pongs() + one
            for count in itertools.count():
                size = sizes[count % len(sizes)] * (count // 50 + 1)
                await self.peer.send(data[:size])
                data = data[size:]
                await trio.lowlevel.checkpoint()
                if (count + step) % 4 == 0:
                    await trio.sleep(0.4)
                if not data:
                    break
        await self.peer.send(self.take_pongs())


def whole(data):
    """The size of the frame that `data` begins with; 0 if it is incomplete."""
    padded = bytes(data[:10]) + bytes(10)
    length, head = padded[1] & 0x7F, 2
    if length > 125:
        head = 4 if length == 126 else 10
        length = int.from_bytes(padded[2:head], "big")
    size = head + (4 if padded[1] & 0x80 else 0) + length
    return size if size <= len(data) else 0


@pytest.mark.rule("own-pings")
async def test_both_sides_are_pinged_and_neither_sees_the_others_answer(engine, autojump_clock, nursery):
    async with relayed(engine, ping_interval=10, ping_timeout=5) as rig:
        client, upstream = Endpoint(rig.client), Endpoint(rig.upstream)
        nursery.start_soon(client.read)
        nursery.start_soon(upstream.read)
        await trio.sleep(99)
        await trio.testing.wait_all_tasks_blocked()  # a ping may be due at this very moment: its Pong too
        for way in (rig.tunnel.to_client, rig.tunnel.to_upstream):
            assert 8 <= way.traffic.injected[PING] == way.traffic.injected[PONG] <= 11
            round_trips = way.traffic.take_round_trips()
            assert len(round_trips) == way.traffic.injected[PING]
            assert max(round_trips) < 1
            assert way.traffic.take_round_trips() == []
            assert (way.bytes, way.frames) == (0, 0)
        assert client.passed == upstream.passed == b""


@pytest.mark.rule("own-pings", "injection")
async def test_keys_and_payloads_are_fresh(engine, autojump_clock):
    async with relayed(engine, ping_interval=5) as rig, trio.open_nursery() as nursery:
        nursery.start_soon(Endpoint(rig.client).read)
        seen = []
        for _ in range(10):
            raw = await rig.upstream.take(18)
            seen += [raw[2:6], masked(raw[6:], raw[2:6])]
            await rig.upstream.send(rig.upstream.frame(PONG, seen[-1]))
        assert len(set(seen)) == 20
        nursery.cancel_scope.cancel()


@sides
@pytest.mark.parametrize("chunk", [1, 5, 100])
@pytest.mark.rule("own-pings")
async def test_only_the_pong_that_answers_is_taken_out(engine, side, chunk, autojump_clock):
    async with relayed(engine, ping_interval=100, ping_timeout=5000) as rig:
        pinged, other = ends(rig, side)
        payload = await take_ping(pinged)
        before = pinged.frame(PONG, b"unasked") + pinged.frame(TEXT, b"1") + pinged.frame(PONG, payload[:-1])
        behind = pinged.frame(PONG, payload + b"x") + pinged.frame(BINARY, bytes(300)) + pinged.frame(PONG, payload)
        sent = before + pinged.frame(PONG, payload) + behind
        for at in range(0, len(sent), chunk):
            await pinged.send(sent[at : at + chunk])
            await trio.testing.wait_all_tasks_blocked()
        back = to_side(rig, "upstream" if side == "client" else "client")
        while not (passed := await other.take(1)) or passed[0] == 0x80 | PING:  # that for the other side may come first
            other.received[:0] = passed
            await take_ping(other)
        assert passed + await other.take(len(before + behind) - 1) == before + behind
        assert back.bytes == len(before + behind)
        assert (back.traffic.frames[PONG], back.traffic.frames[TEXT], back.messages) == (4, 1, 2)


@sides
@pytest.mark.rule("injection")
async def test_a_ping_goes_in_at_the_first_boundary_of_a_busy_stream(engine, side, autojump_clock):
    async with relayed(engine, ping_interval=10) as rig:
        pinged, sender = ends(rig, side)
        data = sender.frame(BINARY, bytes(range(256)) * 4)
        await sender.send(data[:500])
        assert await pinged.take(500) == data[:500]
        await trio.sleep(15)
        await trio.testing.wait_all_tasks_blocked()
        assert to_side(rig, side).traffic.injected[PING] == 0, "there was no boundary"
        await sender.send(data[500:] + data)
        assert await pinged.take(len(data) - 500) == data[500:]
        await take_ping(pinged)
        assert await pinged.take(len(data)) == data


async def test_a_ping_may_go_between_the_fragments_of_a_message(engine, autojump_clock):
    async with relayed(engine, ping_interval=10) as rig:
        await rig.upstream.send(rig.upstream.frame(TEXT, b"a", fin=False))
        assert len(await rig.client.take(3)) == 3
        await answer(rig.client)
        last = rig.upstream.frame(CONTINUATION, b"b")
        await rig.upstream.send(last)
        assert await rig.client.take(3) == last


# Random streams, sent in chunks; each end answers the proxy's pings at frame boundaries of its own, as endpoints do.

streams = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY, PING, PONG]),
        st.binary(max_size=125) | st.sampled_from([126, 5000, 65536]).map(bytes),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def as_frames(peer, stream):
    frames, inside = [], False
    for opcode, payload, fin in stream:
        if opcode > BINARY:
            frames.append(peer.frame(opcode, payload[:125]))
        else:
            frames.append(peer.frame(CONTINUATION if inside else opcode, payload, fin=fin))
            inside = not fin
    return frames


def decoded_by_wsproto(data, *, client):
    """How many frames wsproto finds; it raises for a broken header."""
    decoder, found = FrameDecoder(client=client, extensions=[]), 0
    decoder.receive_bytes(data)
    while (part := decoder.process_buffer()) is not None:
        found += part.frame_finished
    return found


@examples(100)
@given(up=streams, down=streams, sizes=st.lists(st.integers(1, 60) | st.integers(1000, 90000), min_size=1, max_size=9))
def test_pings_are_invisible_in_any_streams_in_any_chunks(engine, up, down, sizes):
    """... and never inside a frame, with the other limits on, too."""
    pings = [frozenset(payload[:125] for opcode, payload, _ in stream if opcode == PING) for stream in (down, up)]

    async def main():
        limits = {"max_message_bytes": 1 << 30, "max_message_rate": 1e6, "max_frame_rate": 1e6, "max_age": 1e6}
        async with relayed(engine, ping_interval=1, ping_timeout=1e6, **limits) as rig, trio.open_nursery() as nursery:
            client, upstream = Endpoint(rig.client, pings[0], waits=True), Endpoint(rig.upstream, pings[1], waits=True)
            nursery.start_soon(client.read)
            nursery.start_soon(upstream.read)
            sent = [as_frames(rig.client, up), as_frames(rig.upstream, down)]
            async with trio.open_nursery() as sending:
                sending.start_soon(client.send, sent[0], sizes)
                sending.start_soon(upstream.send, sent[1], sizes)
            await trio.testing.wait_all_tasks_blocked()
            for end, frames, back in zip((upstream, client), sent, ("upstream", "client"), strict=True):
                assert bytes(end.passed) == b"".join(frames)
                decoded = decoded_by_wsproto(bytes(end.raw), client=end is client)
                assert decoded == len(frames) + to_side(rig, back).traffic.injected[PING]
            assert rig.tunnel.to_upstream.bytes == sum(map(len, sent[0]))
            assert rig.tunnel.to_client.bytes == sum(map(len, sent[1]))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Silence.


@sides
@pytest.mark.rule("ping-timeout", "close-codes")
async def test_a_silent_side_is_cut_and_the_other_told(engine, side, autojump_clock, nursery):
    async with relayed(engine, tcp_pair, ping_interval=10, ping_timeout=20) as rig:
        silent, other = ends(rig, side)
        end = Endpoint(other)
        nursery.start_soon(end.read)
        await take_ping(silent)
        start = trio.current_time()
        while not end.passed:
            await trio.sleep(0.5)
        assert 20 <= trio.current_time() - start <= 22
        code = 1001 if side == "client" else 1011
        assert frames_of(bytes(end.passed), client=side == "upstream") == [(CLOSE, code)]
        other.fin()
        assert (await rig.ending()).detail == f"no Pong from the {side} in 20 s"
        assert rig.summary() == (side, "tunnel", "timeout")
        with pytest.raises(ConnectionResetError):
            await silent.rest()


@sides
async def test_a_side_silent_inside_a_frame_is_a_reset_for_both(engine, side, autojump_clock):
    async with relayed(engine, tcp_pair, ping_interval=10, ping_timeout=20) as rig:
        silent, other = ends(rig, side)
        part = silent.frame(BINARY, bytes(1000))[:500]
        await silent.send(part)
        assert await other.take(500) == part
        for peer in (silent, other):
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        await rig.ending()
        assert rig.summary()[2] == "timeout"


async def test_a_side_that_sends_anything_is_not_silent(engine, autojump_clock, nursery):
    async with relayed(engine, ping_interval=10, ping_timeout=5) as rig:
        client = Endpoint(rig.client)
        nursery.start_soon(client.read)
        sent = rig.upstream.frame(PONG, b"not that")
        for _ in range(60):
            await rig.upstream.send(sent)
            await trio.sleep(2)
        assert client.passed == sent * 60
        assert 10 < rig.tunnel.to_upstream.traffic.injected[PING] < 14


@pytest.mark.rule("own-pings")
async def test_own_pings_do_not_keep_an_idle_tunnel_open(engine, autojump_clock, nursery):
    async with relayed(engine, ping_interval=5, ping_timeout=5, idle_timeout=60) as rig:
        client, upstream = Endpoint(rig.client), Endpoint(rig.upstream)
        nursery.start_soon(client.read)
        nursery.start_soon(upstream.read)
        start = trio.current_time()
        while not client.passed:
            await trio.sleep(0.5)
        assert 60 <= trio.current_time() - start <= 62
        assert frames_of(bytes(client.passed), client=True) == [(CLOSE, 1001)]
        assert frames_of(bytes(upstream.passed), client=False) == [(CLOSE, 1001)]
        assert rig.tunnel.to_client.traffic.injected[PONG] >= 10


async def test_a_closing_tunnel_is_not_pinged_but_late_answers_are_taken_out(engine, autojump_clock):
    async with relayed(engine, ping_interval=3, ping_timeout=20, close_timeout=60) as rig:
        payload = await take_ping(rig.upstream)
        close = await rig.client.send_close(1000)
        assert await rig.upstream.take(len(close)) == close
        await rig.upstream.send(rig.upstream.frame(PONG, payload) + rig.upstream.frame(TEXT, b"last"))
        await trio.sleep(30)
        while rig.client.received[:1] in (b"", b"\x89"):
            rig.client.received[:0] = await rig.client.take(1)
            if rig.client.received[0] != 0x89:
                break
            await take_ping(rig.client)
        assert await rig.client.take(6) == rig.upstream.frame(TEXT, b"last")
        assert not rig.upstream.received


async def test_tunnels_that_open_together_are_not_pinged_together(engine, autojump_clock):
    async with engine_running(engine) as relay, trio.open_nursery() as nursery:
        times = set()

        async def one():
            async with tunnel_between(relay, ping_interval=30, ping_timeout=1000) as rig:
                await take_ping(rig.client)
                times.add(round(trio.current_time()))

        for _ in range(30):
            nursery.start_soon(one)
    assert len(times) > 8


async def test_a_ping_during_back_pressure_comes_behind_what_waits(engine, autojump_clock):
    async with relayed(engine, buffers=small_buffers, ping_interval=5, ping_timeout=1000) as rig:
        sent = rig.upstream.frame(BINARY, bytes(1000)) * 500
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.upstream.send, sent)
            await trio.sleep(10)
            received = b""
            while len(received) < len(sent) + 14:
                received += await rig.client.take(1)
                received += await rig.client.take(len(rig.client.received))
                await trio.lowlevel.checkpoint()
        frames = frames_of(received, client=True)
        assert [one for one in frames if one[0] == BINARY] == [(BINARY, bytes(1000))] * 500
        assert [opcode for opcode, _ in frames].count(PING) == rig.tunnel.to_client.traffic.injected[PING] == 1
