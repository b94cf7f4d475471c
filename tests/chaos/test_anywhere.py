"""What runs on Trio, used from programs of every kind."""

import asyncio
import os
import signal
import threading
from contextlib import asynccontextmanager

import pytest
import trio

from trioproxy.chaos.anywhere import Anywhere


class Thing:
    """Tells where it runs; its run has another task, which ends with it."""

    def __init__(self, call):
        self.call = call
        self.ended = threading.Event()

    @property
    def over(self):
        return self.ended.is_set()

    def thread(self):
        return self.call(threading.current_thread)

    def fail(self):
        self.call(int, "x")


@asynccontextmanager
async def make(call):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        thing = Thing(call)
        yield thing
        nursery.cancel_scope.cancel()
    thing.ended.set()


@asynccontextmanager
async def make_nothing(_):
    await trio.lowlevel.checkpoint()
    raise OSError("it does not start")
    yield


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("trioproxy-chaos"):
            thread.join(60)  # an interrupt at a bad moment may have left its end to itself
            assert not thread.is_alive()


def test_without_an_event_loop_it_has_a_thread():
    with Anywhere(make) as thing:
        assert thing.thread().name.startswith("trioproxy-chaos")
        with pytest.raises(ValueError, match="invalid literal"):
            thing.fail()
    assert thing.over


@pytest.mark.parametrize("error", [AssertionError("mine"), KeyboardInterrupt()])
def test_what_the_body_raises_comes_out_as_it_is(error):
    with pytest.raises(type(error)) as caught, Anywhere(make) as thing:
        raise error
    assert caught.value is error
    assert thing.over


def test_what_the_start_raises_comes_out_as_it_is():
    with pytest.raises(OSError, match="it does not start"), Anywhere(make_nothing):
        pass


def test_an_interrupt_while_it_starts_ends_it():
    things, interrupted = [], threading.Event()

    @asynccontextmanager
    async def make_and_interrupt(call):
        async with make(call) as thing:
            things.append(thing)
            os.kill(os.getpid(), signal.SIGINT)
            await trio.to_thread.run_sync(interrupted.wait)
            yield thing

    def interrupt(*_):
        interrupted.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), Anywhere(make_and_interrupt):
            pytest.fail("it has started")
    finally:
        signal.signal(signal.SIGINT, before)
    assert things[0].ended.wait(60)


def test_under_asyncio_it_has_a_thread():
    async def use():
        with Anywhere(make) as one:
            async with Anywhere(make) as other:
                assert one.thread() != other.thread() != threading.current_thread()
        assert one.over
        assert other.over

    asyncio.run(use())


async def test_under_trio_it_is_in_the_same_run():
    async with Anywhere(make) as thing:
        assert thing.thread() is threading.current_thread()
        with pytest.raises(ValueError, match="invalid literal"):
            thing.fail()
    assert thing.over


async def test_under_trio_what_the_body_raises_comes_out_as_it_is():
    error = AssertionError("mine")
    with pytest.raises(AssertionError) as caught:
        async with Anywhere(make) as thing:
            raise error
    assert caught.value is error
    assert thing.over


async def test_under_trio_it_is_cancelled_as_everything_is():
    with trio.CancelScope() as scope:
        async with Anywhere(make):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_one_in_a_thread_can_be_called_from_a_task_of_another_run():
    with Anywhere(make) as thing:
        assert thing.thread() is not threading.current_thread()
