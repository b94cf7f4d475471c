"""A worker's place, with small real processes that speak the worker's side of the line."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from support.processes import ROOT
from support.serving import descriptors
from support.waiting import wait_until

from trioproxy import slots
from trioproxy.control_messages import Abandon, Ask, Resolve, Start
from trioproxy.logs import Log
from trioproxy.slots import MISSED_BEATS, RestartReason, Slot, pause_before

# Says Ready, then does what the words of an Ask tell it; a Cut or the end of the line ends it.
WORKER = """
import json, os, socket, sys, time
sys.path.insert(0, sys.argv[1])
line = socket.socket(fileno=int(sys.argv[2]))
read = line.makefile("rb")
def say(**message):
    line.sendall(b"0 " + json.dumps(message).encode() + b"\\n")
start = None
for text in read:
    if not text.strip():
        continue
    message = json.loads(text.partition(b" ")[2])
    match message["message"]:
        case "start":
            if message["config"] == "hang":
                time.sleep(3600)
            say(message="ready")
        case "cut":
            sys.exit(0)
        case "ask":
            match message["what"]:
                case "echo": say(message="answer", number=message["number"], result=message["arguments"])
                case "refuse": say(message="answer", number=message["number"], refusal=["no"])
                case "exit": sys.exit(5)
                case "babble": line.sendall(b"what?\\n")
                case "leave":
                    line.shutdown(socket.SHUT_RDWR)
                    time.sleep(3600)
                case "wish": say(message="resolve", pool="p", address="a:1")
                case "deaf":
                    say(message="resolve", pool="p", address="a:1")
                    time.sleep(3600)
"""


@attrs.define(eq=False)
class Owner:
    """What a supervisor would be told."""

    config: str = ""
    fds: tuple = ()
    events: list = attrs.field(factory=list)

    def first_message(self, slot):
        return Start(slot.number, 1, self.config, (), ()), self.fds

    def began(self, slot):
        self.events.append("began")

    def ended(self, slot, reason):
        self.events.append(reason)

    def heard(self, slot, message):
        self.events.append(message)


@asynccontextmanager
async def place(owner=None):
    """A slot that runs; cancelled at the end, when nothing may be left open."""
    before = descriptors()
    may_start = trio.Event()
    may_start.set()
    command = (sys.executable, "-c", WORKER, str(ROOT))
    slot = Slot(0, owner or Owner(), Log.memory(), may_start, command)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slot.run)
        yield slot
        nursery.cancel_scope.cancel()
    assert slot.process is None or slot.process.returncode is not None
    assert slot.over.is_set() and not slot.started
    assert descriptors() == before


async def serving(slot, restarts=0):
    await wait_until(lambda: slot.serving and slot.restarts == restarts, f"serving after {restarts} restarts")


def ask(slot, what, timeout=30, **arguments):
    return slot.ask(partial(Ask, what=what, arguments=arguments), timeout=timeout)


def ends(slot):
    return [event for event in slot.log.events if event["event"] == "worker_ended"]


async def test_a_worker_is_started_told_what_to_do_and_heard():
    async with place() as slot:
        await serving(slot)
        assert slot.status() == {"worker": 0, "pid": slot.process.pid, "serving": True, "restarts": 0}
        slot.send(Ask(0, "wish", {}))
        await wait_until(lambda: Resolve("p", "a:1") in slot.owner.events, "its wish")
        assert slot.owner.events == ["began", Resolve("p", "a:1")]
        (event,) = slot.log.events
        assert (event["event"], event["worker"], event["pid"]) == ("worker_started", 0, slot.process.pid)


async def test_questions_are_answered_refused_or_left_open():
    async with place() as slot:
        await serving(slot)
        assert (await ask(slot, "echo", a=[1])).result == {"a": [1]}
        assert (await ask(slot, "refuse")).refusal == ("no",)
        assert await ask(slot, "wish", timeout=0.1) is None
        late = slot.question(partial(Ask, what="echo", arguments={}))
        assert (await late.wait()).result == {}
        assert await ask(slot, "exit") is None
        await serving(slot, restarts=1)


async def test_who_has_no_worker_answers_nothing():
    slot = Slot(0, Owner(), Log.null(), trio.Event())
    assert await ask(slot, "echo") is None
    slot.send(Abandon())
    slot.kill(RestartReason.KILLED)
    assert slot.status() == {"worker": 0, "pid": None, "serving": False, "restarts": 0}


@pytest.mark.parametrize(
    ("what", "reason", "status"),
    [
        ("exit", RestartReason.EXITED, 5),
        ("babble", RestartReason.EXITED, -signal.SIGKILL),
        ("leave", RestartReason.EXITED, -signal.SIGKILL),
    ],
)
async def test_a_worker_that_ends_by_itself_is_started_anew(what, reason, status, monkeypatch):
    monkeypatch.setattr(slots, "CUT_SECONDS", 0.1)
    async with place() as slot:
        await serving(slot)
        slot.send(Ask(0, what, {}))
        await serving(slot, restarts=1)
        assert slot.owner.events == ["began", reason, "began"]
        (end,) = ends(slot)
        assert (end["reason"], end["status"], end["pause_s"]) == (reason, status, 0)


async def test_a_killed_worker_is_started_anew():
    async with place() as slot:
        await serving(slot)
        os.kill(slot.process.pid, signal.SIGKILL)
        await serving(slot, restarts=1)
        assert slot.owner.events == ["began", RestartReason.KILLED, "began"]


async def test_a_worker_whose_heart_stands_still_is_killed():
    async with place() as slot:
        await serving(slot)
        for beat in range(20):
            slot.judge(beat)
        for _ in range(MISSED_BEATS):
            assert slot.process.poll() is None
            slot.judge(19)
        await serving(slot, restarts=1)
        assert slot.owner.events == ["began", RestartReason.STALLED, "began"]


async def test_a_worker_that_never_gets_ready_is_killed(monkeypatch):
    monkeypatch.setattr(slots, "START_SECONDS", 0.1)
    async with place(Owner("hang")) as slot:
        await wait_until(lambda: RestartReason.START in slot.owner.events, "its end")
        slot.owner.config = ""


async def test_who_does_not_read_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(slots, "MOST_UNSENT", 10)
    async with place() as slot:
        await serving(slot)
        slot.send(Ask(0, "deaf", {"much": "x" * 1_000_000}))
        for _ in range(11):
            slot.send(Ask(0, "echo", {"much": "x" * 1_000_000}), [0])
        await serving(slot, restarts=1)
        assert RestartReason.STALLED in slot.owner.events


async def test_a_process_that_cannot_be_started_is_tried_again():
    may_start = trio.Event()
    slot = Slot(0, Owner(), Log.memory(), may_start, ("/nowhere/at/all",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slot.run)
        await wait_until(lambda: slot.restarts > 1, "two failures")
        slot.stopping.set()
    assert [event["reason"] for event in ends(slot)] == [RestartReason.START] * 2
    assert any(event["event"] == "worker_start_failed" for event in slot.log.events)


async def test_stopping_takes_the_last_worker_for_the_last():
    async with place() as slot:
        await serving(slot)
        slot.stopping.set()
        slot.send(Ask(0, "exit", {}))
        await slot.over.wait()
        assert slot.owner.events == ["began", RestartReason.EXITED] and not ends(slot)


async def test_stopping_ends_a_worker_that_was_not_told_anything_yet():
    class Closed(Owner):
        def first_message(self, slot):
            raise KeyError("its sockets are closed")  # as in a drain that began while the process was started

    may_start = trio.Event()
    slot = Slot(0, Closed(), Log.memory(), may_start, (sys.executable, "-c", WORKER, str(ROOT)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slot.run)
        await wait_until(lambda: slot.process is not None, "a process")
        slot.stopping.set()
        may_start.set()
    assert slot.process.returncode == -signal.SIGKILL


async def test_cancelled_it_cuts_and_kills_who_does_not_go(monkeypatch):
    monkeypatch.setattr(slots, "CUT_SECONDS", 0.2)
    async with place() as slot:
        await serving(slot)
        slot.send(Ask(0, "deaf", {}))
        await wait_until(lambda: len(slot.owner.events) > 1, "its last word")
    assert slot.process.returncode == -signal.SIGKILL
    async with place() as slot:
        await serving(slot)
        monkeypatch.setattr(slots, "CUT_SECONDS", 60)
    assert slot.process.returncode == 0


async def test_descriptors_are_its_own_from_the_moment_they_are_sent():
    async with place(Owner(fds=(0,))) as slot:
        await serving(slot)
    os.fstat(0)  # open still


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (2, 0.5), (3, 1), (4, 2), (5, 4), (7, 16), (8, 30), (1000, 30)]
)
def test_starts_in_a_row_come_ever_more_slowly(failures, seconds):
    assert pause_before(failures) == seconds
