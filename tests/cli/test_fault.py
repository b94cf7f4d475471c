"""`trioproxy fault` on a running proxy."""

from __future__ import annotations

import json

import pytest
from support.commands import commanded, run


def on(proxy, verb, *more):
    return ("fault", verb, "backend", proxy.upstream.address, "--share", "0.5", "--seed", "7", *more)


async def test_each_verb_says_what_it_has_struck(tmp_path):
    async with commanded(tmp_path, chaos=True) as proxy:
        ends = [await proxy.open() for _ in range(4)]
        name = f"{proxy.upstream.address} of pool backend"
        told = await proxy.tell(*on(proxy, "blackhole", "--seconds", "60"))
        assert told == f"{name}: 2 of 4 tunnels in a black hole for 1 min 0 s (fault 1, seed 7)\n"
        told = await proxy.tell(*on(proxy, "refuse", "--seconds", "9"))
        assert told == f"{name}: 50 % of upgrades answered 503 for 9.0 s (fault 2, seed 7)\n"
        told = await proxy.tell(*on(proxy, "refuse", "--seconds", "9", "--status", "429"))
        assert told == f"{name}: 50 % of upgrades answered 429 for 9.0 s (fault 3, seed 7)\n"
        told = await proxy.tell(*on(proxy, "refuse", "--seconds", "9", "--status", "reset"))
        assert told == f"{name}: 50 % of upgrades reset for 9.0 s (fault 4, seed 7)\n"
        told = await proxy.tell(*on(proxy, "close", "--spread", "30", "--code", "4000"))
        assert told == f"{name}: 1 of 2 tunnels closing with 4000 over 30 s (fault 5, seed 7)\n"
        assert await proxy.tell("fault", "stop") == "3 faults ended\n"
        told = await proxy.tell(*on(proxy, "close"))
        assert told.startswith(f"{name}: 2 of ") and told.endswith(" tunnels closing with 1012 (fault 6, seed 7)\n")
        assert len(ends) == 4


async def test_what_is_on_is_listed_and_ended(tmp_path):
    async with commanded(tmp_path, chaos=True) as proxy:
        await proxy.open()
        await proxy.tell(*on(proxy, "blackhole", "--seconds", "600"))
        await proxy.tell(*on(proxy, "refuse", "--seconds", "600", "--status", "reset"))
        head, hole, refusal = (await proxy.tell("fault", "list")).splitlines()
        assert head.split("  ")[0] == "id" and "asked by" in head
        address = proxy.upstream.address
        assert hole.split()[:10] == ["1", "blackhole", "backend", address, "50", "%", "1", "of", "1", "tunnel"]
        assert refusal.split()[:9] == ["2", "refuse", "backend", address, "50", "%", "reset", "0", "upgrades"]
        assert refusal.endswith(" 127.0.0.1")
        listed = json.loads(await proxy.tell("fault", "list", "--json"))
        assert [each["id"] for each in listed["faults"]] == [1, 2]
        stopped = json.loads(await proxy.tell("fault", "stop", "--json"))
        assert [each["id"] for each in stopped["stopped"]] == [1, 2]
        assert await proxy.tell("fault", "list") == "no faults\n"
        assert await proxy.tell("fault", "stop") == "0 faults ended\n"


async def test_as_json_it_is_the_answer_of_the_api(tmp_path):
    async with commanded(tmp_path, chaos=True) as proxy:
        told = json.loads(await proxy.tell(*on(proxy, "close", "--json")))
        where = {"verb": "close", "pool": "backend", "upstream": proxy.upstream.address}
        what = {"id": 1, "share": 0.5, "seed": 7, "seconds": 0, "remaining_seconds": 0, "code": 1012}
        assert told == {**where, **what, "tunnels": 0, "of": 0, "asked_by": "127.0.0.1"}


@pytest.mark.parametrize("args", [("list",), ("stop",), ("close", "backend", "u:1", "--share", "1")])
async def test_a_proxy_that_does_not_allow_them_names_the_setting(tmp_path, args):
    async with commanded(tmp_path) as proxy:
        result = await proxy.command("fault", *args)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == "trioproxy: chaos verbs are off: admin.chaos = true in the configuration allows them\n"


async def test_what_cannot_be_is_wrong_usage(tmp_path):
    async with commanded(tmp_path, chaos=True) as proxy:
        result = await proxy.command(*on(proxy, "refuse", "--seconds", "5000", "--status", "teapot"))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "seconds: expected seconds above 0, up to 3600, got 5000" in result.stderr
        assert 'status: expected a status of HTTP from 400 to 599, or "reset", got "teapot"' in result.stderr
        unknown = await proxy.command("fault", "close", "backend", "10.0.0.9:80", "--share", "1")
        assert unknown.exit_code == 2 and "no upstream of pool backend" in unknown.stderr
        missing = await run("fault", "blackhole", "backend", "10.0.0.9:80", "--share", "1")
        assert missing.exit_code == 2 and "--seconds" in missing.stderr
