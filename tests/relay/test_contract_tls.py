"""What any engine does with TLS on one side or both: records of any size, ends that are said or not, what is forged.

All else that is asked of a tunnel, `pump-tls` is asked in the other files of the contract.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from support.frames import BINARY, CLOSE, MASK, TEXT, frame
from support.fuzz import examples
from support.tls_peers import contexts
from support.tunnels import (
    TLS_ENGINES,
    as_socket,
    engine_running,
    frames_of,
    relayed,
    small_buffers,
    tcp_pair,
    tunnel_between,
    unix_pair,
)

from trioproxy.config import WebSocketConfig
from trioproxy.relay import Tunnel
from trioproxy.relay.pump import DENSE
from trioproxy.tls.stream import TlsStream

MIB = 1 << 20
FORGED = b"\x17\x03\x03\x00\x20" + bytes(32)  # a record as it should look, but nobody has sealed it

engines = pytest.mark.parametrize("engine", TLS_ENGINES)
pump_alone = pytest.mark.parametrize("engine", ["pump-tls"])


async def send_cut(peer, data, records, cuts):
    """In records of these sizes, whose octets travel in pieces of those."""
    octets, sizes = b"", itertools.cycle(records)
    while data:
        size = next(sizes)
        octets += peer.tls.encrypt(data[:size]) if peer.tls else data[:size]
        data = data[size:]
    for count, cut in enumerate(itertools.cycle(cuts)):
        if not octets:
            break
        size = cut * (count // 100 + 1)  # to come to an end
        await peer.send_octets(octets[:size])
        octets = octets[size:]
        await trio.lowlevel.checkpoint()


sizes = st.lists(st.integers(1, 300) | st.integers(1000, 40_000), min_size=1, max_size=8)


@engines
@examples(8, suppress_health_check=[HealthCheck.too_slow])
@given(
    payloads=st.lists(st.sampled_from([0, 1, 125, 126, 1000, 16_384, 70_000]), min_size=1, max_size=6),
    records=sizes,
    cuts=sizes,
)
async def test_any_frames_in_any_records_cut_anywhere_arrive_as_they_were_sent(engine, payloads, records, cuts):
    async with relayed(engine) as rig, trio.open_nursery() as nursery:
        for sender, reader in ((rig.client, rig.upstream), (rig.upstream, rig.client)):
            sent = b"".join(sender.frame(BINARY, bytes([i]) * size) for i, size in enumerate(payloads))

            async def check(reader=reader, sent=sent):
                assert await reader.take(len(sent)) == sent

            nursery.start_soon(send_cut, sender, sent, records, cuts)
            nursery.start_soon(check)
    for way in (rig.tunnel.to_upstream, rig.tunnel.to_client):
        assert way.messages == len(payloads)


@engines
async def test_records_come_octet_by_octet(engine):
    async with relayed(engine) as rig:
        for sender, reader in ((rig.client, rig.upstream), (rig.upstream, rig.client)):
            sent = sender.frame(TEXT, b"slowly")
            octets = sender.tls.encrypt(sent[:3]) + sender.tls.encrypt(sent[3:]) if sender.tls else sent
            for at in range(len(octets)):
                await sender.send_octets(octets[at : at + 1])
                await trio.lowlevel.checkpoint()
            assert await reader.take(len(sent)) == sent


@pump_alone
async def test_sixty_four_mebibytes_pass_a_slow_reader_and_little_waits_for_it(engine):
    async with engine_running(engine) as relay, tunnel_between(relay, tcp_pair, buffers=small_buffers) as rig:
        head, block, most = rig.upstream.frame(BINARY, bytes(64 * MIB))[:10], bytes(range(256)) * 1024, 0
        port = relay.relay._sealed[rig.tunnel.client.fileno()]

        async def send():
            await rig.upstream.send(head)
            for _ in range(64 * MIB // len(block)):
                await rig.upstream.send(block)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert await rig.client.take(len(head)) == head
            for _ in range(64 * MIB // len(block)):
                assert await rig.client.take(len(block)) == block
                most = max(most, len(port.unsent or b""))
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < most < 300 * 1024
        assert port.unsent is None


# Ends.


def ends(rig, side):
    return (rig.client, rig.upstream) if side == "client" else (rig.upstream, rig.client)


sides = pytest.mark.parametrize("side", ["client", "upstream"])


@pytest.mark.parametrize("engine", ["pump-tls", "pump-tls-1.2", "streams-tls"])
@pytest.mark.parametrize("how", ["close_notify alone", "FIN alone"])
@sides
@pytest.mark.rule("vanished", "close-codes")
async def test_an_end_that_is_said_and_one_that_is_not_are_both_an_end(engine, how, side):
    async with relayed(engine, tcp_pair) as rig:
        gone, other = ends(rig, side)
        data = gone.frame(TEXT, b"last")
        if how == "FIN alone":
            await gone.send(data)
            gone.sock.shutdown(socket.SHUT_WR)
        else:
            await gone.send_octets(gone.tls.encrypt(data) + gone.tls.close_notify())
        assert await other.take(len(data)) == data
        code = 1011 if other is rig.client else 1001
        assert frames_of(await other.rest(), client=other is rig.client) == [(CLOSE, code)]
        other.fin()
        if how == "FIN alone":
            await gone.rest()
        else:
            gone.sock.close()
        await rig.ending()
        assert rig.summary() == (side, "tunnel", "closed")


@pytest.mark.parametrize("engine", ["pump-tls", "streams-tls"])
@pytest.mark.rule("vanished")
async def test_an_end_inside_a_record_is_one_inside_a_frame_or_not(engine):
    async with relayed(engine, tcp_pair) as rig:
        data = rig.client.frame(BINARY, bytes(1000))
        await rig.client.send(data)
        await rig.client.send_octets(rig.client.tls.encrypt(data)[:500])
        rig.client.sock.shutdown(socket.SHUT_WR)
        assert await rig.upstream.take(len(data)) == data
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
    async with relayed(engine, tcp_pair) as rig:
        await rig.client.send(data[:700])
        assert await rig.upstream.take(700) == data[:700]
        rig.client.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            await rig.upstream.rest()
        await rig.ending()
        assert rig.summary() == ("client", "tunnel", "closed")


@pytest.mark.parametrize(
    ("engine", "side"),
    [
        ("pump-tls", "client"),
        ("pump-tls", "upstream"),
        ("pump-tls-1.2", "client"),
        ("pump-tls-client", "client"),
        ("pump-tls-upstream", "upstream"),
        ("streams-tls", "client"),
        ("streams-tls", "upstream"),
    ],
)
@pytest.mark.parametrize("bad", [FORGED, b"GET / HTTP/1.1\r\n\r\n"], ids=["forged", "no record"])
async def test_what_nobody_has_sealed_ends_it_behind_what_was(engine, side, bad):
    async with relayed(engine, tcp_pair) as rig:
        offender, other = ends(rig, side)
        data = offender.frame(TEXT, b"authentic")
        await offender.send_octets(offender.tls.encrypt(data) + bad)
        assert await other.take(len(data)) == data
        code = 1011 if other is rig.client else 1001
        assert frames_of(await other.rest(), client=other is rig.client) == [(CLOSE, code)]
        with pytest.raises(ssl.SSLError, match="ALERT"):
            await offender.rest()
        other.fin()
        ending = await rig.ending()
        assert rig.summary() == (side, "tunnel", "tls")
        assert ending.detail


@pytest.mark.parametrize("engine", ["pump-tls", "streams-tls"])
async def test_a_cut_says_no_end_before_the_reset(engine):
    async with relayed(engine, tcp_pair) as rig:
        rig.tunnel.cut()
        for peer in (rig.client, rig.upstream):
            with pytest.raises(ConnectionResetError):
                await peer.rest()
            assert not peer.tls.ended


@pytest.mark.parametrize("engine", ["pump-tls", "streams-tls"])
async def test_a_tunnel_that_is_cancelled_while_it_sends_says_no_end_inside_a_record(engine):
    async with relayed(engine, tcp_pair, buffers=small_buffers) as rig:

        async def send():
            with suppress(OSError):
                await rig.upstream.send(rig.upstream.frame(BINARY, bytes(MIB)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.01)
            rig.cancel_scope.cancel()
            await rig.over.wait()
            nursery.cancel_scope.cancel()
        with pytest.raises((AssertionError, ConnectionResetError)):
            await rig.client.rest()
        assert rig.client.received
        assert not rig.client.tls.ended


# What the handshakes have left inside.


def arrived(stream, octets):
    """Let the layer have this before the relay begins, of which one octet is taken as HTTP."""
    stream.layer.feed(octets)
    assert stream.layer.decrypt(1) == b"."


@pytest.mark.parametrize("engine", ["pump-tls", "pump-tls-1.2", "streams-tls"])
@pytest.mark.parametrize("cut", [0, 3, 9])
async def test_what_came_with_the_handshakes_follows_the_early_bytes(engine, cut):
    frames = {}

    def prepare(rig):
        for peer, stream in ((rig.client, rig.tunnel.client), (rig.upstream, rig.tunnel.upstream)):
            first, second, third = (peer.frame(TEXT, bytes([65 + i]) * 5) for i in range(3))
            octets, rest = peer.tls.encrypt(b"." + second), peer.tls.encrypt(third)
            arrived(stream, octets + rest[:cut])
            frames[peer] = first + second + third, rest[cut:]
            if peer is rig.client:
                rig.tunnel.early_to_upstream = first
            else:
                rig.tunnel.early_to_client = first

    async with relayed(engine, prepare=prepare) as rig:
        for sender, reader in ((rig.client, rig.upstream), (rig.upstream, rig.client)):
            sent, rest = frames[sender]
            assert await reader.take(len(sent) * 2 // 3) == sent[: len(sent) * 2 // 3]
            await sender.send_octets(rest)
            assert await reader.take(len(sent) // 3) == sent[len(sent) * 2 // 3 :]
        assert rig.tunnel.to_client.messages == rig.tunnel.to_upstream.messages == 3


@pytest.mark.parametrize("engine", ["pump-tls", "streams-tls"])
async def test_what_came_with_the_handshakes_waits_while_the_tunnel_is_suspended(engine):
    def prepare(rig):
        arrived(rig.tunnel.client, rig.client.tls.encrypt(b"." + rig.client.frame(TEXT, b"first")))
        rig.tunnel.suspend()

    async with relayed(engine, prepare=prepare) as rig:
        await rig.client.send(rig.client.frame(TEXT, b"later"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert rig.tunnel.to_upstream.bytes == 0
        assert not rig.upstream.waiting()
        rig.tunnel.resume()
        sent = rig.client.frame(TEXT, b"first") + rig.client.frame(TEXT, b"later")
        assert await rig.upstream.take(len(sent)) == sent


@pump_alone
async def test_what_came_with_the_handshakes_waits_for_a_reader_that_was_slow_from_the_first(engine):
    early = b"\x82\x7f" + (2 * MIB).to_bytes(8, "big") + bytes(MIB)

    def prepare(rig):
        rig.tunnel.early_to_client = early
        arrived(rig.tunnel.upstream, rig.upstream.tls.encrypt(b"." + bytes(10_000)))

    async with relayed(engine, tcp_pair, buffers=small_buffers, prepare=prepare) as rig:
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert rig.tunnel.to_client.bytes == len(early)
        assert await rig.client.take(len(early)) == early
        assert await rig.client.take(10_000) == bytes(10_000)


@pytest.mark.parametrize("engine", ["pump-tls", "streams-tls"])
async def test_an_end_that_was_said_with_the_handshakes_is_heard(engine):
    def prepare(rig):
        last = rig.client.tls.encrypt(b"." + rig.client.frame(TEXT, b"bye"))
        arrived(rig.tunnel.client, last + rig.client.tls.close_notify())

    async with relayed(engine, prepare=prepare) as rig:
        assert await rig.upstream.take(9) == rig.client.frame(TEXT, b"bye")
        assert frames_of(await rig.upstream.rest(), client=False) == [(CLOSE, 1001)]
        rig.upstream.fin()
        await rig.ending()
        assert rig.summary() == ("client", "tunnel", "closed")


# Floods.


@pump_alone
async def test_who_floods_with_tiny_frames_or_tiny_records_is_read_in_portions(engine):
    async with engine_running(engine) as relay, tunnel_between(relay) as rig:
        pump, fd = relay.relay, rig.tunnel.client.fileno()
        frames = rig.client.frame(TEXT) * (8 * DENSE)
        text = rig.client.frame(TEXT, b"x" * 300) * 40
        usual = rig.client.frame(BINARY, bytes(8 * DENSE))

        async def pass_on(sent, record):
            octets = b"".join(rig.client.tls.encrypt(sent[at : at + record]) for at in range(0, len(sent), record))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.client.send_octets, octets)
                assert await rig.upstream.take(len(sent)) == sent

        for sent, record in ((frames, 1 << 20), (text, 1)):
            await pass_on(sent, record)
            assert pump._dense == {fd}
            await pass_on(usual, 1 << 20)
            assert not pump._dense
        await pass_on(text, 100)
        assert not pump._dense


# A real peer, which asks for new keys.


@pytest.mark.parametrize("engine", ["pump-tls-client", "streams-tls"])
async def test_a_peer_that_asks_for_new_keys_gets_them_and_loses_nothing(engine):
    """OpenSSL's own client: a line with K has it do so, and say so."""
    far_upstream, near_upstream = await unix_pair()
    near_upstream = as_socket(near_upstream)
    first, second = (frame(TEXT, word, mask=MASK) for word in (b"old keys", b"new keys"))
    async with openssl_client() as (client, stream), engine_running(engine) as relay, trio.open_nursery() as nursery:
        tunnel = Tunnel(
            stream, near_upstream, settings=WebSocketConfig(), extensions=False, idle_timeout=60, close_timeout=5
        )

        async def run():
            await relay.relay.run(tunnel)

        nursery.start_soon(run)
        for asked in range(1, 4):
            for sent in (first, second):
                await client.stdin.send_all(sent)
                assert await far_upstream.recv(100) == sent
            await client.stdin.send_all(b"K\n")
            await said(client.stderr, b"KEYUPDATE\n")
            await far_upstream.send(frame(TEXT, b"<%d>" % asked))
            await said(client.stdout, b"<%d>" % asked)
        assert tunnel.to_upstream.messages == 6
        nursery.cancel_scope.cancel()
    stream.close()
    near_upstream.close()
    far_upstream.close()


@asynccontextmanager
async def openssl_client():
    """It runs, connected to a stream of ours; both are yielded."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl (apt install openssl)")
    with trio.socket.socket() as listener:
        await listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{listener.getsockname()[1]}"]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        client = await trio.lowlevel.open_process(command, **pipes)
        try:
            near, _ = await listener.accept()
            yield client, await TlsStream.accept(as_socket(near), contexts()[0])
        finally:
            client.kill()
            for pipe in (client.stdin, client.stdout, client.stderr):
                await pipe.aclose()
            await client.wait()


async def said(pipe, words):
    """Wait until these have come."""
    found = b""
    while words not in found:
        found += await pipe.receive_some()
