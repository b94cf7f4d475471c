"""slowhttptest, in all of its modes at once: its connections are ended, and other clients get all of their answers."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack

import pytest
import trio
from support.attacks import bystander, serve_anything
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import scripted_upstream

SECONDS = 5  # that each mode goes on
CONNECTIONS = 60  # of each mode
ROUNDS = 30  # that every bystander makes at least
# The mode, what it asks for, and what its connections end as; each opens all of them in the first second.
MODES = {
    "slow headers": (["-H", "-i", "1"], "/", "client head timeout"),
    "slow bodies": (["-B", "-i", "1", "-s", "8192"], "/", "client request timeout"),
    "slow reads": (["-X", "-n", "1", "-w", "1", "-y", "512", "-z", "5"], "/endless", "client response stalled"),
    "ranges": (["-R"], "/", "upstream response done"),
}
SMALL = {"limits": {"min_body_rate": 1000}, "timeouts": {"head": 1, "body": 1, "response": 1, "keep_alive": 60}}


@pytest.fixture
def slowhttptest():
    path = shutil.which("slowhttptest")
    if path is None:
        pytest.skip("needs slowhttptest (apt install slowhttptest)")
    return path


async def test_slowhttptest_costs_other_clients_nothing(slowhttptest, programs):
    async with scripted_upstream(serve_anything) as upstream, AsyncExitStack() as stack:
        proxy = await run_proxy(programs, settings([upstream.address], **SMALL))
        others = [await stack.enter_async_context(bystander(proxy.address)) for _ in range(4)]
        how = ["-c", str(CONNECTIONS), "-r", str(CONNECTIONS), "-l", str(SECONDS), "-p", "20"]
        attackers = {}
        for name, (mode, path, _) in MODES.items():
            argv = [slowhttptest, *mode, *how, "-u", f"http://{proxy.address}{path}"]
            attackers[name] = await programs.start(name, argv)
        await proxy.wait_until(
            lambda seen: seen.total("connections_total") > 2 * len(others) + CONNECTIONS, "they begin"
        )
        over = trio.Event()

        async def go_on(other):
            await other.rounds(ROUNDS)
            while not over.is_set():
                await other.rounds(1)

        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(go_on, other)
            for name, program in attackers.items():
                await program.wait()
                said = program.out.text + program.err.text
                assert "service available:" in said, (name, said)
                assert "NO" not in said.partition("service available:")[2], (name, said)
            over.set()
        wanted = {ending for _, _, ending in MODES.values()}

        def ended(seen):
            found = {
                " ".join(labels[name] for name in ("by", "phase", "reason"))
                for labels, value in seen.matching("endings_total")
                if value
            }
            return wanted <= found and seen.total("connections_active") == 2 * len(others)

        seen = await proxy.wait_until(ended, "all of theirs have ended")
        assert seen.total("connections_rejected_total") == 0
        assert seen.total("endings_total", reason="internal") == 0
        for other in others:
            await other.rounds(1)
        await stack.aclose()
        await proxy.stop()
