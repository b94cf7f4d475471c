"""The line between supervisor and worker, over real socket pairs."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing
from support.serving import descriptors

from trioproxy import control_channel
from trioproxy.control_channel import Channel, sockets
from trioproxy.control_messages import Adopt, Answer, Drain, Ready, Release
from trioproxy.rights import MOST_FDS


@pytest.fixture
async def ends():
    before = descriptors()
    ours, sock = Channel.pair()
    theirs = Channel.of(sock.detach())
    yield ours, theirs
    ours.close()
    theirs.close()
    assert descriptors() == before


async def test_messages_arrive_in_order_and_both_ways(ends):
    ours, theirs = ends
    for worker in range(3):
        await ours.send(Release(worker))
    assert [(await theirs.receive())[0].worker for _ in range(3)] == [0, 1, 2]
    await theirs.send(Ready())
    assert await ours.receive() == (Ready(), [])


async def test_descriptors_come_with_their_message_however_many(ends):
    ours, theirs = ends
    fds = [os.memfd_create(str(number)) for number in range(MOST_FDS + 3)]
    for number, fd in enumerate(fds):
        os.write(fd, str(number).encode())
    await ours.send(Drain())
    await ours.send(Adopt(0, range(len(fds))), fds)
    await ours.send(Drain())
    assert await theirs.receive() == (Drain(), [])
    message, came = await theirs.receive()
    assert message == Adopt(0, range(len(fds)))
    assert [os.pread(fd, 10, 0) for fd in came] == [str(number).encode() for number in range(len(fds))]
    assert not any(map(os.get_inheritable, came))
    assert await theirs.receive() == (Drain(), [])
    for fd in [*fds, *came]:
        os.close(fd)


async def test_descriptors_nobody_took_are_closed_with_the_channel(ends):
    ours, theirs = ends
    await ours.send(Adopt(0, [0]), [0])
    while b"}" not in theirs._buffer:
        await theirs._read()  # the fixture sees whether any is left


async def test_a_long_message_arrives_in_pieces(ends):
    ours, theirs = ends
    message = Answer(1, ["x" * 1000] * 3000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send, message)
        await trio.testing.wait_all_tasks_blocked()  # it waits in the middle
        nursery.start_soon(ours.send, Ready())
        assert await theirs.receive() == (message, [])
        assert await theirs.receive() == (Ready(), [])


async def test_the_end_of_the_other_side_is_none(ends):
    ours, theirs = ends
    await theirs.send(Ready())
    await ours.send(Drain())  # unread by the other: its end is a reset
    theirs.close()
    theirs.close()
    assert await ours.receive() == (Ready(), [])
    assert await ours.receive() is None
    with pytest.raises(trio.BrokenResourceError):
        await ours.send(Drain())


async def test_a_message_without_end_is_refused(ends, monkeypatch):
    ours, theirs = ends
    monkeypatch.setattr(control_channel, "MAX_LINE", 1000)
    monkeypatch.setattr(control_channel, "_READ_BYTES", 600)
    await ours.send(Answer(1, "x" * 2000))
    with pytest.raises(ValueError, match="more than 1000"):
        await theirs.receive()


async def test_sockets_take_over_their_descriptors():
    ours, sock = Channel.pair()
    fd = sock.detach()
    (again,) = sockets([fd])
    assert again.fileno() == fd
    again.close()
    ours.close()
