"""`trioproxy run` where it cannot: one line on stderr and a status. Where it can, `test_lifecycle` looks on."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from click.testing import CliRunner
from support.proxy import launch_proxy
from support.settings import settings, toml

from trioproxy.cli import main
from trioproxy.transport import format_address


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs in a folder of its own; the command ignores SIGHUP, which a test must not leave behind."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGHUP)
    yield lambda *args: CliRunner().invoke(main, ["run", *args])
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield format_address(sock)


def configure(folder, **tables):
    (folder / "config.toml").write_text(toml(settings(["127.0.0.1:1"], **tables)))


def test_a_port_in_use_is_named_in_one_line(run, tmp_path, taken):
    configure(tmp_path, listener={"name": "public", "address": taken})
    result = run()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"trioproxy: listener public: cannot listen on {taken}: Address already in use\n"


def test_the_admins_port_is_a_listener_too(run, tmp_path, taken):
    configure(tmp_path, admin={"address": taken})
    result = run()
    assert result.exit_code == 1
    assert result.stderr == f"trioproxy: listener admin: cannot listen on {taken}: Address already in use\n"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("fd:web", "no socket of that name was passed (passed: none)"),
        ("192.0.2.1:80", "Cannot assign requested address"),
    ],
)
def test_an_address_that_cannot_be_bound_is_named_in_one_line(run, tmp_path, address, reason):
    configure(tmp_path, listener={"address": address, "name": "public"})
    result = run()
    assert result.exit_code == 1
    assert result.stderr == f"trioproxy: listener public: cannot listen on {address}: {reason}\n"


def test_a_unix_path_is_relative_to_the_file(run, tmp_path):
    configure(tmp_path, listener={"address": "unix:missing/socket", "name": "public"})
    result = run("--config", "config.toml")
    assert result.exit_code == 1
    told = f"listener public: cannot listen on unix:{tmp_path}/missing/socket: No such file or directory"
    assert result.stderr == f"trioproxy: {told}\n"


def test_a_token_file_that_is_not_there_is_named_in_one_line(run, tmp_path):
    configure(tmp_path, admin={"address": "127.0.0.1:0", "token_file": "token"})
    result = run()
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("trioproxy: listener admin: cannot use the token: ")
    assert line.endswith(f"No such file or directory: '{tmp_path}/token'")


def test_a_log_file_that_cannot_be_opened_is_named_in_one_line(run, tmp_path):
    configure(tmp_path, log={"file": "missing/proxy.log"})
    result = run()
    assert result.exit_code == 1
    assert result.stderr == f"trioproxy: {tmp_path}/missing/proxy.log: No such file or directory\n"


def test_a_certificate_that_cannot_be_used_is_told_as_check_tells_it_with_status_2(run, tmp_path):
    configure(tmp_path, listener={"address": "127.0.0.1:0", "tls": {"certificate": "cert.pem", "key": "key.pem"}})
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert f": listeners[0].tls: {tmp_path}/cert.pem: a certificate cannot be read: No such file" in result.stderr
    assert result.stderr.splitlines()[-1:] == CliRunner().invoke(main, ["check"]).stderr.splitlines()


def test_mistakes_in_the_file_are_told_as_check_tells_them_with_status_2(run, tmp_path):
    configure(tmp_path, timeouts={"heed": 3, "connect": "soon"})
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 2
    assert all(line.startswith("config.toml:") for line in result.stderr.splitlines())
    assert result.stderr == CliRunner().invoke(main, ["check"]).stderr


def test_a_file_that_is_not_there_is_status_2(run):
    result = run("-c", "other.toml")
    assert (result.exit_code, result.stderr) == (2, "other.toml: cannot be read: No such file or directory\n")


async def test_it_says_on_stderr_where_it_listens_and_nothing_on_stdout(programs):
    proxy = await launch_proxy(programs, settings(["127.0.0.1:1"], log={"format": "text"}))
    await proxy.program.err.first(lambda line: "listening listener=public address=127.0.0.1:" in line, "its address")
    os.kill(proxy.program.pid, signal.SIGTERM)
    assert await proxy.program.wait() == 0
    assert proxy.program.out.text == ""
