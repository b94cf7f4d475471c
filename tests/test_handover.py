"""The handover's protocol, both ends of it in one run, and peers that do not keep to it."""

from __future__ import annotations

import array
import json
import os
import socket
import stat
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from support.serving import no_descriptors_left
from trio.testing import wait_all_tasks_blocked

from trioproxy.handover import ANSWER_SECONDS, HELLO_SECONDS, PROTOCOL, RELEASE_SECONDS, GoneError, Line, open_handover
from trioproxy.logs import Log
from trioproxy.transport import ListenError

HELLO = {"kind": "hello", "protocol": PROTOCOL, "version": "9.9", "pid": 1}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "door")


@pytest.fixture
def listeners():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        yield one, two


def names(sockets):
    return {address: [sock.getsockname() for sock in each] for address, each in sockets.items()}


def there(path):
    return Path(path).exists()


def permissions(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def logged(log):
    return [entry["event"] for entry in log.events]


def reason(log):
    return next(entry["reason"] for entry in log.events if entry["event"] == "handover_failed")


@asynccontextmanager
async def running(path, offered):
    """A process that offers these; gives its handover, its log, and a channel with what comes of it."""
    log = Log.memory()
    send, receive = trio.open_memory_channel(1)

    async def offer():
        await send.send(await handover.successor(lambda: offered))

    async with open_handover(path, log) as handover, trio.open_nursery() as nursery:
        nursery.start_soon(offer)
        await wait_all_tasks_blocked()
        yield handover, log, receive
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def peer(path):
    """A process at `path` that says what a test says."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        await door.bind(path)
        door.listen()
        yield door


async def packet(sock, **message):
    await sock.send(json.dumps(message).encode())


async def knock(path):
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    await sock.connect(path)
    return sock


async def test_without_a_path_nothing_is_taken_over_and_nobody_comes(autojump_clock):
    async with open_handover("", Log.memory()) as handover:
        assert handover.sockets == {}
        await handover.relieve(["127.0.0.1:80"])
        with trio.move_on_after(1000) as forever:
            await handover.successor(dict)
        assert forever.cancelled_caught


async def test_the_first_one_finds_nobody_and_opens_a_door_for_this_user_alone(path):
    async with open_handover(path, Log.memory()) as handover:
        assert handover.sockets == {}
        assert permissions(path) == 0o600
        await handover.relieve([])
    assert not there(path)


async def test_a_door_left_behind_is_replaced_and_one_that_cannot_be_made_is_an_error(path, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(path)
    async with open_handover(path, Log.memory()) as handover:
        assert handover.sockets == {}
    with pytest.raises(ListenError, match=r"cannot listen on unix:.*/missing/door: No such file or directory"):
        async with open_handover(str(tmp_path / "missing" / "door"), Log.memory()):
            pass


async def test_the_next_one_gets_all_sockets_by_address_and_the_door(path, listeners):
    one, two = listeners
    many = [one.dup() for _ in range(401)]  # workers have a socket each; the kernel takes 253 at once
    async with running(path, {"a:1": [one], "b:2": [two, one], "c:3": many}) as (_, old_log, came):
        new_log = Log.memory()
        async with open_handover(path, new_log) as new:
            assert names(new.sockets) == names({"a:1": [one], "b:2": [two, one], "c:3": many})
            dropped = new.sockets["b:2"] + new.sockets["c:3"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(new.relieve, ["a:1", "new:4"])
                successor = await came.receive()
                assert successor.taken == {"a:1", "new:4"} and successor.pid == os.getpid()
                # What the new one has no use for is the old one's alone by now.
                assert {sock.fileno() for sock in dropped} == {-1}
                await successor.go()
            assert list(new.sockets) == ["a:1"]
            assert logged(old_log) == ["handover"]
            assert logged(new_log) == ["taking_over", "took_over"]
            assert there(path)
    for sock in many:
        sock.close()


async def test_whoever_is_the_last_behind_the_door_removes_it(path):
    async with open_handover(path, Log.memory()) as old:
        nothing = dict
        async with trio.open_nursery() as nursery:
            nursery.start_soon(old.successor, nothing)
            async with open_handover(path, Log.memory()):
                nursery.cancel_scope.cancel()
        assert there(path)  # the new one failed: the old one is there still
    assert not there(path)


async def test_a_new_one_that_fails_changes_nothing_and_the_next_is_served(path, listeners):
    async with running(path, {"a:1": [listeners[0]]}) as (_, log, came):
        with pytest.raises(ZeroDivisionError):
            async with open_handover(path, Log.memory()):
                raise ZeroDivisionError
        async with open_handover(path, Log.memory()) as new:
            assert names(new.sockets) == names({"a:1": [listeners[0]]})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(new.relieve, ["a:1"])
                await (await came.receive()).go()
    assert logged(log) == ["handover", "handover_failed", "handover"]
    assert reason(log) == "the other process is gone"


async def test_of_two_new_ones_the_second_takes_over_from_the_first(path, listeners):
    taken = []

    async def second():
        async with open_handover(path, Log.memory()) as late:
            taken.append(names(late.sockets))
            await late.relieve(["a:1"])

    async with running(path, {"a:1": [listeners[0]]}) as (_, _, came), open_handover(path, Log.memory()) as first:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(second)
            await wait_all_tasks_blocked()
            assert taken == []
            async with trio.open_nursery() as relieving:
                relieving.start_soon(first.relieve, ["a:1"])
                await (await came.receive()).go()
            await (await first.successor(lambda: {"b:2": [listeners[1]]})).go()
        assert taken == [names({"b:2": [listeners[1]]})]


async def test_an_old_one_that_ends_in_the_middle_leaves_the_first_place(path):
    async with peer(path) as door, trio.open_nursery() as nursery:

        async def old():
            sock, _ = await door.accept()
            await sock.recv(1000)
            await packet(sock, **HELLO)
            door.close()
            sock.close()

        nursery.start_soon(old)
        async with open_handover(path, Log.memory()) as handover:
            assert handover.predecessor is None and handover.door is not None


async def ask_of(path, *messages):
    """What comes of a process at `path` that sends these."""
    async with peer(path) as door, trio.open_nursery() as nursery:

        async def old():
            sock, _ = await door.accept()
            with sock:
                for message in messages:
                    await sock.send(message)
                await trio.sleep_forever()

        nursery.start_soon(old)
        with pytest.raises(ListenError) as caught:
            async with open_handover(path, Log.memory()):
                pass
        nursery.cancel_scope.cancel()
    return str(caught.value)


async def test_an_old_one_that_is_stuck_is_waited_for_not_too_long(path, autojump_clock):
    assert await ask_of(path) == f"handover at {path}: no answer in time"
    assert trio.current_time() == ANSWER_SECONDS


async def test_an_old_one_of_another_kind_is_left_alone(path):
    other = json.dumps({**HELLO, "protocol": PROTOCOL + 1}).encode()
    assert "trioproxy 9.9 hands over in another way: stop it first" in await ask_of(path, other)


async def test_a_refusal_is_told(path):
    refused = json.dumps({"kind": "refused", "reason": "not now"}).encode()
    assert (await ask_of(path, refused)).endswith(": not now")


@pytest.mark.parametrize("message", [b"no json", b"[]", b"{}", b'"hello"', b"[" * 100_000])
async def test_what_is_no_message_is_told(path, message):
    assert "what is no message" in await ask_of(path, message)


async def test_a_message_out_of_turn_is_told(path):
    assert "says 'end' where hello is due" in await ask_of(path, b'{"kind": "end"}')


async def test_sockets_that_do_not_come_along_are_told(path):
    assert "too few open files" in await ask_of(path, json.dumps(HELLO).encode(), b'{"kind": "end"}')


async def test_out_of_descriptors_the_next_one_waits(path, listeners, autojump_clock):
    async with running(path, {"a:1": [listeners[0]]}) as (_, log, _):
        new = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with new, no_descriptors_left() as restore:
            await new.connect(path)
            while not log.events:
                await trio.sleep(0.1)
            restore()
            await packet(new, kind="hello", protocol=PROTOCOL, version="9.9")
            assert json.loads(await new.recv(1000))["kind"] == "hello"
    assert log.events[0]["reason"] == "Too many open files"


async def test_something_else_at_the_path_is_an_error(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
        stranger.bind(path)
        stranger.listen()
        with pytest.raises(ListenError, match=r"handover at .*: Protocol wrong type for socket"):
            async with open_handover(path, Log.memory()):
                pass


async def test_no_sockets_are_taken_from_another_users_process(path, monkeypatch):
    async with running(path, {}):
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(ListenError, match="another user's"):
            async with open_handover(path, Log.memory()):
                pass


async def test_no_sockets_are_given_to_another_users_process(path, listeners, monkeypatch):
    async with running(path, {"a:1": [listeners[0]]}) as (_, log, _):
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        stranger = await knock(path)
        assert await stranger.recv(1000) == b""
        stranger.close()
    assert reason(log) == "it is another user's process"


async def test_a_new_one_of_another_kind_is_told_so(path):
    async with running(path, {}) as (_, log, _):
        other = await knock(path)
        await packet(other, kind="hello", protocol=PROTOCOL + 1, version="9.9")
        answer = json.loads(await other.recv(1000))
        assert answer["kind"] == "refused" and "stop it first" in answer["reason"]
        other.close()
    assert reason(log) == "it is trioproxy 9.9, which takes over in another way"


async def test_a_new_one_that_says_nothing_holds_nobody_up(path, autojump_clock):
    async with running(path, {}) as (_, log, _):
        silent = await knock(path)
        assert await silent.recv(1000) == b""
        assert trio.current_time() == HELLO_SECONDS
        silent.close()
        async with open_handover(path, Log.memory()) as new:
            assert new.predecessor is not None
    assert reason(log) == "it does not say who it is"


@pytest.mark.parametrize("taken", [7, None, "a:1"])
async def test_a_new_one_that_makes_no_sense_ends_nothing(path, taken):
    async with running(path, {}) as (_, log, _):
        new = await knock(path)
        file = os.memfd_create("no socket")
        await new.sendmsg(
            [json.dumps(HELLO).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))]
        )
        os.close(file)
        await packet(new, kind="ready", taken=taken)
        while await new.recv(1000):
            pass
        new.close()
        async with open_handover(path, Log.memory()) as next_one:
            assert next_one.predecessor is not None
    assert reason(log) == "the other process sends what is no message"


async def relieved_of(path, end):
    """The log of a new process whose old one does `end` when it hears that it may go."""
    log = Log.memory()
    async with peer(path) as door, trio.open_nursery() as nursery:
        door_for_the_next = socket.socket(fileno=os.dup(door.fileno()))

        async def old():
            sock, _ = await door.accept()
            with sock, door_for_the_next as plain:
                assert json.loads(await sock.recv(1000))["kind"] == "hello"
                await packet(sock, **HELLO)
                await Line(sock).send("end", [plain])
                assert json.loads(await sock.recv(1000)) == {"kind": "ready", "taken": []}
                await end(sock)

        nursery.start_soon(old)
        async with open_handover(path, log) as handover:
            await handover.relieve([])
        nursery.cancel_scope.cancel()
    return log


async def for_ever(_):
    await trio.sleep_forever()


async def test_an_old_one_that_never_lets_go_is_left_behind(path, autojump_clock):
    log = await relieved_of(path, for_ever)
    assert trio.current_time() == RELEASE_SECONDS
    assert reason(log) == "the old process did not let go: no answer in time"


async def test_an_old_one_that_ends_while_it_lets_go_is_missed_by_nobody(path):
    async def end(sock):
        sock.close()

    assert "gone" in reason(await relieved_of(path, end))


async def test_a_successor_that_ends_when_it_is_let_in_does_no_harm(path):
    async with running(path, {}) as (_, _, came):
        async with open_handover(path, Log.memory()) as new, trio.open_nursery() as nursery:
            nursery.start_soon(new.relieve, [])
            successor = await came.receive()
            nursery.cancel_scope.cancel()
        await successor.go()


async def test_a_line_whose_other_end_is_gone_says_so():
    ours, theirs = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    with pytest.raises(GoneError, match="Broken pipe"):
        await Line(ours).send("hello")
    ours.close()
