"""The upstreams' processes."""

import contextlib
import signal
import socket
import sys
from pathlib import Path

import pytest
import trio
from trio_websocket import open_websocket

from trioproxy.chaos.servers import HOST, Given, Server, ServerError, free_port, listens


@contextlib.contextmanager
def server(*command):
    one = Server(3, command) if command else Server(3)
    try:
        yield one
    finally:
        one.close()


async def test_it_listens_once_it_is_started_and_again_at_the_same_port():
    with server() as one:
        await one.start()
        port = one.port
        async with open_websocket(*one.target, "/", use_ssl=False) as websocket:
            await websocket.send_message("hello")
            assert await websocket.get_message() == "hello"
        one.signal(signal.SIGKILL)
        await one.start()
        assert (await listens(one.target), one.port) == (True, port)
    assert not await listens(one.target)


async def test_one_that_is_stopped_is_killed_before_it_is_started_again(mock_end_seconds):
    with server() as one:
        await one.start()
        one.signal(signal.SIGSTOP)
        await one.start()
        assert await listens(one.target)


@pytest.fixture
def mock_end_seconds(monkeypatch):
    monkeypatch.setattr("trioproxy.chaos.servers._END_SECONDS", 0.1)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("no-such-program",), "upstream 3: no-such-program: No such file or directory"),
        ((sys.executable, "-c", "raise SystemExit(7)"), "upstream 3: ended with status 7"),
    ],
)
async def test_one_that_does_not_start_says_so(command, words):
    with server(*command) as one:
        with pytest.raises(ServerError) as caught:
            await one.start()
        assert str(caught.value) == words


async def test_a_command_of_ones_own_is_told_port_and_number(tmp_path):
    script = "import socket, sys, pathlib, time; pathlib.Path(sys.argv[3]).write_text(sys.argv[2]); s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
    with server(sys.executable, "-c", script, "{port}", "{number}", str(tmp_path / "told")) as one:
        await one.start()
        assert (tmp_path / "told").read_text() == "3"


async def test_one_that_runs_already_is_left_alone():
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as sock:
        given = Given(f"127.0.0.1:{sock.getsockname()[1]}")
        await given.start()
        with pytest.raises(ServerError, match="runs already, so it is not sent SIGKILL"):
            given.signal(signal.SIGKILL)
        given.close()
        assert await listens(given.target)
    with pytest.raises(ServerError, match="nothing listens there"):
        await given.start()


async def test_nobody_else_is_given_its_port_while_it_is_down():
    with server() as one, socket.socket() as other:
        with pytest.raises(OSError, match="Address already in use"):
            other.bind(one.target)
        assert not await listens(one.target)
    with socket.socket() as other:
        other.bind(one.target)


async def test_before_it_is_started_nothing_is_signalled():
    one = Server(0)
    one.signal(signal.SIGTERM)
    await one.ended()
    one.close()
    assert trio.current_time()


def test_a_free_port_is_none_that_somebody_may_be_given_who_connects(monkeypatch):
    least = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = free_port()
    assert 1024 <= port < least
    with socket.create_server((HOST, port)):
        offers = iter((port, free_port()))
        monkeypatch.setattr("random.randrange", lambda *_: next(offers))
        assert free_port() != port
