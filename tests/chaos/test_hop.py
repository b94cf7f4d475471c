"""The way to an upstream, over real sockets, with faults on it."""

import socket

import pytest
import trio
from support.certificates import authority
from support.chaos import ANSWER, MARKED, hop_before_echo
from support.frames import BINARY, CLOSE, TEXT, frame
from support.scripted import listen
from support.waiting import wait_until

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.hop import Hop
from trioproxy.tls.identity import Identity
from trioproxy.transport import dial

HELLO = frame(TEXT, b"hello")


async def test_bytes_pass_both_ways_and_the_upstream_is_told():
    async with hop_before_echo() as rig:
        client = await rig.connect("7-1")
        await client.stream.send_all(HELLO)
        assert await client.take(len(HELLO)) == HELLO
        (link,) = rig.hop.links
        assert link.name == "7-1"
        await client.stream.send_eof()
        assert await client.end() == "FIN"
        await rig.server.ended("FIN")


async def test_much_passes_in_order():
    data = b"".join(frame(BINARY, number.to_bytes(4, "big") * 5000) for number in range(200))
    async with hop_before_echo() as rig:
        client = await rig.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.stream.send_all, data)
            assert await client.take(len(data)) == data


async def test_a_reset_on_one_side_is_one_on_the_other():
    async with hop_before_echo() as rig:
        client = await rig.connect()
        client.stream.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: close sends RST
        await client.stream.aclose()
        await rig.server.ended("RST")


async def test_where_nothing_listens_nothing_listens_here_until_it_does_again():
    async with hop_before_echo() as rig:
        rig.hop.target = ("127.0.0.1", 1)
        await rig.refuses()
        rig.hop.target = ("127.0.0.1", rig.port)
        port = rig.hop.port
        await rig.accepts()
        await rig.connect()
        assert rig.hop.port == port


async def test_tls_passes_untouched_and_can_be_broken(tmp_path, nursery):
    trusted = authority(tmp_path)
    peer = listen("", 0, tcp=True, tls=trusted.server("localhost"))

    async def echo(http):
        await http.send((await http.stream.receive_some()) * 100_000)
        await http.stream.receive_some()

    nursery.start_soon(peer.serve, echo)
    hop = Hop(0, ("127.0.0.1", peer.sock.getsockname()[1]))
    await nursery.start(hop.run)
    addresses = [(socket.AF_INET, (hop.host, hop.port))]
    stream = await dial(addresses, 30, Identity("localhost", trusted.client()))
    await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
    left = 18 * 100_000
    while left:
        left -= len(await stream.receive_some(left))
    hop.begin(FAULTS["reset"]())
    with pytest.raises(trio.BrokenResourceError):
        await stream.receive_some()
    assert hop.harmed == {""}  # nobody can see whose it is
    stream.close()
    nursery.cancel_scope.cancel()
    peer.close()


async def test_refused_is_what_comes_and_not_what_is_open():
    async with hop_before_echo() as rig:
        client, fault = await rig.connect("0-0"), FAULTS["refuse"]()
        rig.hop.begin(fault)
        await rig.refuses()
        await client.stream.send_all(HELLO)
        assert await client.take(len(HELLO)) == HELLO
        rig.hop.end(fault)
        await rig.accepts()
        await rig.connect("0-1")
        assert not rig.hop.harmed


def connects(port):
    with socket.socket() as sock:
        return not sock.connect_ex(("127.0.0.1", port))


async def test_it_refuses_from_the_moment_that_it_is_told_to_the_one_it_is_not():
    async with hop_before_echo() as rig:
        fault = FAULTS["refuse"]()
        for _ in range(3):
            assert connects(rig.hop.port)
            rig.hop.begin(fault)
            assert not connects(rig.hop.port)
            rig.hop.end(fault)
        await rig.connect()


async def test_what_is_no_http_passes_at_once():
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        hop = Hop(0, listener.socket.getsockname())
        await nursery.start(hop.run)
        client = await trio.open_tcp_stream("127.0.0.1", hop.port)
        server = await listener.accept()
        await server.send_all(b"220 ready")
        assert await client.receive_some() == b"220 ready"
        await client.send_all(b"PING")
        assert await server.receive_some() == b"PING"
        nursery.cancel_scope.cancel()
    for stream in (client, server, listener):
        await stream.aclose()


async def test_what_is_reset_is_open_or_opened_while_it_lasts():
    async with hop_before_echo() as rig:
        client, fault = await rig.connect("0-0"), FAULTS["reset"]()
        rig.hop.begin(fault)
        assert await client.end() == "RST"
        assert await (await rig.connect("0-1", upgrade=False)).end() == "RST"
        rig.hop.end(fault)
        await rig.connect("0-2")
        assert "0-0" in rig.hop.harmed
        assert "0-2" not in rig.hop.harmed


async def test_a_blackhole_says_nothing_and_loses_nothing():
    async with hop_before_echo() as rig:
        client, fault = await rig.connect("0-0"), FAULTS["blackhole"]()
        rig.hop.begin(fault)
        await client.stream.send_all(HELLO)
        late = await rig.connect("0-1", upgrade=False)
        assert await client.is_silent()
        assert await late.is_silent()
        rig.hop.end(fault)
        assert await client.take(len(HELLO)) == HELLO
        assert await late.take(len(MARKED)) == MARKED
        assert rig.hop.harmed == {"0-0", "0-1"}


async def test_a_machine_that_vanished_answers_with_a_reset_when_it_is_back():
    async with hop_before_echo() as rig:
        client, fault = await rig.connect(), FAULTS["half-open"]()
        rig.hop.begin(fault)
        await client.stream.send_all(HELLO)
        await client.stream.send_eof()
        assert await client.is_silent()
        assert rig.server.open == 1
        rig.hop.end(fault)
        assert await client.end() == "RST"
        await rig.server.ended("RST")


async def test_a_half_close_lets_the_other_way_go_on():
    async with hop_before_echo() as rig:
        client = await rig.connect()
        rig.hop.begin(FAULTS["half-close"]())
        assert await client.end() == "FIN"
        await client.stream.send_all(HELLO)
        assert rig.server.open == 1
        await client.stream.send_eof()
        await rig.server.ended("FIN")


async def test_corruption_by_the_same_seed_is_the_same():
    async def corrupted(seed):
        async with hop_before_echo(seed) as rig:
            client = await rig.connect()
            rig.hop.begin(FAULTS["corrupt"](chance=1))
            await client.stream.send_all(HELLO)
            return await client.take(len(HELLO))

    assert await corrupted(1) == await corrupted(1) != HELLO
    assert len({await corrupted(seed) for seed in range(10)}) > 5


async def test_a_fault_concerns_the_share_of_connections_it_says():
    async with hop_before_echo() as rig:
        clients = [await rig.connect(f"{number}-0") for number in range(40)]
        rig.hop.begin(FAULTS["reset"](share=0.5))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert 8 < len(rig.hop.harmed) == 40 - len(rig.hop.links) < 32
        assert {link.name for link in rig.hop.links}.isdisjoint(rig.hop.harmed)
        del clients


async def test_slow_faults_harm_nobody_and_lose_nothing(autojump_clock):
    async with hop_before_echo() as rig:
        client = await rig.connect()
        for fault in (
            FAULTS["latency"](delay=5, jitter=2),
            FAULTS["bandwidth"](rate=10),
            FAULTS["slicer"](size=2, gap=0.5),
        ):
            rig.hop.begin(fault)
        start = trio.current_time()
        await client.stream.send_all(HELLO * 3)
        assert await client.take(3 * len(HELLO)) == HELLO * 3
        assert trio.current_time() - start > 6
        assert not rig.hop.harmed


async def test_what_is_put_in_lands_between_two_frames():
    long = frame(BINARY, bytes(1000))
    async with hop_before_echo() as rig:
        client = await rig.connect()
        await client.stream.send_all(long[:600])
        assert await client.take(600) == long[:600]
        rig.hop.begin(FAULTS["close"](code=1013))
        await client.stream.send_all(long[600:] + HELLO)
        assert await client.take(404 + 4) == long[600:] + frame(CLOSE, b"\x03\xf5")
        assert await client.is_silent()  # the last word
        assert rig.hop.harmed == {"0-0"}


async def test_nothing_is_put_in_where_there_is_no_tunnel():
    async with hop_before_echo() as rig:
        client = await trio.open_tcp_stream("127.0.0.1", rig.hop.port)
        async with client:
            await wait_until(lambda: rig.hop.links, "a connection")
            rig.hop.begin(FAULTS["flood"]())
            await client.send_all(b"GET / HTTP/1.1\r\n\r\n")
            received = b""
            while len(received) < len(MARKED):
                received += await client.receive_some()
            assert received == MARKED


async def test_a_cut_in_a_frame_is_seen_as_one():
    async with hop_before_echo() as rig:
        client = await rig.connect()
        rig.hop.begin(FAULTS["cut-in-frame"]())
        assert await client.end() == "RST"
        await rig.server.ended("RST")


async def test_a_refused_upgrade_ends_the_connection():
    async with hop_before_echo() as rig:
        rig.hop.begin(FAULTS["refuse-upgrade"](status=503))
        client = await rig.connect(upgrade=False)
        assert await client.end() == "FIN"
        assert client.received.startswith(b"HTTP/1.1 503 ")
        await rig.server.ended("FIN")


async def test_only_the_connections_at_these_ports_are_harmed():
    async with hop_before_echo() as rig:
        one, _ = await rig.connect("0-0"), await rig.connect("1-0")
        rig.hop.harm({one.stream.socket.getsockname()[1]})
        assert rig.hop.harmed == {"0-0"}
        rig.hop.harm()
        assert rig.hop.harmed == {"0-0", "1-0"}


def test_the_answer_that_is_marked_is_the_servers():
    assert MARKED.startswith(ANSWER[:-2])
