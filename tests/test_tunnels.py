"""An open tunnel's life around the relay: listed, counted live, logged, and gone without a trace whatever happens."""

from __future__ import annotations

import gc
import types

import pytest
import trio
from support.frames import CLOSE, PING, PONG, TEXT, WebSocket, close_payload, upgrade_answer, upgrade_request
from support.scripted import proxying

from trioproxy import metrics as m
from trioproxy.client import Entrance
from trioproxy.config import WebSocketConfig
from trioproxy.context import Context
from trioproxy.errors import Reason
from trioproxy.relay.pump import Pump
from trioproxy.upstreams import Upstream

# What all tunnels share, and code: none of it is held for one tunnel alone.
SHARED = (
    Context,
    Entrance,
    Pump,
    Upstream,
    trio.lowlevel.Task,
    type,
    types.ModuleType,
    types.FunctionType,
    types.CodeType,
)


async def echoing(http):
    head = await http.head()
    await http.send(upgrade_answer(head))
    socket = WebSocket(http, head, mask=None)
    while True:
        message = await socket.receive()
        await socket.send(PONG if message.opcode == PING else message.opcode, message.payload)
        if message.opcode == CLOSE:
            return


async def open_websocket(proxy) -> WebSocket:
    http = proxy.connect()
    await http.send(upgrade_request("/chat?secret=1"))
    socket = WebSocket(http, await http.head())
    await trio.testing.wait_all_tasks_blocked()
    return socket


async def test_an_open_tunnel_is_listed_and_counted_live():
    async with proxying(echoing) as proxy:
        socket = await open_websocket(proxy)
        await socket.echo(b"hello")
        labels = f"all backend {proxy.peers[0].address}"
        assert proxy.counted(m.TUNNELS_ACTIVE) == proxy.counted(m.TUNNELS) == {labels: 1}
        assert proxy.counted(m.REQUESTS) == {"all backend websocket 101": 1}
        assert proxy.counted(m.BYTES) == {}
        await proxy.context.publish_tunnels()
        upstream = f"backend {proxy.peers[0].address}"
        assert proxy.counted(m.BYTES) == {f"{upstream} to_upstream": 11, f"{upstream} to_client": 7}
        assert proxy.counted(m.MESSAGES) == {f"{upstream} to_upstream": 1, f"{upstream} to_client": 1}
        assert proxy.endings == {}
        await socket.close()
        await proxy.hang_up(socket.http)
        assert proxy.counted(m.TUNNELS_ACTIVE) == {}
        assert proxy.counted(m.TUNNELS) == {labels: 1}
        assert proxy.counted(m.TUNNEL_DURATION) == {"backend": 1}


def held_for(coroutine) -> set[str]:
    """The names of the types of all objects reachable from a coroutine, but for what others share with it."""
    found, ways = {id(coroutine): coroutine}, [coroutine]
    while ways:
        for each in gc.get_referents(ways.pop()):
            if id(each) not in found and not isinstance(each, SHARED):
                found[id(each)] = each
                ways.append(each)
    return {type(each).__name__ for each in found.values()}


async def test_a_parked_tunnel_is_one_frame_of_ours_deep_and_holds_nothing_of_its_handshake():
    async with proxying(echoing) as proxy:
        socket = await open_websocket(proxy)
        await socket.echo(b"hello")
        await trio.testing.wait_all_tasks_blocked()
        (task,) = (task for task in proxy.tasks if task.coro.__name__ == "handle_connection")
        ours = [
            frame.f_code.co_name for frame, _ in task.iter_await_frames() if "trioproxy" in frame.f_code.co_filename
        ]
        assert ours == ["handle_connection"]
        held = held_for(task.coro)
        assert {"Tunnel", "Record", "UpstreamConnection"} <= held, "it looked where they are"
        handshake = {"Client", "Exchange", "Answer", "Attempts", "Headers", "RequestHead", "ResponseHead"}
        buffers = {"RequestParser", "ResponseParser", "HttpRequestParser", "HttpResponseParser", "bytearray"}
        open_around = {"CancelScope", "Nursery", "ExitStack"}
        assert not held & (handshake | buffers | open_around)
        await socket.close()
        await proxy.hang_up(socket.http)


async def test_the_routes_settings_hold_and_what_they_do_is_counted(autojump_clock):
    websocket = WebSocketConfig(ping_interval=10.0, ping_timeout=5.0, max_message_bytes=200)
    async with proxying(echoing, route={"websocket": websocket}) as proxy:
        socket = await open_websocket(proxy)
        assert len(await socket.echo(bytes(150))) == 150
        for _ in range(3):
            ping = await socket.receive()
            assert ping.opcode == PING
            await socket.send(PONG, ping.payload)
            await trio.sleep(1)
        await socket.send(TEXT, bytes(201))
        assert (await socket.receive()).close_code == 1009
        await proxy.hang_up(socket.http)
        upstream = f"backend {proxy.peers[0].address}"
        await proxy.context.publish_tunnels()
        assert proxy.counted(m.PING_RTT)["backend client"] == 3
        assert proxy.counted(m.INJECTED_FRAMES)["backend client pong"] == 3
        assert proxy.counted(m.INJECTED_FRAMES)["backend client close"] == 1
        pings = proxy.counted(m.INJECTED_FRAMES)["backend upstream ping"]
        assert proxy.counted(m.PING_RTT)["backend upstream"] == pings >= 1
        assert {labels.split()[-1] for labels in proxy.counted(m.FRAMES)} == {"binary", "close"}
        assert proxy.counted(m.MESSAGE_SIZE) == {"backend to_upstream": 1, "backend to_client": 1}
        assert proxy.counted(m.CLOSES) == {f"{upstream} proxy 1009": 1}
        assert proxy.endings == {"proxy tunnel too_large": 1}
        assert proxy.log[1]["close_code"] == 1009


async def test_its_two_lines_say_when_it_opened_and_how_it_ended(autojump_clock):
    async with proxying(echoing) as proxy:
        socket = await open_websocket(proxy)
        (opened,) = proxy.log
        assert (opened["event"], opened["path"], opened["status"]) == ("tunnel_open", "/chat", 101)
        await trio.sleep(30)
        await socket.echo(b"hello")
        await socket.close(4001)
        await proxy.hang_up(socket.http)
        ended = proxy.log[1]
        assert (ended["event"], ended["id"], ended["duration_s"]) == ("tunnel_end", opened["id"], 30)
        assert (ended["ended_by"], ended["reason"], ended["close_code"]) == ("client", "done", 4001)
        assert (ended["messages_to_upstream"], ended["bytes_to_client"]) == (1, 7 + 4)


async def test_the_upstreams_connection_is_closed_and_its_lease_returned():
    closed = trio.Event()

    async def upstream(http):
        head = await http.head()
        await http.send(upgrade_answer(head))
        await http.rest()
        closed.set()

    async with proxying(upstream) as proxy:
        socket = await open_websocket(proxy)
        assert proxy.upstreams[0].active == 1
        proxy.cut()
        await closed.wait()
    assert proxy.endings == {"proxy tunnel cut": 1}
    assert proxy.counted(m.CLOSES) == {f"backend {proxy.upstreams[0].address} proxy none": 1}
    assert [line["event"] for line in proxy.log] == ["tunnel_open", "tunnel_end"]
    assert socket.http.stream.socket.fileno() < 0


async def test_a_tunnel_that_opens_while_draining_is_asked_to_close_at_once():
    async def upstream(http):
        head = await http.head()
        proxy.context.draining = True
        await http.send(upgrade_answer(head))
        socket = WebSocket(http, head, mask=None)
        assert (await socket.receive()).close_code == 1001

    async with proxying(upstream) as proxy:
        socket = await open_websocket(proxy)
        assert (await socket.receive()).close_code == 1001
        await socket.send(CLOSE, close_payload(1001))
        await proxy.hang_up(socket.http)
        assert proxy.counted(m.CLOSES) == {f"backend {proxy.upstreams[0].address} proxy 1001": 1}
        ((ending, count),) = proxy.endings.items()
        assert (ending.split(" ")[0], ending.split(" ")[2], count) == ("proxy", Reason.DRAINING, 1)


async def test_a_tunnel_that_loses_an_upstream_counts_none():
    async def upstream(http):
        head = await http.head()
        await http.send(upgrade_answer(head))
        await WebSocket(http, head, mask=None).receive()

    async with proxying(upstream) as proxy:
        socket = await open_websocket(proxy)
        await socket.send(TEXT, b"x")
        assert (await socket.receive()).close_code == 1011
        await socket.send(CLOSE, close_payload(1011))
        await proxy.hang_up(socket.http)
        assert proxy.counted(m.CLOSES) == {f"backend {proxy.upstreams[0].address} upstream none": 1}
        assert [ending.split(" ")[0] for ending in proxy.endings] == ["upstream"]


async def test_a_bug_in_the_relay_ends_one_tunnel_and_is_counted_once():
    class Broken:
        name = "broken"

        async def run(self, tunnel):
            raise RuntimeError("a bug")

    async with proxying(echoing, bugs=1) as proxy:
        relay, proxy.context.relay = proxy.context.relay, Broken()
        http = proxy.connect()
        await http.send(upgrade_request())
        await http.head()
        assert await http.at_end()
        await proxy.context.no_connections()
        assert proxy.endings == {"proxy tunnel internal": 1}
        proxy.context.relay = relay
        socket = await open_websocket(proxy)
        assert await socket.echo(b"x") == b"x"


@pytest.mark.parametrize("moments", range(6))
async def test_cut_at_any_moment_of_its_opening_a_tunnel_leaves_nothing(moments):
    arrived = trio.Event()

    async def upstream(http):
        head = await http.head()
        arrived.set()
        await http.send(upgrade_answer(head))
        await http.rest()

    async with proxying(upstream) as proxy:
        await proxy.connect().send(upgrade_request())
        await arrived.wait()
        for _ in range(moments):
            await trio.lowlevel.checkpoint()
        proxy.cut()
    assert sum(proxy.endings.values()) == 1
