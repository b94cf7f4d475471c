"""`trioproxy tunnels` on a running proxy."""

from __future__ import annotations

import json

from support.commands import commanded

from trioproxy.cli.tunnels import _row, _words


async def test_it_lists_what_is_open_with_its_counts(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        await proxy.open()
        columns, first, second, _, count = (await proxy.tell("tunnels")).splitlines()
    assert " ".join(columns.split()) == (
        "id client route pool upstream subprotocol age idle msgs up msgs down bytes up bytes down"
    )
    for line in (first, second):
        assert line.split()[1:5] == ["127.0.0.1", "all", "backend", proxy.upstream.address]
        assert line.split()[-6:] == ["1", "1", "11", "B", "7", "B"]
    assert count == "2 tunnels"


async def test_a_limit_leaves_the_first(tmp_path):
    async with commanded(tmp_path) as proxy:
        for _ in range(3):
            await proxy.open()
        lines = (await proxy.tell("tunnels", "--limit", "2")).splitlines()
        assert len(lines) == 5 and lines[-1] == "2 of 3 tunnels"


async def test_filters_leave_what_fits_them(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        fits = {"pool": "backend", "upstream": proxy.upstream.address, "route": "all", "client": "127.0.0.1"}
        for name, value in {**fits, "listener": "l0"}.items():
            assert (await proxy.tell("tunnels", f"--{name}", value)).endswith("\n1 tunnel\n")
            assert await proxy.tell("tunnels", f"--{name}", "other") == "no tunnels\n"


async def test_as_json_it_is_one_list(tmp_path):
    async with commanded(tmp_path) as proxy:
        assert json.loads(await proxy.tell("tunnels", "--json")) == []
        for _ in range(3):
            await proxy.open()
        rows = json.loads(await proxy.tell("tunnels", "--json"))
        assert {row["id"] for row in rows} == set(proxy.proxy.context.tunnels)


ROW = {
    "id": "5f3a9c-1",
    "client": "203.0.113.7",
    "route": "chat",
    "pool": "backend",
    "upstream": "10.0.0.1:80",
    "subprotocol": "chat.v2",
    "closing": False,
    "age": 3700,
    "idle": 0.5,
    "messages": {"to_upstream": 3, "to_client": 40000},
    "bytes": {"to_upstream": 2048, "to_client": 5 * 2**30},
}


def test_a_row_is_written_for_people():
    places = ("203.0.113.7", "chat", "backend", "10.0.0.1:80", "chat.v2")
    assert _row(ROW) == ("5f3a9c-1", *places, "1 h 1 min", "0.5 s", "3", "40000", "2.0 KiB", "5.0 GiB")
    assert _row({**ROW, "closing": True})[0] == "5f3a9c-1 (closing)"


def test_what_a_client_said_cannot_command_the_terminal():
    told = _words([{**ROW, "subprotocol": "\x1b[2J\x9b31m[red]x\ny"}], 1)
    assert "\x1b" not in told and "\x9b" not in told
    assert "[red]x" in told
    assert len(told.splitlines()) == 4
