"""What a process started as systemd starts one finds, and what its manager hears back."""

from __future__ import annotations

import json
import os
import socket

import pytest
from support.processes import PYTHON

from trioproxy.systemd import inherited_sockets, notify

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


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_notices(tmp_path, abstract):
    name = f"@trioproxy-{tmp_path.name}-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        assert notify("READY=1\nSTATUS=hällo", {"NOTIFY_SOCKET": name})
        assert manager.recv(100) == "READY=1\nSTATUS=hällo".encode()


def test_without_a_service_manager_a_notice_is_silent(tmp_path):
    assert not notify("READY=1", {})
    assert not notify("READY=1", {"NOTIFY_SOCKET": ""})
    assert not notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
