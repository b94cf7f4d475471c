"""A peer's program: found, started, looked after, ended."""

import re
import sys

import pytest
import trio

from trioproxy.chaos.peers.program import Program, Running
from trioproxy.chaos.processes import is_alive
from trioproxy.chaos.proxies import ProxyError

WAITS = (sys.executable, "-c", "import time; print('waiting', flush=True); time.sleep(60)")


@pytest.fixture
def running(tmp_path):
    running = Running(tmp_path / "log")
    yield running
    running.close()


async def never():
    return False


def test_a_program_tells_its_version():
    python = Program("python3", "--version", "apt install python3")
    assert re.fullmatch(r"\d+\.\d+\.\d+", python.version())
    assert Program("true", "--help", "coreutils").version() in {"unknown", Program("true", "--version", "").version()}


def test_one_that_is_missing_says_where_it_comes_from():
    with pytest.raises(ProxyError, match="no-such-program is not installed: apt install it"):
        Program("no-such-program", "-v", "apt install it").version()


async def test_what_it_writes_is_kept_and_closing_ends_it(running):
    process = running.spawn(*WAITS)
    running.pids.append(process.pid)

    async def waits():
        return running.lines(re.compile("waiting")) == ["waiting"]

    await running.until(waits, "silent")
    assert running.alive() == [process.pid]
    running.close()
    assert not is_alive(process.pid)
    assert running.worst == 9


async def test_one_that_ends_meanwhile_is_told_with_its_last_words(running):
    running.spawn(sys.executable, "-c", "import sys; print('no such port'); sys.exit(3)")
    with pytest.raises(ProxyError, match="ended with status 3, not serving: no such port"):
        await running.until(never, "not serving")


async def test_one_that_does_not_get_anywhere_is_given_up(running, monkeypatch):
    monkeypatch.setattr("trioproxy.chaos.peers.program.START_SECONDS", 0.1)
    with pytest.raises(ProxyError, match=r"after 0.1 s still not serving"):
        await running.until(never, "not serving")


async def test_a_command_that_fails_is_told_with_what_it_said(running):
    await running.command(sys.executable, "-c", "pass")
    with pytest.raises(ProxyError, match="ended with status 2: what is this"):
        await running.command(sys.executable, "-c", "import sys; print('what is\\nthis'); sys.exit(2)")


async def test_the_end_of_all_of_them_is_waited_for(running, monkeypatch):
    process = running.spawn(*WAITS)
    running.pids.append(process.pid)
    monkeypatch.setattr("trioproxy.chaos.peers.program.END_SECONDS", 0.1)
    assert not await running.ended(running.pids)
    monkeypatch.setattr("trioproxy.chaos.peers.program.END_SECONDS", 20)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.ended, running.pids)
        process.terminate()
    assert running.worst == 15
