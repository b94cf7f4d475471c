"""A stream of TLS over a socket: Trio's own conformance checks, its handshake, its ends, and what it leaves behind."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest
import trio
from support.certificates import authority
from support.scripted import socket_pair
from trio.testing import check_half_closeable_stream, memory_stream_pair, wait_all_tasks_blocked

from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import TlsStream, socket_of


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server_side(trusted):
    return trusted.server("localhost")


@pytest.fixture
def shake(trusted, server_side):
    """Two ends, connected."""

    async def shake(context=None):
        near, far = socket_pair()
        ends = {}

        async def accept():
            ends["server"] = await TlsStream.accept(near, server_side)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            ends["client"] = await TlsStream.connect(far, context or trusted.client(), "localhost")
        return ends["client"], ends["server"]

    return shake


async def test_it_is_a_stream_as_trio_demands_it(shake):
    async def clogged():
        pair = await shake()
        for end in pair:
            with suppress(BlockingIOError):
                while True:
                    end.socket.socket.send(bytes(65536))
        return pair

    await check_half_closeable_stream(shake, None)
    near, far = await clogged()
    async with trio.open_nursery() as nursery:  # what the conformance check does with a clogged one, but for reading

        async def send():
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await near.send_all(b"x")

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await near.send_all(b"y")
        near.close()
    far.close()


async def test_a_megabyte_arrives_both_ways_at_once(shake):
    client, server = await shake()
    data = bytes(range(256)) * 4096

    async def send(stream):
        await stream.send_all(data)
        await stream.send_eof()

    async def receive(stream):
        found = bytearray()
        while part := await stream.receive_some(10_000):
            found += part
        assert found == data
        assert stream.layer.ended
        assert not stream.truncated

    async with client, server, trio.open_nursery() as nursery:
        for end in (client, server):
            nursery.start_soon(send, end)
            nursery.start_soon(receive, end)


async def test_what_was_read_before_the_handshake_belongs_to_it(trusted, server_side):
    near, far = socket_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TlsStream.connect, far, trusted.client(), "localhost")
        early = await near.receive_some(20)
        assert len(early) == 20
        server = await TlsStream.accept(near, server_side, early)
    assert server.layer.version == "TLSv1.3"
    server.close()
    far.close()


async def test_what_has_come_can_be_had_without_waiting(shake):
    client, server = await shake()
    assert server.receive_at_once(100) is None
    await client.send_all(b"at once")
    assert server.receive_at_once(2) == b"at"
    assert server.receive_at_once(100) == b" once"
    assert client.receive_at_once(100) is None  # but for the tickets that the server has sent behind its handshake
    await client.send_eof()
    assert server.receive_at_once(100) == b""
    assert not server.truncated
    client.reset_on_close()
    client.close()
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    server.close()
    with pytest.raises(trio.ClosedResourceError):
        server.receive_at_once(1)


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_end_that_nobody_said_is_told_apart(shake, at_once):
    client, server = await shake()
    await client.send_all(b"part")
    await client.socket.send_eof()  # close would reset the connection, as it has not read the server's tickets
    assert await server.receive_some(10) == b"part"
    for _ in range(2):
        assert (server.receive_at_once(10) if at_once else await server.receive_some(10)) == b""
        assert server.truncated
    server.close()
    client.close()


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_reset_is_told(shake, at_once):
    client, server = await shake()
    client.reset_on_close()
    client.socket.close()  # with the server's tickets unread, so even a Unix socket is reset
    with pytest.raises(trio.BrokenResourceError):
        server.receive_at_once(1) if at_once else await server.receive_some()
    server.close()


async def test_closing_says_so(shake):
    client, server = await shake()
    client.close()
    client.close()
    assert client.fileno() == -1
    assert await server.receive_some() == b""
    assert not server.truncated
    await server.aclose()


async def test_octets_changed_on_the_way_break_it(shake):
    client, server = await shake()
    await client.socket.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="alert bad record mac"):
        await client.receive_some()
    client.close()
    server.close()


async def test_a_reset_says_no_end_before(shake):
    client, server = await shake()
    client.reset_on_close()
    client.close()
    with pytest.raises(trio.BrokenResourceError):  # it had the server's tickets unread, so even a Unix socket is reset
        await server.receive_some()
    assert not server.layer.ended
    server.close()


async def test_behind_a_send_that_was_cancelled_nothing_goes_out(shake, autojump_clock):
    client, server = await shake()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with trio.move_on_after(1) as scope:
        await client.send_all(bytes(4 * 1024 * 1024))
    assert scope.cancelled_caught
    for attempt in (client.send_all(b"more"), client.send_eof()):
        with pytest.raises(trio.BrokenResourceError, match="middle"):
            await attempt
    client.close()  # says no close_notify either
    with suppress(trio.BrokenResourceError):
        while await server.receive_some():
            pass
        assert server.truncated
    assert not server.layer.ended
    server.close()


async def test_who_waits_can_be_woken(shake, nursery):
    client, server = await shake()

    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await server.receive_some()

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    server.interrupt()
    await wait_all_tasks_blocked()
    server.close()
    client.close()


async def test_it_can_be_waited_for_until_there_is_room(shake):
    client, server = await shake()
    await client.wait_send_all_might_not_block()
    async with client, server:
        with pytest.raises(ValueError, match="max_bytes"):
            await client.receive_some(0)


async def test_a_peer_that_goes_inside_the_handshake_is_told_of(server_side):
    near, far = socket_pair()
    await far.send_all(struct.pack("!BHH", 22, 0x301, 100))
    far.close()
    with pytest.raises(TlsError, match="ended inside the TLS handshake"):
        await TlsStream.accept(near, server_side)
    near.close()


async def test_who_speaks_no_tls_gets_an_alert(server_side):
    near, far = socket_pair()
    await far.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TlsError, match="http request"):
        await TlsStream.accept(near, server_side)
    near.close()
    far.close()


async def test_an_expired_certificate_is_refused_and_the_server_hears_why(trusted):
    near, far = socket_pair()

    async def accept():
        with pytest.raises(TlsError, match="certificate expired"):
            await TlsStream.accept(near, trusted.server("localhost", expired=True))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        with pytest.raises(TlsError, match="certificate has expired"):
            await TlsStream.connect(far, trusted.client(), "localhost")
    near.close()
    far.close()


async def test_the_socket_of_a_connection_is_known(shake):
    client, server = await shake()
    assert socket_of(client) is client.socket
    assert socket_of(server.socket) is server.socket
    assert socket_of(memory_stream_pair()[0]) is None
    client.close()
    server.close()
