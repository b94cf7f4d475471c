"""A connected socket as a stream: Trio's own conformance checks, and how it closes."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
import trio
from support.scripted import socket_pair
from trio.testing import check_half_closeable_stream, wait_all_tasks_blocked


async def test_it_is_a_stream_as_trio_demands_it():
    async def plain():
        return socket_pair()

    async def clogged():
        pair = socket_pair()
        for end in pair:
            with suppress(BlockingIOError):
                while True:
                    end.socket.send(bytes(65536))
        return pair

    await check_half_closeable_stream(plain, clogged)


async def test_whoever_waits_for_it_is_woken_when_it_is_closed(nursery):
    near, far = socket_pair()
    async with far:

        async def read():
            with pytest.raises(trio.ClosedResourceError):
                await near.receive_some()

        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        near.close()
        near.close()
        assert near.fileno() < 0
        with pytest.raises(trio.ClosedResourceError):
            near.open_fileno()


async def test_options_are_those_of_the_socket():
    near, far = socket_pair()
    async with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert near.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
