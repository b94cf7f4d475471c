"""The upstreams' processes."""

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.waiting import wait_until
from trio_websocket import open_websocket

from trioproxy.chaos.processes import is_alive
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


async def test_braces_of_a_command_s_own_stay():
    script = (
        "import socket, sys, time; d = {'{port}': {}}; s = socket.create_server(('127.0.0.1', int(*d))); time.sleep(60)"
    )
    with server(sys.executable, "-c", script) as one:
        await one.start()


FAMILY = """
import subprocess, sys, time
below = subprocess.Popen([sys.executable, "-m", "trioproxy.chaos.echo", sys.argv[1]])
open(sys.argv[2], "a").write(f"{below.pid}\\n")
time.sleep(60)
"""


async def test_what_a_command_has_started_is_signalled_and_ends_with_it(tmp_path):
    noted = tmp_path / "pids"
    with server(sys.executable, "-c", FAMILY, "{port}", str(noted)) as one:
        await one.start()
        one.signal(signal.SIGKILL)
        await one.start()
        first, second = map(int, noted.read_text().split())
        await wait_until(lambda: not is_alive(first), "the end of the first")
        assert is_alive(second)
    await wait_until(lambda: not is_alive(second), "its end")


async def test_what_is_left_of_one_that_has_ended_is_ended_too(tmp_path):
    noted = tmp_path / "pids"
    brief = FAMILY.replace("sleep(60)", "sleep(0)")
    with server(sys.executable, "-c", brief, "{port}", str(noted)) as one, contextlib.suppress(ServerError):
        await one.start()  # which fails where the first has ended before the second listens
    await wait_until(lambda: not is_alive(int(noted.read_text())), "its end")


async def test_somebody_else_at_its_port_is_not_taken_for_it(mock_end_seconds):
    listening = pytest.raises(ServerError, match="something else listens at port")
    with server("true") as one, socket.create_server(one.target), listening:
        await one.start()


async def test_of_two_that_start_it_again_one_does():
    with server() as one:
        await one.start()
        one.signal(signal.SIGKILL)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.start)
            nursery.start_soon(one.start)
        before = one._process.pid
        await one.start()
        assert one._process.pid == before
        assert await listens(one.target)


def test_what_it_prints_is_diagnostics():
    program = (
        "import trio, sys\n"
        "from trioproxy.chaos.servers import Server\n"
        "server = Server(0, [sys.executable, '-c', 'print(\"words\"); raise SystemExit(3)'])\n"
        "trio.run(server.start)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.stderr.startswith("words\n")
    assert "ended with status 3" in done.stderr


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


def test_where_the_kernel_gives_away_all_ports_one_of_them_is_free(monkeypatch, tmp_path):
    (tmp_path / "range").write_text("1024\t65535\n")
    monkeypatch.setattr("trioproxy.chaos.servers._LOCAL_PORTS", tmp_path / "range")
    assert 1024 < free_port() < 65_535


def test_a_free_port_is_none_that_somebody_may_be_given_who_connects(monkeypatch):
    least = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    port = free_port()
    assert 1024 <= port < least
    with socket.create_server((HOST, port)):
        offers = iter((port, free_port()))
        monkeypatch.setattr("random.randrange", lambda *_: next(offers))
        assert free_port() != port
