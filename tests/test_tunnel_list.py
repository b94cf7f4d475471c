"""The list of open tunnels: its order, its pages, its filters, and one page made of several processes'."""

from __future__ import annotations

import json
import random
from contextlib import AsyncExitStack

import trio
from support.frames import TEXT, websocket
from support.serving import POOL, serving_unix
from trio.testing import wait_all_tasks_blocked

from trioproxy import tunnel_list
from trioproxy.admin.control import TUNNEL_FILTERS
from trioproxy.tunnel_list import merge, order


def all_of(proxy, *, after="", limit=100, **where):
    return tunnel_list.page(proxy.context.tunnels.values(), after=after, limit=limit, where=where)


def ids(page):
    return [row["id"] for row in page["tunnels"]]


def test_ids_of_a_process_stand_in_the_order_they_were_given():
    wanted = ["0a-1", "0a-9", "0a-f", "0b-2", "0a-10", "0a-ff", "0b-10", "0a-100"]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    assert sorted(shuffled, key=order) == wanted


async def test_pages_follow_one_another_without_gap_or_overlap(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, AsyncExitStack() as stack:
        for _ in range(25):
            await stack.enter_async_context(websocket(proxy.listeners[0].address))
        await wait_all_tasks_blocked()
        pages, after = [], ""
        while (page := all_of(proxy, after=after, limit=10))["tunnels"]:
            assert page["total"] == 25
            pages.append(ids(page))
            after = pages[-1][-1]
        assert [len(page) for page in pages] == [10, 10, 5]
        assert [name for page in pages for name in page] == sorted(proxy.context.tunnels, key=order)


async def test_a_page_begins_behind_a_tunnel_that_is_gone_by_now(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, AsyncExitStack() as stack:
        address = proxy.listeners[0].address
        for _ in range(3):
            await stack.enter_async_context(websocket(address))
        await wait_all_tasks_blocked()
        first, second, third = ids(all_of(proxy))
        left = [one for one in proxy.context.tunnels.values() if one.record.id != second]
        for after in (first, second):
            page = tunnel_list.page(left, after=after, limit=10, where={})
            assert (ids(page), page["total"]) == ([third], 2)


async def test_a_row_tells_where_a_tunnel_leads_and_what_it_carried(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        lines = ("Sec-WebSocket-Protocol: chat",)
        async with websocket(proxy.listeners[0].address, "/room?secret=1", *lines) as end:
            await trio.sleep(10)
            await end.send(TEXT, b"hello")
            await end.receive()
            await end.send(TEXT, b"you")
            await end.receive()
            await trio.sleep(5)
            (row,) = json.loads(json.dumps(all_of(proxy)))["tunnels"]
    upstream = proxy.context.config.pools[POOL].upstreams[0].address
    assert row.pop("id") and row.pop("subprotocol") == ""
    assert row == {
        "client": "unix",
        "listener": "l0",
        "route": "all",
        "pool": POOL,
        "upstream": upstream,
        "host": "a.test",
        "path": "/room",
        "closing": False,
        "age": 15,
        "idle": 5,
        "frames": {"to_upstream": 2, "to_client": 2},
        "messages": {"to_upstream": 2, "to_client": 2},
        "bytes": {"to_upstream": 11 + 9, "to_client": 7 + 5},
    }


async def test_a_tunnel_that_never_said_anything_is_idle_since_it_opened(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address):
        await trio.sleep(7)
        (row,) = all_of(proxy)["tunnels"]
        assert row["age"] == row["idle"] == 7


async def test_a_closing_tunnel_says_so(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address):
        await wait_all_tasks_blocked()
        (opened,) = proxy.context.tunnels.values()
        opened.tunnel.close(1012, "operator")
        assert all_of(proxy)["tunnels"][0]["closing"]


async def test_filters_leave_what_has_all_of_the_values(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address):
        await wait_all_tasks_blocked()
        upstream = proxy.context.config.pools[POOL].upstreams[0].address
        everything = {"pool": POOL, "upstream": upstream, "route": "all", "client": "unix", "listener": "l0"}
        assert set(everything) == set(TUNNEL_FILTERS)
        assert all_of(proxy, **everything)["total"] == 1
        for name in TUNNEL_FILTERS:
            assert all_of(proxy, **{**everything, name: "other"}) == {"total": 0, "tunnels": []}


def test_pages_of_several_processes_are_one_page_in_order():
    def page(*names, total):
        return {"total": total, "tunnels": [{"id": name} for name in names]}

    merged = merge([page("b-1", "b-a", "b-10", total=7), page("a-2", total=1), page(total=0)], 3)
    assert ids(merged) == ["a-2", "b-1", "b-a"]
    assert merged["total"] == 8
