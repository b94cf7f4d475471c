"""`trioproxy resume` on a running proxy."""

from __future__ import annotations

import json

from support.commands import commanded


async def test_a_drained_upstream_is_taken_back(tmp_path):
    async with commanded(tmp_path) as proxy:
        address = proxy.upstream.address
        await proxy.tell("drain", "backend", address)
        assert await proxy.tell("resume", "backend", address) == f"{address} of pool backend: up\n"
        await proxy.open()


async def test_what_is_not_drained_is_not_changed(tmp_path):
    async with commanded(tmp_path) as proxy:
        address = proxy.upstream.address
        told = json.loads(await proxy.tell("resume", "backend", address, "--json"))
        assert told == {"pool": "backend", "upstream": address, "state": "up", "active": 0, "tunnels": 0}


async def test_an_upstream_that_is_not_there_is_wrong_usage(tmp_path):
    async with commanded(tmp_path) as proxy:
        result = await proxy.command("resume", "backend", "x:1")
        assert result.exit_code == 2 and "there are: unix:" in result.stderr
