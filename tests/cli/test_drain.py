"""`trioproxy drain` on a running proxy."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from support.commands import commanded, run
from support.upstream import http_upstream, reply


async def test_it_begins_and_says_what_is_to_end(tmp_path):
    async with commanded(tmp_path) as proxy:
        end = await proxy.open()
        address = proxy.upstream.address
        told = await proxy.tell("drain", "backend", address, "--spread", "0", "--timeout", "100")
        assert told == f"{address} of pool backend: draining, 1 tunnel to end over 0.0 s, cut in 1 min 40 s\n"
        assert proxy.upstream.draining
        assert (await end.receive()).close_code == 1012


async def test_without_times_those_of_the_proxy_count(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        told = await proxy.tell("drain", "backend", proxy.upstream.address)
        assert told.endswith(": draining, 1 tunnel to end over 5.0 s, cut in 30 s\n")


async def test_with_wait_it_returns_when_nothing_is_left(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        address = proxy.upstream.address
        told = await proxy.tell("drain", "backend", address, "--timeout", "0.1", "--wait")
        assert told == f"{address} of pool backend: drained\n"
        assert proxy.upstream.active == 0


async def test_as_json_it_is_how_the_upstream_stands(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        address = proxy.upstream.address
        stands = {"pool": "backend", "upstream": address, "state": "draining", "spread": 5, "timeout": 30}
        assert json.loads(await proxy.tell("drain", "backend", address, "--json")) == {
            **stands,
            "active": 1,
            "tunnels": 1,
        }
        last = await proxy.tell("drain", "backend", address, "--json", "--wait", "--timeout", "0")
        assert json.loads(last) == {**stands, "spread": 0, "timeout": 0, "active": 0, "tunnels": 0}


async def test_an_upstream_that_is_not_there_is_wrong_usage(tmp_path):
    async with commanded(tmp_path) as proxy:
        result = await proxy.command("drain", "backend", "10.0.0.9:80")
        assert result.exit_code == 2
        known = proxy.upstream.address
        assert result.stderr == f"trioproxy: no upstream of pool backend '10.0.0.9:80'; there are: {known}\n"
        assert (await proxy.command("drain", "chat", known)).exit_code == 2
        assert not proxy.upstream.draining


@pytest.mark.parametrize("option", ["--spread", "--timeout"])
@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf"])
async def test_times_that_are_none_are_wrong_usage(tmp_path, option, value):
    async with commanded(tmp_path) as proxy:
        result = await proxy.command("drain", "backend", proxy.upstream.address, option, value)
        assert result.exit_code == 2 and result.stderr.count("\n") == 1
        assert not proxy.upstream.draining


async def waited(*looks):
    """The end of `drain --wait` at an admin that answers its looks at the upstream one after the other so."""
    answers = list(looks)

    def answer(head, _body):
        if head.start.startswith(b"POST"):
            document = {"pool": "b", "upstream": "x:1", "state": "draining", "active": 3, "tunnels": 1}
            return reply(json.dumps({**document, "spread": 5, "timeout": 30}).encode())
        look = answers.pop(0) if len(answers) > 1 else answers[0]
        upstreams = [] if look is None else [{"address": "x:1", "state": "draining", "tunnels": 0, **look}]
        return reply(json.dumps({"pools": [{"name": "b", "upstreams": upstreams}]}).encode())

    async with http_upstream(answer) as admin:
        return await run("drain", "b", "x:1", "--wait", "--admin", admin.address)


@pytest.fixture
def impatient(monkeypatch):
    """Waits no time between two looks, and gives up at the second behind the deadline."""
    module = import_module("trioproxy.cli.drain")
    monkeypatch.setattr(module, "_LOOK_SECONDS", 1e-6)
    monkeypatch.setattr(module, "_GRACE_SECONDS", 1e-6)


async def test_it_looks_until_nothing_is_left(impatient):
    busy, done = {"active": 2, "drain": {"cut_in_seconds": 9}}, {"active": 0, "drain": {"cut_in_seconds": 8}}
    result = await waited(busy, busy, done)
    assert (result.exit_code, result.stdout) == (0, "x:1 of pool b: drained\n")


@pytest.mark.parametrize("look", [{"active": 2, "drain": None}, None], ids=["resumed", "removed"])
async def test_what_is_taken_back_meanwhile_was_not_drained(impatient, look):
    result = await waited({"active": 2, "drain": {"cut_in_seconds": 9}}, look)
    assert (result.exit_code, result.stderr) == (1, "trioproxy: x:1 of pool b is not drained any more\n")


async def test_what_does_not_end_behind_the_deadline_is_given_up(impatient):
    result = await waited({"active": 2, "drain": {"cut_in_seconds": 0}})
    assert (result.exit_code, result.stderr) == (1, "trioproxy: x:1 still has 2 behind the deadline\n")


async def test_requests_under_way_are_told_beside_tunnels():
    words = import_module("trioproxy.cli.drain")._words
    stands = {"pool": "b", "upstream": "x:1", "active": 3, "tunnels": 1, "spread": 5, "timeout": 90}
    assert words(stands) == ("x:1 of pool b: draining, 1 tunnel and 2 requests to end over 5.0 s, cut in 1 min 30 s")
