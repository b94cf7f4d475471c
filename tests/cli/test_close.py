"""`trioproxy close` on a running proxy."""

from __future__ import annotations

import json

from support.commands import commanded


async def test_a_tunnel_is_closed_with_1012_or_the_code_that_is_given(tmp_path):
    async with commanded(tmp_path) as proxy:
        ends = [await proxy.open(), await proxy.open()]
        first, second = proxy.proxy.context.tunnels
        assert await proxy.tell("close", first) == f"{first}: closing with 1012\n"
        told = await proxy.tell("close", second, "--code", "4000", "--json")
        assert json.loads(told) == {"id": second, "code": 4000}
        assert [(await end.receive()).close_code for end in ends] == [1012, 4000]


async def test_one_that_is_not_open_is_no_mistake_and_no_success(tmp_path):
    async with commanded(tmp_path) as proxy:
        result = await proxy.command("close", "5f3a9c-1")
        assert (result.exit_code, result.stderr) == (1, "trioproxy: no open tunnel '5f3a9c-1'\n")


async def test_a_code_that_may_not_be_sent_is_wrong_usage(tmp_path):
    async with commanded(tmp_path) as proxy:
        result = await proxy.command("close", "5f3a9c-1", "--code", "1006")
        assert result.exit_code == 2 and "got 1006" in result.stderr
