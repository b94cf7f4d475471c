"""Which proxy a command talks to, with which token, and how what goes wrong and what is answered is shown."""

from __future__ import annotations

import sys

import pytest
from click.testing import CliRunner
from support.commands import commanded, run
from support.ports import free_address
from support.settings import settings, toml
from support.upstream import http_upstream, reply

from trioproxy.cli import main
from trioproxy.cli._remote import _find, duration, octets, printable, table


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, address, **admin):
    path.write_text(toml({**settings(["127.0.0.1:1"]), "admin": {"address": address, **admin}}))


async def test_the_file_of_the_current_folder_says_where_it_is(folder):
    async with commanded(folder) as proxy:
        write(folder / "config.toml", proxy.proxy.admin_address)
        assert (await run("status")).stdout.startswith("trioproxy ")
        write(folder / "other.toml", proxy.proxy.admin_address)
        (folder / "config.toml").unlink()
        assert (await run("status", "-c", "other.toml")).exit_code == 0


async def test_an_admin_on_all_addresses_is_asked_on_loopback(folder):
    (folder / "token").write_text("secret\n")
    async with commanded(folder, address="0.0.0.0:0", token_file=str(folder / "token")) as proxy:
        port = proxy.proxy.admin_address.rpartition(":")[2]
        write(folder / "config.toml", f"0.0.0.0:{port}", token_file="token")
        assert (await run("status")).exit_code == 0


async def test_the_token_is_the_configurations_or_the_given_files(folder):
    (folder / "token").write_text("secret\n")
    (folder / "wrong").write_text("other")
    async with commanded(folder, token_file=str(folder / "token")) as proxy:
        write(folder / "config.toml", proxy.proxy.admin_address, token_file="token")
        assert (await run("status")).exit_code == 0
        assert (await proxy.command("status", "--token-file", "token")).exit_code == 0
        for how in ((), ("--token-file", "wrong")):
            refused = await proxy.command("status", *how)
            message = "trioproxy: token required; --token-file says where it is\n"
            assert (refused.exit_code, refused.stderr) == (1, message)
        absent = await proxy.command("status", "--token-file", "absent")
        assert (absent.exit_code, absent.stderr) == (1, "trioproxy: absent: No such file or directory\n")


def told(*args):
    result = CliRunner().invoke(main, args)
    assert result.stdout == "" and result.stderr.count("\n") == 1
    return result.exit_code, result.stderr.strip()


def test_where_nobody_listens_one_line_says_so(folder):
    address = free_address()
    message = f"trioproxy: cannot reach the admin at {address}: connection refused (is it running?)"
    assert told("status", "--admin", address) == (1, message)
    write(folder / "config.toml", address)
    assert told("tunnels") == (1, message)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1", "127.0.0.1:0", "unix:/run/x", "http://127.0.0.1:9464", ""])
def test_an_address_that_is_none_is_wrong_usage(address):
    status, message = told("status", "--admin", address)
    assert status == 2 and message.startswith("trioproxy: --admin: expected host:port or [ipv6]:port, got ")


def test_two_ways_to_say_where_are_one_too_many():
    assert told("status", "--admin", "127.0.0.1:1", "-c", "config.toml")[0] == 2


def test_a_configuration_that_cannot_be_used_is_status_2(folder):
    assert told("status", "-c", "absent.toml") == (2, "absent.toml: cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("address", "why"), [("", "there is no admin address"), ("127.0.0.1:0", "the admin has any free port")]
)
def test_a_configuration_that_does_not_say_where_is_told_so(folder, address, why):
    write(folder / "config.toml", address)
    assert told("status") == (2, f"trioproxy: config.toml: {why}; --admin says which proxy is meant.")


def test_without_a_configuration_it_is_where_the_admin_is_by_default(folder):
    assert _find(None, None, None).address == "127.0.0.1:9464"


def test_columns_are_in_line_and_numbers_end_in_line():
    told = table(("name", ">count"), [("a", "1"), ("longer", "1000")])
    assert told.splitlines() == ["name    count", "a           1", "longer   1000"]


def test_what_looks_like_markup_is_text():
    assert "[bold]x[/bold] :smile:" in table(("name",), [("[bold]x[/bold] :smile:",)])


def test_on_a_terminal_a_table_is_as_wide_as_it(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    lines = table(("name", "other"), [("x" * 30, "y" * 30)]).splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.count("x") for line in lines) == sum(line.count("y") for line in lines) == 30


def test_text_cannot_command_the_terminal():
    assert (
        printable("a\x1b[31mb\x07\n\x9bc größe")
        == "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}\n\N{REPLACEMENT CHARACTER}c größe"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86400 * 3 + 3600 * 5 + 59, "3 d 5 h"),
        (86400 * 400, "400 d 0 h"),
    ],
)
def test_durations_are_said_in_the_two_largest_units(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (10 * 1024, "10 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (3 * 2**40, "3.0 TiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_octets_are_said_in_the_largest_unit(count, words):
    assert octets(count) == words


@pytest.mark.parametrize("document", [b"{}", b"[]", b"3", b'[{"id": "1"}]', b"null"])
@pytest.mark.parametrize("command", ["status", "tunnels"])
async def test_an_answer_of_another_shape_is_told_in_one_line(command, document):
    async with http_upstream(lambda _head, _body: reply(document)) as admin:
        result = await run(command, "--admin", admin.address)
    if (command, document) == ("tunnels", b"[]"):
        assert result.stdout == "no tunnels\n"
        return
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"trioproxy: what answers at {admin.address} is no admin of a trioproxy")
