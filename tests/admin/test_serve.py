"""Serving: nothing a client does ends more than its own connection, and the end comes at once."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import struct
from contextlib import aclosing

import pytest
import trio
import trio.testing
from support.admin import exchange, open_admin
from support.descriptors import open_descriptors
from support.live import following
from support.waiting import wait_until

from trioproxy.accepting import give_up
from trioproxy.admin.serve import MAX_CONNECTIONS, SEND_SECONDS
from trioproxy.metrics import REQUESTS

UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
GARBAGE = {
    "noise": b"\x00\xff garbage\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "h2c with broken settings": UPGRADE + b"h2c\r\nHTTP2-Settings: AA\xc4\r\n\r\n",
    "http2 with broken frames": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    "websocket without key": UPGRADE + b"websocket\r\n\r\n",
    "websocket with a body": UPGRADE
    + b"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    + b"Content-Length: 5\r\n\r\nhello",
    "odd host and target": b"GET /%ff%00\xff HTTP/1.1\r\nHost: [\xff\r\n\r\n",
    "odd token": b"GET /api/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xc4\xff\r\n\r\n",
    "half a head": b"GET / HT",
    "half a body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345",
    "endless head": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
}


async def send_and_leave(admin, data, *, reset):
    stream = await admin.dial()
    try:
        await stream.send_all(data)
        if not reset:
            await stream.send_eof()
            while await stream.receive_some():
                pass
    except trio.BrokenResourceError:
        pass
    finally:
        if reset:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.socket.close()


@pytest.mark.parametrize("reset", [False, True], ids=["eof", "reset"])
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_ends_its_own_connection_alone(data, reset, capfd):
    async with open_admin() as admin, aclosing(await admin.dial()) as other:
        assert (await exchange(other, "GET", "/healthz", admin.address, {})).status == 200
        await send_and_leave(admin, data, reset=reset)
        assert (await exchange(other, "GET", "/healthz", admin.address, {})).status == 200
        assert (await admin.get("/metrics")).status == 200
    assert {event["event"] for event in admin.log.events} <= {"admin_connection_failed"}
    assert capfd.readouterr() == ("", "")


def vanish(stream):
    """Let nothing reach this socket any longer, so that it acknowledges nothing, either (socket(7), SO_ATTACH_FILTER)."""
    drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # a BPF program of one instruction: ret 0
    stream.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", 1, ctypes.addressof(drop)))


def fill(admin):
    """Make /metrics larger than any socket buffer."""
    for number in range(60_000):
        admin.control.metrics.declare(REQUESTS, (f"{number}" + "x" * 120, "p", "http", "200"))


async def test_a_client_that_does_not_read_holds_up_neither_others_nor_the_end():
    async with open_admin() as admin:
        fill(admin)
        stalled = await admin.dial()
        await stalled.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (
            await stalled.receive_some(10)
        ) == b"HTTP/1.1 2"  # the answer is on its way, and larger than the buffers
        assert (await admin.get("/healthz")).status == 200
        started = trio.current_time()
    assert trio.current_time() - started < 10
    await trio.aclose_forcefully(stalled)


async def test_many_ask_at_once():
    async with open_admin() as admin:
        answers = []

        async def ask(path):
            answers.append((await admin.get(path)).status)

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(ask, ("/metrics", "/api/status", "/readyz")[number % 3])
        assert answers == [200] * 60


async def test_a_connection_serves_many_requests():
    async with open_admin() as admin, aclosing(await admin.dial()) as stream:
        for _ in range(20):
            assert (await exchange(stream, "GET", "/readyz", admin.address, {})).status == 200


async def test_connections_beyond_the_limit_are_closed_and_come_back_when_there_is_room():
    async with open_admin() as admin:
        held = [await admin.dial() for _ in range(MAX_CONNECTIONS)]
        async with await admin.dial() as refused:
            assert await refused.receive_some() == b""
        for stream in held:
            await stream.send_eof()
            assert await stream.receive_some() == b""
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await admin.get("/healthz")).status == 200


async def test_a_client_that_closed_is_gone_at_once():
    async with open_admin() as admin:
        before = open_descriptors()
        for _ in range(3 * MAX_CONNECTIONS):
            assert (await admin.get("/healthz")).status == 200
            await trio.testing.wait_all_tasks_blocked()
            assert open_descriptors() == before


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
async def test_a_client_that_ends_its_side_still_gets_its_answer(path):
    async with open_admin() as admin:
        for _ in range(20):
            async with await admin.dial() as stream:
                await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                await stream.send_eof()
                answer = b"".join([chunk async for chunk in stream])
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"\n")


async def test_all_descriptors_are_given_back():
    before = open_descriptors()
    async with open_admin() as admin:
        assert (await admin.get("/healthz")).status == 200
        idle = [await admin.dial() for _ in range(3)]
    for stream in idle:
        assert await stream.receive_some() == b""
        await stream.aclose()
    assert open_descriptors() == before


async def test_connections_that_wait_when_it_ends_are_closed():
    async with open_admin() as admin, aclosing(await admin.dial()) as stream:
        await stream.send_all(b"GET / HT")


async def test_a_client_that_never_reads_is_given_up(autojump_clock):
    async with open_admin() as admin:
        admin.control.document = {"x": "y" * 20_000_000}
        stalled = await admin.dial()
        await stalled.send_all(f"GET /api/status HTTP/1.1\r\nHost: {admin.address}\r\n\r\n".encode())
        before = open_descriptors()
        await trio.sleep(SEND_SECONDS + 1)
        assert open_descriptors() == before - 1
        await stalled.aclose()


async def test_a_client_whose_machine_vanished_is_given_up(monkeypatch):
    """Its stream goes on, and what it is sent fits into the socket's buffer: only the kernel can know."""
    monkeypatch.setattr("trioproxy.admin.serve.SEND_SECONDS", 0.3)
    async with open_admin() as admin, following(admin.address) as stream:
        await stream.block()
        vanish(stream.stream)
        feed = admin.control.live

        def gone():
            feed.tick()
            return not feed.readers

        await wait_until(gone, "the end of its stream")
    assert admin.log.events == []


async def test_a_shortage_of_descriptors_is_logged_and_passes():
    async with open_admin() as admin:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        host, port = admin.address.split(":")
        with socket.create_connection((host, int(port))):  # waits in the queue: this task has not let go yet
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            try:
                await trio.testing.wait_all_tasks_blocked()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert admin.log.events[0]["event"] == "admin_accept_failed"
        assert (await admin.get("/healthz")).status == 200


async def test_what_was_asked_is_answered_when_another_process_takes_the_socket():
    """A kept connection ends at once; one that has just come gets its answer, or a second to ask."""
    async with open_admin() as admin:
        kept, fresh, silent = [await admin.dial() for _ in range(3)]
        async with kept, fresh, silent:
            assert (await exchange(kept, "GET", "/healthz", admin.address, {})).status == 200
            await trio.testing.wait_all_tasks_blocked()
            give_up(admin.sock)
            assert (await exchange(fresh, "GET", "/metrics", admin.address, {})).status == 200
            for stream in (kept, fresh, silent):
                assert await stream.receive_some() == b""
