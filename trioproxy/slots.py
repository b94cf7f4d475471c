"""A worker's place: its process is started, spoken to, watched, and started anew when it has ended.

What all places together do is `supervisor`'s work, what the process does `worker`'s.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import attrs
import trio

from trioproxy.config import AdminConfig
from trioproxy.config_show import show_config
from trioproxy.control_channel import Channel
from trioproxy.control_messages import Answer, Ask, Cut, Ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from trioproxy.config import Config
    from trioproxy.control_messages import Message, Start
    from trioproxy.logs import Log

START_SECONDS: Final = 30.0  # from its first message to accepting; importing is over by then
SETTLED_SECONDS: Final = 60.0  # a worker that lived that long did not fail at its start
FIRST_PAUSE: Final = 0.5  # before the second start in a row, doubling up to
LONGEST_PAUSE: Final = 30.0
MISSED_BEATS: Final = 5  # ticks of the supervisor in which a worker's heart did not beat
ANSWER_SECONDS: Final = 5.0  # that a worker may take for one command
CUT_SECONDS: Final = 2.0  # from being told to end at once to being killed
MOST_UNSENT: Final = 10_000  # messages a worker has not read


Parcel: TypeAlias = "tuple[Message, Sequence[int]]"  # with descriptors that are its own


class RestartReason(StrEnum):
    """Why a worker was started anew: the `reason` label of `trioproxy_worker_restarts_total`."""

    KILLED = "killed"  # by a signal from elsewhere
    EXITED = "exited"  # by itself, which is a bug: the log has the traceback
    STALLED = "stalled"  # its loop stood still
    START = "start"  # it was not ready in time
    RELOAD = "reload"  # it came up with the old configuration while the new one was being put in force


class Owner(Protocol):
    """What a place needs of the supervisor. None of it blocks."""

    def first_message(self, slot: Slot) -> tuple[Start, Sequence[int]]:
        """What the next worker is told first, and the descriptors for it."""
        ...

    def began(self, slot: Slot) -> None:
        """Its worker accepts."""
        ...

    def ended(self, slot: Slot, reason: RestartReason) -> None:
        """Its worker is no more; unless the place is `stopping` there will be another."""
        ...

    def heard(self, slot: Slot, message: Message) -> None:
        """Its worker said something of its own accord."""
        ...


def pause_before(failures: int) -> float:
    """Seconds to wait before a worker is started anew, `failures` being how many in a row did not live long."""
    return 0.0 if failures <= 1 else min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 2))


@attrs.define(eq=False)
class Slot:
    """One place; `serving` while its worker accepts."""

    number: int
    owner: Owner
    log: Log
    may_start: trio.Event  # workers that are up wait for it with their first message
    command: Sequence[str] = (sys.executable, "-P", "-m", "trioproxy.worker")  # behind it comes its end of the line
    serving: bool = attrs.field(default=False, init=False)
    prepared: bool = attrs.field(default=False, init=False)  # its worker has built the next configuration
    process: trio.Process | None = attrs.field(default=None, init=False)
    stopping: trio.Event = attrs.field(factory=trio.Event, init=False)
    over: trio.Event = attrs.field(factory=trio.Event, init=False)  # there is no worker any more, nor will be
    restarts: int = attrs.field(default=0, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _killed_for: RestartReason | None = attrs.field(default=None, init=False)
    _beats: tuple[int, int] = attrs.field(default=(-1, 0), init=False)  # the last count, and ticks since it changed
    _outbox: trio.MemorySendChannel[Parcel] | None = attrs.field(default=None, init=False)
    _questions: dict[int, Question] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    @property
    def started(self) -> bool:
        """Whether its worker has been told what to do."""
        return self._outbox is not None

    async def run(self) -> None:
        """Have a worker here until `stopping` is set and the last one has ended; cancelled, end it by force."""
        try:
            await self._keep_one()
        finally:
            self.over.set()

    async def _keep_one(self) -> None:
        while not self.stopping.is_set():
            began = trio.current_time()
            reason = await self._live()
            self.owner.ended(self, reason)
            if self.stopping.is_set():
                return
            lived = trio.current_time() - began
            self._failures = 1 if lived >= SETTLED_SECONDS else self._failures + 1
            pause = pause_before(self._failures)
            self.restarts += 1
            self.log.error("worker_ended", **self._describe(), reason=reason, lived_s=round(lived, 3), pause_s=pause)
            with trio.move_on_after(pause):
                await self.stopping.wait()

    def status(self) -> dict[str, Any]:
        """For the admin."""
        pid = self.process.pid if self.process is not None and self.process.returncode is None else None
        return {"worker": self.number, "pid": pid, "serving": self.serving, "restarts": self.restarts}

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Say something to the worker, if there is one; `fds` may be closed at once."""
        if self._outbox is not None:
            parcel = message, [os.dup(fd) for fd in fds]
            try:
                self._outbox.send_nowait(parcel)
            except trio.WouldBlock:
                _discard(parcel)
                self.kill(RestartReason.STALLED)

    async def ask(
        self,
        make: Callable[[int], Message],
        fds: Sequence[int] = (),
        timeout: float = ANSWER_SECONDS,  # noqa: ASYNC109 - of the answer
    ) -> Answer | None:
        """What the worker answers to the message made with a number; None where it does not, or is not there."""
        return await self.question(make, fds).wait(timeout)

    def question(self, make: Callable[[int], Message], fds: Sequence[int] = ()) -> Question:
        """Say the message made with a number, whose answer may be waited for later."""
        question = Question()
        if self._outbox is None:
            question.answered.set()
        else:
            number = next(self._numbers)
            self._questions[number] = question
            self.send(make(number), fds)
        return question

    def kill(self, reason: RestartReason) -> None:
        """End the process at once, whatever it is doing, and remember why."""
        if self.process is not None and self.process.poll() is None:
            self._killed_for = reason
            self.process.kill()

    def judge(self, beats: int) -> None:
        """Look at the heartbeats it has counted; called once a tick of the supervisor's, whatever a clock says."""
        last, missed = self._beats
        self._beats = (beats, 0 if beats != last else missed + 1)
        if self.serving and self._beats[1] >= MISSED_BEATS:
            self.kill(RestartReason.STALLED)

    async def _live(self) -> RestartReason:
        """One process, from its start to its end."""
        channel, theirs = Channel.pair()
        self._killed_for = None
        try:
            with theirs:
                self.process = await trio.lowlevel.open_process(
                    [*self.command, str(theirs.fileno())],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    # It is to find the same modules as this process, and none in the current folder but by that.
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
            await self._accompany(channel, self.process)
        except OSError as error:
            self.log.warning("worker_start_failed", worker=self.number, reason=error.strerror or str(error))
            return RestartReason.START
        finally:
            self._forget()
            channel.close()
        if self._killed_for is not None:
            return self._killed_for
        return RestartReason.KILLED if (self.process.returncode or 0) < 0 else RestartReason.EXITED

    async def _accompany(self, channel: Channel, process: trio.Process) -> None:
        outbox: trio.MemorySendChannel[Parcel]
        outbox, unsent = trio.open_memory_channel(MOST_UNSENT)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, channel)
                nursery.start_soon(self._begin, outbox)
                nursery.start_soon(_send_all, channel, unsent)
                await process.wait()
                nursery.cancel_scope.cancel()
        except BaseException:
            with trio.CancelScope(shield=True), trio.move_on_after(CUT_SECONDS):
                with trio.move_on_after(CUT_SECONDS / 2):
                    await _say(channel, Cut())
                await process.wait()
            if process.poll() is None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()
            raise
        finally:
            self._outbox = None
            with contextlib.suppress(trio.WouldBlock):
                while True:
                    _discard(unsent.receive_nowait())

    async def _begin(self, outbox: trio.MemorySendChannel[Parcel]) -> None:
        await self.may_start.wait()
        if self.stopping.is_set():
            self.kill(RestartReason.EXITED)
            return  # a drain has closed what it would be given
        self._outbox = outbox
        self.send(*self.owner.first_message(self))
        await trio.sleep(START_SECONDS)
        if not self.serving:
            self.kill(RestartReason.START)

    async def _listen(self, channel: Channel) -> None:
        try:
            while (heard := await channel.receive()) is not None:
                self._hear(heard[0])
        except ValueError as error:
            self.log.warning("worker_unintelligible", **self._describe(), reason=str(error))
        await trio.sleep(CUT_SECONDS)  # who has nothing more to say is about to end
        self.kill(RestartReason.EXITED)

    def _hear(self, message: Message) -> None:
        match message:
            case Ready():
                self.serving, self._beats = True, (-1, 0)
                self.log.info("worker_started", **self._describe())
                self.owner.began(self)
            case Answer() as answer:
                if (question := self._questions.pop(answer.number, None)) is not None:
                    question.answer = answer
                    question.answered.set()
            case _:
                self.owner.heard(self, message)

    def _forget(self) -> None:
        self.serving = self.prepared = False
        self._outbox = None
        for question in self._questions.values():
            question.answered.set()
        self._questions.clear()

    def _describe(self) -> dict[str, Any]:
        if self.process is None:  # it could not be started
            return {"worker": self.number}
        status = {} if self.process.returncode is None else {"status": self.process.returncode}
        return {"worker": self.number, "pid": self.process.pid, **status}


async def ask_all(slots: Iterable[Slot], what: str, **arguments: Any) -> list[Answer]:
    """What the workers answer that do in time; all are asked before anything else, so in the order of commands."""
    questions = [slot.question(lambda number: Ask(number, what, arguments)) for slot in slots]
    with trio.move_on_after(ANSWER_SECONDS):
        for question in questions:
            await question.answered.wait()
    return [question.answer for question in questions if question.answer is not None]


@attrs.define(eq=False)
class Question:
    """Something a worker was asked; `answered` also where it never will be."""

    answer: Answer | None = None
    answered: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def wait(self, timeout: float = ANSWER_SECONDS) -> Answer | None:  # noqa: ASYNC109 - of the answer
        """The answer, if it comes in time."""
        with trio.move_on_after(timeout):
            await self.answered.wait()
        return self.answer


async def _send_all(channel: Channel, unsent: trio.MemoryReceiveChannel[Parcel]) -> None:
    async for parcel in unsent:
        try:
            await _say(channel, *parcel)
        finally:
            _discard(parcel)


def _discard(parcel: Parcel) -> None:
    for fd in parcel[1]:
        os.close(fd)


async def _say(channel: Channel, message: Message, fds: Sequence[int] = ()) -> None:
    with contextlib.suppress(trio.BrokenResourceError):  # that it is gone is noticed where it is waited for
        await channel.send(message, fds)


def text_for_workers(config: Config) -> str:
    """As TOML, without what is this process's alone: the lame duck of a drain, the admin."""
    server = attrs.evolve(config.server, drain=attrs.evolve(config.server.drain, lame_duck=0.0))
    return show_config(attrs.evolve(config, server=server, admin=AdminConfig(address="")))
