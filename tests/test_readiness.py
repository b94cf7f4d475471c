"""Watched connections: every byte and every end is noticed once, and what is posted arrives, whole and in order."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from support.scripted import socket_pair
from trio.testing import wait_all_tasks_blocked

from trioproxy.readiness import POST_BYTES, Readiness
from trioproxy.streaming import abort, close_gently, is_quiet, post, receive, send, unwatch, watch

if TYPE_CHECKING:
    from trioproxy.sockets import Socket


@pytest.fixture
async def readiness(nursery):
    readiness = Readiness()
    nursery.start_soon(readiness.serve)
    await wait_all_tasks_blocked()
    return readiness


@pytest.fixture
async def pairs(readiness):
    """(watched, far end), three times."""
    made = [socket_pair() for _ in range(3)]
    for near, _ in made:
        watch(near, readiness)
        assert near.watch is not None
    yield made
    for ends in made:
        for end in ends:
            end.close()


@pytest.fixture
def pair(pairs):
    return pairs[0]


# Receiving


async def test_bytes_are_waited_for_again_and_again(pair, autojump_clock):
    near, far = pair
    for number in range(5):
        with trio.move_on_after(1) as nothing_yet:
            await receive(near, 10)
        assert nothing_yet.cancelled_caught
        await far.send_all(b"%d" % number)
        assert await receive(near, 10) == b"%d" % number


async def test_what_comes_while_nobody_waits_is_noticed(pair):
    near, far = pair
    await far.send_all(b"early")
    await wait_all_tasks_blocked()
    assert await receive(near, 10) == b"early"


async def test_what_a_read_leaves_behind_is_read_next(pair):
    near, far = pair
    await far.send_all(b"abcdef")
    assert [await receive(near, 4), await receive(near, 4)] == [b"abcd", b"ef"]


@pytest.mark.parametrize("waiting", [False, True])
async def test_an_end_that_came_with_the_last_bytes_is_noticed_too(pair, nursery, waiting):
    near, far = pair
    got = []

    async def read():
        got.append(await receive(near, 10))
        got.append(await receive(near, 10))
        got.append(await receive(near, 10))

    if waiting:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
    far.socket.send(b"last")
    await far.send_eof()
    if not waiting:
        nursery.start_soon(read)
    await wait_all_tasks_blocked()
    assert got == [b"last", b"", b""]


async def test_a_reset_is_broken_not_ended(readiness):
    near, far = socket_pair(tcp=True)
    watch(near, readiness)
    abort(far)
    far.close()
    with pytest.raises(trio.BrokenResourceError):
        await receive(near, 10)
    near.close()


async def test_a_notice_of_what_was_read_already_is_no_end(pair, autojump_clock):
    near, far = pair
    await far.send_all(b"x")
    near.watch.notice(0)  # as if it had been told before
    assert await receive(near, 10) == b"x"
    near.watch.notice(0)
    with trio.move_on_after(1) as scope:
        await receive(near, 10)
    assert scope.cancelled_caught


async def test_who_always_finds_bytes_leaves_turns_to_others(pair, nursery):
    near, far = pair
    turns = []

    async def other():
        while True:
            turns.append(1)
            await trio.lowlevel.checkpoint()

    await far.send_all(bytes(50))
    nursery.start_soon(other)
    for _ in range(50):
        await receive(near, 1)
    assert len(turns) > 20
    nursery.cancel_scope.cancel()


async def test_only_one_may_read(pair, nursery):
    near, far = pair
    nursery.start_soon(receive, near, 1)
    await wait_all_tasks_blocked()
    with pytest.raises(trio.BusyResourceError):
        await receive(near, 1)
    await far.send_all(b"x")


@pytest.mark.parametrize("how", ["interrupt", "close", "unwatch"])
async def test_who_waits_can_be_woken(pair, nursery, how):
    near, _ = pair
    woken = []

    async def read():
        with pytest.raises(trio.ClosedResourceError):
            await receive(near, 1)
        woken.append(near)

    nursery.start_soon(read)
    await wait_all_tasks_blocked()
    getattr(near, how)()
    await wait_all_tasks_blocked()
    assert woken


async def test_a_connection_goes_on_when_it_is_watched_no_longer(pair):
    near, far = pair
    unwatch(near)
    unwatch(near)
    await far.send_all(b"x")
    assert await receive(near, 1) == b"x"
    await send(near, b"y", 5)
    assert await far.receive_some() == b"y"


async def test_nothing_is_watched_before_it_serves_and_behind(nursery):
    readiness = Readiness()
    near, far = socket_pair()
    async with near, far:
        watch(near, readiness)
        assert near.watch is None
        async with trio.open_nursery() as serving:
            serving.start_soon(readiness.serve)
            await wait_all_tasks_blocked()
            watch(near, readiness)
            woken = []

            async def read():
                with pytest.raises(trio.ClosedResourceError):
                    await receive(near, 1)
                woken.append(near)

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            serving.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        assert woken
        assert is_quiet(near)
        unwatch(near)
        watch(near, readiness)
        assert near.watch is None


async def test_what_the_kernel_cannot_watch_is_waited_for_as_ever(readiness, monkeypatch):
    near, far = socket_pair()
    async with near, far:
        assert readiness.watch(near.fileno()) is not None
        watch(near, readiness)  # EEXIST
        assert near.watch is None
        readiness.forget(near.fileno())


@attrs.define(eq=False)
class Replacing(trio.abc.Instrument):
    """Closes a socket between the wake-up of the task that reads it and that task's turn; another gets its number."""

    near: Socket
    other: Socket
    steps: int = 0
    descriptor: int = -1

    def before_task_step(self, task):
        if task.name != "reader":
            return
        self.steps += 1
        if self.steps == 2:
            self.descriptor = self.near.fileno()
            self.near.close()
            os.dup2(self.other.fileno(), self.descriptor)


@pytest.mark.parametrize("come", ["before", "while it waits"])
@pytest.mark.parametrize("watched", [True, False])
async def test_who_is_woken_and_then_closed_reads_nothing_of_a_later_connection(readiness, nursery, come, watched):
    (near, far), (other, others_peer) = socket_pair(), socket_pair()
    got = []

    async def read():
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            got.append(await receive(near, 100))

    async with near, far, other, others_peer:
        if watched:
            watch(near, readiness)
        others_peer.socket.send(b"not ours")
        if come == "before":
            far.socket.send(b"x")
            await wait_all_tasks_blocked()
        replacing = Replacing(near, other)
        trio.lowlevel.add_instrument(replacing)
        nursery.start_soon(read, name="reader")
        await wait_all_tasks_blocked()
        if come != "before":
            far.socket.send(b"x")
            await wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(replacing)
        os.close(replacing.descriptor)
        assert replacing.steps == 2
        assert not got


# Idle


async def test_it_is_quiet_until_something_comes(pair):
    near, far = pair
    assert is_quiet(near) and is_quiet(near)
    await far.send_all(b"x")
    assert not is_quiet(near)
    await wait_all_tasks_blocked()
    assert not is_quiet(near)
    assert await receive(near, 10) == b"x"
    assert is_quiet(near)
    await far.send_eof()
    assert not is_quiet(near)


# Posting


async def answer_each(near, posted, answers):
    for answer in answers:
        await receive(near, 100)
        if not post(near, answer):
            await send(near, answer, 60)
        else:
            posted.append(answer)
    await receive(near, 100)  # who posts waits next


async def test_what_is_sent_by_several_that_woke_together_goes_out_behind_them(pairs, nursery):
    posted = []
    for near, _ in pairs:
        nursery.start_soon(answer_each, near, posted, [b"one", b"two"])
    await wait_all_tasks_blocked()
    for expected in (b"one", b"two"):
        for _, far in pairs:
            far.socket.send(b"?")
        for _, far in pairs:
            assert await far.receive_some(10) == expected
        await wait_all_tasks_blocked()
    assert sorted(posted) == [b"one"] * 3 + [b"two"] * 3
    nursery.cancel_scope.cancel()


async def test_who_woke_alone_sends_at_once(pair, nursery):
    near, far = pair
    posted = []
    nursery.start_soon(answer_each, near, posted, [b"one"])
    await wait_all_tasks_blocked()
    await far.send_all(b"?")
    assert await far.receive_some(10) == b"one"
    assert not posted
    nursery.cancel_scope.cancel()


@pytest.fixture
def gathering(readiness):
    readiness.gathering = True


async def test_much_or_where_something_has_come_is_not_put_off(pair, gathering):
    near, far = pair
    assert not post(near, bytes(POST_BYTES + 1))
    near.watch.notice(0)
    assert not post(near, b"x")
    assert not post(far, b"x"), "not watched"


async def test_a_second_message_stays_behind_the_first(pair, gathering):
    near, far = pair
    assert post(near, b"first ")
    assert not post(near, b"second")
    await send(near, b"second", 5)
    assert await far.receive_some(100) == b"first second"


async def test_a_gentle_end_needs_nothing_posted(pair):
    near, far = pair
    await far.send_eof()
    await close_gently(near)
    assert await far.receive_some(100) == b""


@pytest.mark.parametrize("end", [close_gently, lambda stream: stream.aclose()], ids=["gently", "at once"])
async def test_what_was_posted_goes_out_before_the_end(pair, gathering, end, autojump_clock):
    near, far = pair
    assert post(near, b"last words")
    await end(near)
    assert await far.receive_some(100) == b"last words"
    assert await far.receive_some(100) == b""


def fill(near):
    """Send until the socket takes no more; how much that is."""
    size = 0
    with suppress(BlockingIOError):
        while True:
            size += near.socket.send(bytes(65536))
    return size


async def test_what_the_socket_does_not_take_is_sent_by_who_waits_for_more(pairs, gathering, nursery, readiness):
    near, far = pairs[0]
    size = fill(near)
    assert post(near, b"end")
    got = []
    nursery.start_soon(lambda: receive_into(near, got))
    for _, other in pairs[1:]:
        other.socket.send(b"x")  # so that there is a turn
    await wait_all_tasks_blocked()
    assert near.watch.sending
    received = b""
    while len(received) < size + 3:
        received += await far.receive_some(65536)
    assert received.endswith(b"\0end") and len(received) == size + 3
    await far.send_all(b"next")
    await wait_all_tasks_blocked()
    assert got == [b"next"] and not near.watch.sending


async def test_what_was_not_taken_before_anyone_waits_again_is_sent(pair, gathering, nursery, autojump_clock):
    near, far = pair
    size = fill(near)
    assert post(near, b"end")
    near.watch.flush()  # whoever posted has not come to wait yet
    got = []
    nursery.start_soon(receive_into, near, got)
    received = b""
    with trio.fail_after(1):
        while len(received) < size + 3:
            received += await far.receive_some(65536)
    assert received.endswith(b"\0end")
    await far.send_all(b"next")
    await wait_all_tasks_blocked()
    assert got == [b"next"]


async def receive_into(near, got):
    got.append(await receive(near, 100))


async def test_a_peer_that_is_gone_is_found_out_by_reading(pair, gathering):
    near, far = pair
    assert post(near, b"x")
    far.close()
    assert await receive(near, 10) == b""


async def test_what_is_posted_when_serving_ends_goes_out():
    readiness = Readiness()
    near, far = socket_pair()
    async with near, far:
        async with trio.open_nursery() as serving:
            serving.start_soon(readiness.serve)
            await wait_all_tasks_blocked()
            watch(near, readiness)
            readiness.gathering = True
            assert post(near, b"x")
            serving.cancel_scope.cancel()
        assert await far.receive_some(10) == b"x"
