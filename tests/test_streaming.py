"""Reading, writing and closing of connected streams: sockets as the kernel makes them, and others."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio
from support.certificates import authority
from support.serving import no_descriptors_left, stream_pair
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioproxy.errors import Phase, Reason, Source
from trioproxy.streaming import (
    DISCARD_BYTES,
    DISCARD_SECONDS,
    abort,
    broken,
    close_at_once,
    close_gently,
    has_hung_up,
    is_quiet,
    receive,
    receive_at_once,
    send,
    was_truncated,
)
from trioproxy.tls.stream import TlsStream

# Ends of connections


@pytest.mark.rule("closing")
async def test_an_answer_is_readable_though_the_question_was_not_read():
    near, far = await stream_pair()
    await near.send_all(bytes(DISCARD_BYTES // 2))
    async with trio.open_nursery() as nursery:
        await far.send_all(b"answer")
        nursery.start_soon(close_gently, far)
        assert await near.receive_some() == b"answer"
        assert await near.receive_some() == b""
        await near.aclose()
    assert far.fileno() < 0


@pytest.mark.rule("closing")
async def test_a_gentle_close_waits_for_a_silent_peer_only_so_long(autojump_clock):
    near, far = memory_stream_pair()
    start = trio.current_time()
    await close_gently(far)
    assert trio.current_time() - start == pytest.approx(DISCARD_SECONDS)
    assert await near.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"more")


@pytest.mark.rule("closing")
async def test_a_gentle_close_reads_only_so_much(autojump_clock):
    near, far = memory_stream_pair()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_gently, far)
        for _ in range(DISCARD_BYTES // 1024):
            await near.send_all(bytes(1024))
            await wait_all_tasks_blocked()
        with pytest.raises(trio.BrokenResourceError):
            await near.send_all(b"x")
    assert trio.current_time() == start


async def test_a_gentle_close_of_what_is_broken_or_closed_just_closes():
    near, far = await stream_pair()
    abort(near)
    await near.aclose()
    await close_gently(far)
    assert far.fileno() < 0
    await close_gently(far)


async def test_a_cancelled_gentle_close_still_closes():
    near, far = await stream_pair()
    with trio.move_on_after(0) as scope:
        await close_gently(far)
    assert scope.cancelled_caught and far.fileno() < 0
    await near.aclose()


async def test_an_aborted_connection_ends_with_a_reset():
    near, far = await stream_pair()
    abort(far)
    await far.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await receive(near, 1)
    assert broken(caught.value, Source.CLIENT, Phase.REQUEST).reason is Reason.RESET
    await near.aclose()
    abort(near)  # closed already
    abort(memory_stream_pair()[0])  # no socket


async def test_what_broke_a_connection_is_told_as_the_callers_failure():
    near, far = await stream_pair()
    await far.aclose()
    await near.aclose()
    with pytest.raises(trio.ClosedResourceError) as caught:
        await receive(near, 1)
    failure = broken(caught.value, Source.UPSTREAM, Phase.RESPONSE, retryable=True)
    assert (failure.source, failure.phase, failure.reason) == (Source.UPSTREAM, Phase.RESPONSE, Reason.CLOSED)
    assert failure.retryable and failure.status == 502


# Reading and writing


async def memory_pair():
    return memory_stream_pair()


either = pytest.mark.parametrize("make", [stream_pair, memory_pair], ids=["sockets", "memory"])


@either
async def test_a_close_at_once_waits_for_nothing_and_can_be_repeated(make):
    near, far = await make()
    with trio.CancelScope() as scope:
        scope.cancel()
        await close_at_once(near)
        await close_at_once(near)
    assert await far.receive_some(1) == b""
    await far.aclose()


@either
async def test_bytes_arrive_and_fin_is_nothing(make):
    near, far = await make()
    async with near, far:
        await send(near, b"hallo", 5)
        assert await receive(far, 3) == b"hal"
        assert await receive(far, 100) == b"lo"
        await near.send_eof()
        assert await receive(far, 100) == b""


async def test_what_the_kernel_does_not_take_at_once_follows_in_order():
    near, far = await stream_pair()
    payload = random.Random(1).randbytes(8 * 1024 * 1024)
    got = bytearray()

    async def read():
        while len(got) < len(payload):
            got.extend(await receive(far, 65536))

    async with near, far, trio.open_nursery() as nursery:
        nursery.start_soon(send, near, payload, 60)
        await wait_all_tasks_blocked()
        nursery.start_soon(read)
    assert bytes(got) == payload


async def test_a_peer_that_takes_nothing_is_waited_for_only_so_long(autojump_clock):
    near, far = await stream_pair()
    async with near, far:
        with pytest.raises(trio.TooSlowError):
            await send(near, bytes(16 * 1024 * 1024), 5)


async def test_what_has_come_already_is_had_without_waiting():
    near, far = await stream_pair()
    async with near, far:
        assert receive_at_once(near, 10) is None
        await far.send_all(b"here")
        assert receive_at_once(near, 10) == b"here"
        await far.send_eof()
        assert receive_at_once(near, 10) == b""
    assert receive_at_once(near, 10) is None, "closed"
    assert receive_at_once(memory_stream_pair()[0], 10) is None, "no socket"


async def test_what_is_wrong_is_seen_without_waiting_too():
    near, far = await stream_pair()
    abort(far)
    await far.aclose()
    with pytest.raises(trio.BrokenResourceError):
        receive_at_once(near, 10)
    await near.aclose()


async def test_waiting_for_bytes_can_be_cancelled_and_loses_none(autojump_clock):
    near, far = await stream_pair()
    async with near, far:
        with trio.move_on_after(1):
            await receive(far, 10)
        await send(near, b"later", 5)
        assert await receive(far, 10) == b"later"


async def test_sending_to_who_is_gone_is_told():
    near, far = await stream_pair()
    abort(far)
    await far.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await send(near, b"x", 5)
    assert isinstance(caught.value.__cause__, ConnectionResetError | BrokenPipeError)
    await near.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await send(near, b"x", 5)


# Idle connections


async def test_an_idle_connection_is_quiet_until_something_comes():
    near, far = await stream_pair()
    async with near, far:
        assert is_quiet(near)
        await far.send_all(b"x")
        assert not is_quiet(near)
        assert await near.receive_some() == b"x"
        assert is_quiet(near)
        await far.send_eof()
        assert not is_quiet(near)


async def test_a_reset_or_closed_connection_is_not_quiet():
    near, far = await stream_pair()
    abort(far)
    await far.aclose()
    assert not is_quiet(near)
    await near.aclose()
    assert not is_quiet(near)


async def test_quiet_can_be_told_without_a_descriptor_to_spare():
    near, far = await stream_pair()
    async with near, far:
        with no_descriptors_left():
            assert is_quiet(near)


async def test_that_a_peer_has_hung_up_shows_behind_what_it_has_sent():
    near, far = await stream_pair()
    async with near, far:
        assert not has_hung_up(near)
        await far.send_all(b"unread")
        assert not has_hung_up(near)
        await far.send_eof()
        assert has_hung_up(near)
        assert await near.receive_some() == b"unread"
        near.close()
        assert not has_hung_up(near)  # there is nothing to ask any more
    assert not has_hung_up(memory_stream_pair()[0])


# With TLS


@pytest.fixture
async def tls_pair(tmp_path):
    trusted, ends = authority(tmp_path), {}
    near, far = await stream_pair()

    async def accept():
        ends["server"] = await TlsStream.accept(far, trusted.server("localhost"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        client = await TlsStream.connect(near, trusted.client(), "localhost")
    async with client, ends["server"] as server:
        yield client, server


async def test_an_idle_connection_with_tls_is_quiet_though_tls_has_something_to_say(tls_pair):
    client, server = tls_pair
    await trio.lowlevel.wait_readable(client.socket.socket)  # the server's tickets for a next session
    assert is_quiet(client)
    assert is_quiet(client)
    assert not has_hung_up(client)
    await server.send_all(b"unasked")
    await trio.lowlevel.wait_readable(client.socket.socket)
    assert not is_quiet(client)
    assert is_quiet(server)
    await client.send_eof()
    await trio.lowlevel.wait_readable(server.socket.socket)
    assert not is_quiet(server)
    assert has_hung_up(server)
    server.close()
    assert not is_quiet(server)


async def test_octets_that_are_no_tls_make_an_idle_connection_useless(tls_pair):
    client, server = tls_pair
    await trio.lowlevel.wait_readable(client.socket.socket)
    assert is_quiet(client)
    await server.socket.send_all(b"no record")
    await trio.lowlevel.wait_readable(client.socket.socket)
    assert not is_quiet(client)


async def test_with_tls_things_are_read_and_sent_alike(tls_pair):
    client, server = tls_pair
    assert receive_at_once(server, 10) is None
    await send(client, b"question", 1)
    assert await receive(server, 100) == b"question"
    await send(server, b"answer", 1)
    await trio.lowlevel.wait_readable(client.socket.socket)
    assert receive_at_once(client, 100) == b"answer"
    await close_at_once(client)
    assert await receive(server, 100) == b""
    assert not was_truncated(server)


@pytest.mark.rule("closing")
async def test_a_gentle_end_of_tls_arrives_though_the_question_was_not_read(tls_pair):
    client, server = tls_pair
    await client.send_all(bytes(DISCARD_BYTES // 2))
    async with trio.open_nursery() as nursery:
        await server.send_all(b"answer")
        nursery.start_soon(close_gently, server)
        assert await client.receive_some() == b"answer"
        assert await client.receive_some() == b""
        assert not was_truncated(client)
        await client.send_eof()


async def test_an_aborted_connection_with_tls_shows_as_incomplete(tls_pair):
    client, server = tls_pair
    abort(server)
    server.close()
    with suppress(trio.BrokenResourceError):
        while await receive(client, 10):
            pass
        assert was_truncated(client)
    assert not client.layer.ended


async def test_what_tls_says_of_a_broken_connection_is_told(tls_pair):
    client, server = tls_pair
    await server.socket.send_all(b"no record")
    with pytest.raises(trio.BrokenResourceError) as caught:
        await receive(client, 10)
    failure = broken(caught.value, Source.UPSTREAM, Phase.RESPONSE)
    assert failure.reason is Reason.TLS
    assert "wrong version number" in failure.detail


async def test_what_tls_cannot_send_at_once_is_sent_when_there_is_room(tls_pair):
    client, server = tls_pair
    data = bytes(range(256)) * 40_000
    received = bytearray()

    async def read():
        while len(received) < len(data):
            received.extend(await receive(server, 100_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, client, data, 60)
        await wait_all_tasks_blocked()
        nursery.start_soon(read)
    assert received == data
    await send(client, b"and on", 1)
    assert await receive(server, 100) == b"and on"


async def test_a_send_over_tls_that_gets_no_further_ends_and_nothing_follows_it(tls_pair, autojump_clock):
    client, _ = tls_pair
    with pytest.raises(trio.TooSlowError):
        await send(client, bytes(10_000_000), 5)
    assert trio.current_time() == 5
    with pytest.raises(trio.BrokenResourceError):
        await send(client, b"x", 5)


async def test_sending_over_tls_to_who_is_gone_is_told(tls_pair):
    client, server = tls_pair
    server.reset_on_close()
    server.close()
    await trio.lowlevel.wait_readable(client.socket.socket)

    async def go_on_sending():
        for _ in range(100):
            await send(client, b"x", 1)

    with pytest.raises(trio.BrokenResourceError):
        await go_on_sending()
    client.close()
    with pytest.raises(trio.ClosedResourceError):
        await send(client, b"x", 1)


async def test_all_that_came_in_one_read_can_be_received_without_more(tls_pair):
    client, server = tls_pair
    await server.send_all(bytes(50_000))
    await server.send_eof()
    await wait_all_tasks_blocked()
    left = 50_000
    while left:
        left -= len(await receive(client, 1000))
    for _ in range(3):
        assert await receive(client, 1000) == b""
    assert not was_truncated(client)
