"""What Linux tells of processes, and lets be done to them."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from support.waiting import wait_until

from trioproxy.chaos.processes import DescriptorLimits, children, handles, is_alive, kill_family, local_ports

PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGUSR2, lambda *_: None)
print(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE).pid, flush=True)
input()
"""


@pytest.fixture
def parent():
    """A process with a child: the two ids."""
    process = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(process.stdout.readline())
    yield process.pid, child
    process.kill()
    process.communicate()


def test_children_are_found_and_those_of_nobody_are_none(parent):
    pid, child = parent
    assert children(pid) == [child]
    assert pid in children(os.getpid())
    assert children(2**22) == []


async def test_a_family_is_killed_and_one_that_nobody_waited_for_is_not_alive(parent):
    assert all(map(is_alive, parent))
    kill_family(parent[0])
    await wait_until(lambda: not any(map(is_alive, parent)), "the end of both")
    kill_family(2**22)
    assert not is_alive(2**22)


def test_whether_a_signal_is_handled(parent):
    pid, child = parent
    assert handles(pid, signal.SIGUSR2)
    assert not handles(child, signal.SIGUSR2)
    assert not handles(2**22, signal.SIGUSR2)


async def test_local_ports_are_those_of_the_process():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        assert port in local_ports(os.getpid())
    assert port not in local_ports(os.getpid())


def test_a_limit_of_descriptors_is_taken_back(parent):
    before = [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in parent]
    limits = DescriptorLimits()
    limits.leave(2, parent)
    limits.leave(1, parent[:1])
    taken = {int(entry.name) for entry in Path(f"/proc/{parent[0]}/fd").iterdir()}
    limit, hard = resource.prlimit(parent[0], resource.RLIMIT_NOFILE)
    assert hard == before[0][1]
    assert len(set(range(limit)) - taken) == 1
    limits.take_back()
    assert [resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in parent] == before


def test_what_is_gone_has_no_ports_and_gets_no_limit():
    limits = DescriptorLimits()
    limits.leave(0, [2**22])
    limits.take_back()
    assert local_ports(2**22) == set()


async def test_a_limit_of_one_that_has_ended_is_nobody_s(parent):
    limits = DescriptorLimits()
    limits.leave(0, parent[1:])
    kill_family(parent[0])
    await wait_until(lambda: not is_alive(parent[1]), "its end")
    limits.take_back()
