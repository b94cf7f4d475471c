"""What a process started as systemd starts one finds, and what its manager hears back."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import socket
import time

import attrs
import pytest
import trio
from support.processes import PYTHON

from trioproxy.systemd import REPORT_SECONDS, Notifier, inherited_sockets

# A service of one moment: what it found, what is left in its environment, whether its children would inherit.
SERVICE = """
import json, os
from trioproxy.systemd import inherited_sockets
found = inherited_sockets(os.environ)
print(json.dumps({
    "found": {name: [sock.getsockname()[1] for sock in socks] for name, socks in found.items()},
    "left": [name for name in os.environ if name.startswith("LISTEN_")],
    "inheritable": [os.get_inheritable(sock.fileno()) for socks in found.values() for sock in socks],
}))
"""


async def found_by_a_service(programs, sockets, *, prelude=""):
    service = await programs.start("service", [PYTHON, "-c", prelude + SERVICE], sockets=sockets)
    assert await service.wait() == 0
    return json.loads(service.out.text)


@pytest.fixture
def two_sockets():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        yield one, two


async def test_sockets_are_found_by_name_and_no_child_gets_them_again(programs, two_sockets):
    one, two = two_sockets
    told = await found_by_a_service(programs, {"web": one.fileno(), "api": two.fileno()})
    assert told["found"] == {"web": [one.getsockname()[1]], "api": [two.getsockname()[1]]}
    assert told["left"] == []
    assert told["inheritable"] == [False, False]


async def test_sockets_of_one_name_are_found_together_and_without_a_name_as_unknown(programs, two_sockets):
    one, two = two_sockets
    rename = 'import os; os.environ["LISTEN_FDNAMES"] = "{}"\n'
    both = {"a": one.fileno(), "b": two.fileno()}
    ports = [one.getsockname()[1], two.getsockname()[1]]
    assert (await found_by_a_service(programs, both, prelude=rename.format("web:web")))["found"] == {"web": ports}
    told = await found_by_a_service(programs, both, prelude=rename.format("web"))
    assert told["found"] == {"web": ports[:1], "unknown": ports[1:]}
    told = await found_by_a_service(programs, both, prelude='import os; del os.environ["LISTEN_FDNAMES"]\n')
    assert told["found"] == {"unknown": ports}


async def test_a_passed_descriptor_that_is_no_socket_is_skipped(programs, two_sockets, tmp_path):
    one, _ = two_sockets
    with (tmp_path / "file").open("w") as file:
        told = await found_by_a_service(programs, {"file": file.fileno(), "web": one.fileno()})
    assert told["found"] == {"web": [one.getsockname()[1]]}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},  # somebody else's
        {"LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "-1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0", "LISTEN_FDNAMES": "web"},
        {"LISTEN_FDS": "1"},
    ],
)
def test_what_is_not_meant_for_this_process_is_left_alone_and_forgotten(environ):
    environ["HOME"] = "/"
    assert inherited_sockets(environ) == {}
    assert environ == {"HOME": "/"}


# Notices


@attrs.define(eq=False)
class Manager:
    """The service manager's end of the notify protocol: a datagram socket, read without waiting."""

    sock: socket.socket
    name: str

    def heard(self):
        """The notices since the last look, each as its lines."""
        notices = []
        with contextlib.suppress(BlockingIOError):
            while True:
                notices.append(self.sock.recv(4096).decode().split("\n"))
        return notices


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    name = str(tmp_path / "notify") if request.param == "path" else f"@trioproxy-{tmp_path.name}-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.setblocking(False)
        yield Manager(sock, name)


def test_a_life_is_told_in_the_words_of_the_protocol(manager):
    notifier = Notifier(manager.name)
    notifier.ready("hällo")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading("new configuration")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.ready("as before")
    notifier.stopping("draining", 30.5)
    ready, reloading, again, stopping = manager.heard()
    assert ready == ["READY=1", "STATUS=hällo"]
    assert [reloading[0], reloading[2]] == ["RELOADING=1", "STATUS=new configuration"]
    assert before <= int(reloading[1].removeprefix("MONOTONIC_USEC=")) <= after
    assert again == ["READY=1", "STATUS=as before"]
    assert stopping == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30500000", "STATUS=draining"]


def test_variables_are_read_and_no_child_gets_them_again():
    environ = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    notifier = Notifier.from_environ(environ)
    assert (notifier.address, notifier.watchdog) == ("/run/notify", 30.0)
    assert environ == {"A": "b"}
    assert (
        Notifier.from_environ({"WATCHDOG_USEC": "500000"}).watchdog == 0.5
    )  # of whoever reads it (sd_watchdog_enabled)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},  # somebody else's
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "³"},
    ],
)
def test_a_watchdog_that_is_not_meant_for_this_process_is_not_fed(environ):
    assert Notifier.from_environ(environ).watchdog == math.inf
    assert environ == {}


async def test_the_watchdog_is_fed_twice_in_its_time(manager, autojump_clock):
    notifier = Notifier(manager.name, watchdog=3.0)
    with trio.move_on_after(6.1):
        await notifier.run(lambda: "")
    assert manager.heard() == [["WATCHDOG=1"]] * 5


async def test_the_status_is_told_when_it_changes_and_not_too_often(manager, autojump_clock):
    notifier = Notifier(manager.name)
    tunnels = itertools.count()
    notifier.ready("0 tunnels")
    with trio.move_on_after(2.5 * REPORT_SECONDS):
        await notifier.run(lambda: f"{min(next(tunnels), 1)} tunnels")
    assert manager.heard() == [["READY=1", "STATUS=0 tunnels"], ["STATUS=1 tunnels"]]


async def test_a_manager_that_is_busy_blocks_nothing_and_hears_it_later(manager, autojump_clock):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others, contextlib.suppress(BlockingIOError):
        others.setblocking(False)
        while True:
            others.sendto(b"X_BUSY=1", manager.sock.getsockname())
    notifier = Notifier(manager.name)
    notifier.ready("accepting")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(notifier.run, lambda: "1 tunnel")
        await trio.sleep(1.5 * REPORT_SECONDS)
        assert set(map(tuple, manager.heard())) == {("X_BUSY=1",)}
        await trio.sleep(REPORT_SECONDS)
        assert manager.heard() == [["READY=1", "STATUS=accepting"], ["STATUS=1 tunnel"]]
        await trio.sleep(3 * REPORT_SECONDS)
        assert manager.heard() == []
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}])
async def test_without_a_service_manager_all_is_silent_and_nothing_runs(environ):
    notifier = Notifier.from_environ(environ)
    notifier.ready("")
    notifier.stopping("", 1)
    await notifier.run(lambda: "never asked")


def test_a_manager_that_is_gone_is_no_error(tmp_path):
    Notifier(str(tmp_path / "gone")).ready("")
