"""The accept loop: shortages, failures of one connection, and both ways it ends."""

from __future__ import annotations

import errno
import socket
from contextlib import closing, contextmanager

import attrs
import pytest
import trio
import trio.testing
from support.serving import no_descriptors_left

from trioproxy import accepting as accepting_module
from trioproxy.accepting import ACCEPT_BATCH, ACCEPT_PAUSE, accept_connections, give_up


@contextmanager
def listening(backlog=100):
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as sock:
        yield sock


@attrs.define(eq=False)
class Accepting:
    """An accept loop's two callbacks, and what they heard."""

    socks: list = attrs.field(factory=list)
    errors: list = attrs.field(factory=list)
    times: list = attrs.field(factory=list)
    first: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def handle(self, sock, _peer):
        self.socks.append(sock)
        self.first.set()

    def on_error(self, error):
        self.errors.append(error.errno)
        self.times.append(trio.current_time())

    async def run(self, sock):
        with self.scope:
            await accept_connections(sock, self.handle, self.on_error)

    def close(self):
        for sock in self.socks:
            sock.close()


async def test_what_is_queued_when_a_listener_is_cancelled_is_accepted():
    count = 3 * ACCEPT_BATCH + 5
    with listening(count) as sock, closing(Accepting()) as accepting:
        sock.setblocking(False)
        clients = [socket.create_connection(sock.getsockname()) for _ in range(count)]
        accepting.scope.cancel()
        await accepting.run(sock)
        assert len(accepting.socks) == count
        for client in clients:
            client.close()


async def test_what_is_queued_when_a_listener_is_given_up_is_left_for_the_other_process():
    with listening() as sock, closing(Accepting()) as accepting, sock.dup() as other:
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepting.run, sock)
            await trio.testing.wait_all_tasks_blocked()
            give_up(sock)
            give_up(sock)
            with socket.create_connection(other.getsockname()):
                await trio.testing.wait_all_tasks_blocked()
                assert not nursery.child_tasks
                other.accept()[0].close()
        await accept_connections(sock, accepting.handle, accepting.on_error)  # nothing to accept on any more
        assert accepting.socks == [] and accepting.errors == []


async def test_a_listener_that_is_given_up_in_the_same_moment_as_a_client_comes_is_no_error():
    with listening() as sock, closing(Accepting()) as accepting, sock.dup() as other:
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepting.run, sock)
            await trio.testing.wait_all_tasks_blocked()
            with socket.create_connection(other.getsockname()):
                accepting.scope.cancel()
                give_up(sock)
        assert accepting.socks == []


async def test_without_descriptors_accepting_pauses_and_recovers(autojump_clock):
    with listening() as sock, closing(Accepting()) as accepting, socket.create_connection(sock.getsockname()):
        sock.setblocking(False)
        async with trio.open_nursery() as nursery:
            with no_descriptors_left() as restore:
                nursery.start_soon(accepting.run, sock)
                await trio.sleep(10.5 * ACCEPT_PAUSE)
                assert accepting.errors == [errno.EMFILE] * 11
                assert accepting.times[1] - accepting.times[0] == pytest.approx(ACCEPT_PAUSE)
                restore()
                await accepting.first.wait()
            accepting.scope.cancel()
        assert len(accepting.errors) == 11


@attrs.define(eq=False)
class ScriptedListener:
    """A listening socket whose accepts fail as the test says; it is always readable."""

    failures: list
    ends: tuple = attrs.field(factory=socket.socketpair)

    def __attrs_post_init__(self):
        self.ends[0].send(b"x")

    def fileno(self):
        return self.ends[1].fileno()

    def accept(self):
        if self.failures:
            raise OSError(self.failures.pop(0), "scripted")
        return self.ends[0].dup(), ""

    def close(self):
        for end in self.ends:
            end.close()


async def test_a_connection_that_failed_before_it_was_accepted_concerns_no_other():
    with closing(ScriptedListener([errno.ECONNABORTED, errno.ENETDOWN])) as sock, closing(Accepting()) as accepting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(accepting.run, sock)
            await accepting.first.wait()
            sock.failures = [errno.EMFILE] * 1000
            accepting.scope.cancel()
        assert accepting.errors[:2] == [errno.ECONNABORTED, errno.ENETDOWN]


async def test_an_accept_error_nobody_foresaw_is_raised():
    with closing(ScriptedListener([errno.EBADF])) as sock, closing(Accepting()) as accepting:
        with pytest.raises(OSError, match="scripted"):
            await accepting.run(sock)
        assert accepting.errors == [errno.EBADF] and not accepting.socks


async def test_clients_that_never_stop_coming_do_not_keep_a_listener_from_closing(monkeypatch):
    monkeypatch.setattr(accepting_module, "BACKLOG", 4 * ACCEPT_BATCH)
    with closing(ScriptedListener([])) as sock, closing(Accepting()) as accepting:
        accepting.scope.cancel()
        await accepting.run(sock)
        assert len(accepting.socks) == 4 * ACCEPT_BATCH


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.EMFILE, "descriptors"),
        (errno.ENFILE, "descriptors"),
        (errno.ENOBUFS, "memory"),
        (errno.ECONNABORTED, "other"),
    ],
)
def test_what_was_short_is_told_apart(number, what):
    assert accepting_module.shortage(OSError(number, "")) == what
