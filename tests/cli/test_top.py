"""`trioproxy top` where there is no terminal, or none is wanted; on one it is test_screen's."""

from __future__ import annotations

import json

import pytest
from support.commands import commanded, run
from support.terminals import terminal
from support.upstream import http_upstream, reply


@pytest.mark.parametrize("how", [[], ["--once"]])
async def test_where_there_is_no_terminal_it_is_printed_once(tmp_path, how):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        head, *rest = (await proxy.tell("top", *how)).splitlines()
        (name,) = proxy.proxy.context.tunnels
    assert head.startswith(f"trioproxy {proxy.proxy.admin_address}  running  ")
    assert any(line.startswith("tunnels ") for line in rest)
    assert any(line.startswith(f"{proxy.upstream.address}  backend  up ") for line in rest)
    assert any(line.endswith(f"  {name}") for line in rest)
    assert any("listening listener=l0" in line for line in rest)


async def test_on_a_terminal_it_is_printed_once_where_that_is_wanted(tmp_path):
    async with commanded(tmp_path) as proxy:
        for how in ({"TERM": "dumb"}, {}):
            arguments = ("top", "--admin", proxy.proxy.admin_address, *(() if how else ("--once",)))
            async with terminal(*arguments, columns=120, **how) as shown:
                assert await shown.end() == 0
                assert b"requests/s" in shown.raw and b"\x1b[?1049h" not in shown.raw


async def test_as_json_it_is_the_newest_sample_and_the_events(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        told = json.loads(await proxy.tell("top", "--json"))
    assert told["state"] == "running"
    assert [each["address"] for each in told["pools"][0]["upstreams"]] == [proxy.upstream.address]
    assert "listening" in {each["event"] for each in told["events"]}


async def test_a_proxy_that_is_not_there_is_an_error_in_one_line():
    result = await run("top", "--admin", "127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr == ("trioproxy: cannot reach the admin at 127.0.0.1:1: connection refused (is it running?)\n")


@pytest.mark.parametrize(
    "body", [b"", b"event: sample\ndata: 1\n\n", b"event: history\ndata: {}\n\n", b"event: x\ndata: {}\n\n"]
)
async def test_what_is_no_proxy_is_told_in_one_line(body):
    async with http_upstream(lambda head, _body: reply(body if b"live" in head.start else b"[]")) as upstream:
        result = await run("top", "--admin", upstream.address)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"trioproxy: what answers at {upstream.address} is no admin of a trioproxy")
