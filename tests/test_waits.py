"""Waits that end by themselves, on the mock clock: sooner ones, moved ones, those of a socket that goes on."""

from __future__ import annotations

import pytest
import trio
from support.scripted import socket_pair
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.streaming import receive
from trioproxy.waits import GRAIN_SECONDS, RETRY_SECONDS, Wait, Waits


@pytest.fixture
async def waits(nursery):
    waits = Waits()
    nursery.start_soon(waits.watch)
    return waits


@pytest.fixture
async def pair():
    near, far = socket_pair()
    async with near, far:
        yield near, far


async def wait_for_bytes(wait, seconds):
    """What came, or when the wait was over."""
    with wait.until(trio.current_time() + seconds):
        return await receive(wait.stream, 10)
    assert wait.over
    return trio.current_time()


async def test_a_wait_ends_at_its_deadline_and_the_socket_goes_on(waits, pair, autojump_clock):
    near, far = pair
    wait = Wait(near, waits)
    assert await wait_for_bytes(wait, 5) == 5
    assert await wait_for_bytes(wait, 0.25) == 5.25
    await far.send_all(b"more")
    assert await wait_for_bytes(wait, 5) == b"more"
    assert not wait.over and not waits.open


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((3, 1, 2, 0, 2), [0, 1, 2, 2, 3]),
        # Looking for those that are due takes a look at all, so what ends close behind another waits a little.
        ((1, 1.001, 1.002, 1.003, 2), [1, 1 + GRAIN_SECONDS, 1 + GRAIN_SECONDS, 1 + GRAIN_SECONDS, 2]),
    ],
)
async def test_many_waits_end_each_in_its_time(waits, autojump_clock, lengths, expected):
    ends = []

    async def one(seconds):
        near, far = socket_pair()
        async with near, far:
            ends.append(await wait_for_bytes(Wait(near, waits), seconds))

    async with trio.open_nursery() as nursery:
        for seconds in lengths:
            nursery.start_soon(one, seconds)
    assert ends == expected


@pytest.mark.parametrize("moved", [2, 8])
async def test_a_deadline_can_be_moved_meanwhile(waits, pair, nursery, autojump_clock, moved):
    wait = Wait(pair[0], waits)

    async def move():
        await trio.sleep(1)
        wait.end_by(moved)

    nursery.start_soon(move)
    assert await wait_for_bytes(wait, 5) == moved


async def test_a_wait_can_be_cancelled(waits, pair, nursery, autojump_clock):
    wait = Wait(pair[0], waits)

    async def cancel():
        await trio.sleep(1)
        wait.cancel()

    nursery.start_soon(cancel)
    assert await wait_for_bytes(wait, 5) == 1


async def test_one_whose_reader_was_busy_when_its_time_was_over_is_ended_a_second_later(waits, pair, autojump_clock):
    with Wait(pair[0], waits).until(1) as wait:
        await trio.sleep(1.5)
        await receive(wait.stream, 10)
    assert wait.over and trio.current_time() == 1 + RETRY_SECONDS


async def test_only_what_its_end_makes_of_reading_is_taken_for_its_end(waits, pair):
    pair[0].close()
    with pytest.raises(trio.ClosedResourceError):
        await wait_for_bytes(Wait(pair[0], waits), 60)
    with Wait(pair[1], waits).until(trio.current_time() + 60) as wait:
        wait.cancel()
        raise ProxyError(Source.CLIENT, Phase.HEAD, Reason.CLOSED, 400)
    with pytest.raises(ZeroDivisionError), wait.until(trio.current_time() + 60):  # of a bug it hides nothing
        raise ZeroDivisionError(wait.cancel())


async def test_cancelling_from_outside_is_not_swallowed(waits, pair, nursery, autojump_clock):
    with trio.move_on_after(1) as scope, Wait(pair[0], waits).until(5):
        await receive(pair[0], 10)
    assert scope.cancelled_caught and not waits.open


async def test_what_is_no_socket_is_not_woken(waits, autojump_clock):
    near, far = memory_stream_pair()
    async with near, far, trio.open_nursery() as nursery:
        wait = Wait(near, waits)
        nursery.start_soon(wait_for_bytes, wait, 1)
        await wait_all_tasks_blocked()
        wait.cancel()
        await trio.sleep(2)
        assert wait in waits.open
        await far.send_all(b"x")
