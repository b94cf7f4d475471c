"""Threads that follow a proxy: what they tell, that they come again, and that they end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from queue import SimpleQueue

import pytest
import trio
from support.commands import commanded
from support.upstream import http_upstream, reply

from trioproxy.cli._top import following
from trioproxy.cli._top.following import ROWS, Following
from trioproxy.cli._top.state import Command
from trioproxy.remote import Remote


@asynccontextmanager
async def followed(remote, *, seconds=0.01):
    """What it tells, one after the other."""
    told = SimpleQueue()
    one = Following(remote, told.put, seconds)

    async def get(kind):
        while True:
            found, document = await trio.to_thread.run_sync(told.get, abandon_on_cancel=True)
            if found == kind:
                return document

    try:
        with trio.fail_after(30):
            yield one, get
    finally:
        one.close()


async def test_it_tells_what_the_proxy_tells_and_lists_tunnels(tmp_path):
    async with commanded(tmp_path) as proxy:
        remote = Remote(proxy.proxy.admin_address)
        await proxy.open()
        async with followed(remote) as (one, get):
            one.start(remote.live())
            assert (await get("history"))["interval"] == 1
            assert (await get("sample"))["tunnels"] == 1
            total, rows, last = await get("tunnels")
            assert (total, [row["id"] for row in rows], last) == (1, list(proxy.proxy.context.tunnels), True)


async def test_commands_are_carried_out_and_told(tmp_path):
    async with commanded(tmp_path) as proxy, followed(Remote(proxy.proxy.admin_address)) as (one, get):
        address = proxy.upstream.address
        one.command(Command("drain", "backend", address))
        assert await get("said") == f"{address}: draining"
        assert proxy.upstream.draining
        one.command(Command("resume", "backend", address))
        assert await get("said") == f"{address}: up"
        one.command(Command("drain", "nowhere", address))
        assert (await get("said")).startswith(f"drain {address}: no pool 'nowhere'")


async def test_it_comes_again_when_the_stream_ends_or_cannot_be_had(monkeypatch):
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.01)
    answers = iter([reply(b"event: sample\ndata: 1\n\n"), reply(b'{"error": "not now"}', "503 Service Unavailable")])

    def answer(head, _body):
        if b"/api/live" not in head.start:
            return reply(b"[]")
        return next(answers, reply(b"event: sample\ndata: 2\n\n"))

    async with http_upstream(answer) as upstream:
        remote = Remote(upstream.address)
        async with followed(remote) as (one, get):
            one.start(remote.live())
            assert await get("sample") == 1
            assert await get("lost") == "the proxy has ended it"
            assert await get("lost") == "not now"
            assert await get("sample") == 2


async def test_many_tunnels_are_listed_page_by_page_and_then_again():
    asked = []

    def answer(head, _body):
        if b"/api/live" in head.start:
            return reply(b"event: sample\ndata: 1\n\n")
        asked.append(head.start.decode().split()[1].partition("?")[2])
        count = ROWS if len(asked) in {1, 3} else 1
        return reply(("[" + ",".join(f'{{"id": "a-{n}"}}' for n in range(count)) + "]").encode())

    async with http_upstream(answer) as upstream:
        remote = Remote(upstream.address)
        async with followed(remote) as (one, get):
            one.start(iter([]))
            pages = [await get("tunnels") for _ in range(3)]
    assert [(len(rows), last) for _, rows, last in pages] == [(ROWS, False), (1, True), (ROWS, False)]
    assert asked[:3] == [f"limit={ROWS}", f"after=a-{ROWS - 1}&limit={ROWS}", f"limit={ROWS}"]


@pytest.mark.parametrize("body", [b"{}", b"[{}]", b"nothing"])
async def test_a_list_that_is_none_is_asked_for_again(body):
    answers = iter([reply(body)])

    def answer(head, _body):
        return reply(b"event: sample\ndata: 1\n\n") if b"/api/live" in head.start else next(answers, reply(b"[]"))

    async with http_upstream(answer) as upstream, followed(Remote(upstream.address)) as (one, get):
        one.start(iter([]))
        assert (await get("tunnels"))[1] in ([], [{}])
