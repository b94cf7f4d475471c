"""/api/live of real processes: what passes shows within seconds, and who looks on holds up nothing."""

from __future__ import annotations

import pytest
from support.frames import BINARY, websocket
from support.http_client import ask
from support.live import following
from support.peers import run_server
from support.ports import free_address
from support.proxy import run_proxy
from support.settings import settings

PROBED = {"probe": "tcp", "interval": 1, "timeout": 1, "rise": 1, "fall": 1}


def upstream_of(sample, address):
    return next(each for each in sample["pools"][0]["upstreams"] if each["address"] == address)


@pytest.mark.parametrize("workers", [1, 2])
async def test_traffic_a_killed_upstream_a_drain_and_the_end_are_seen(programs, workers):
    servers = [await run_server(programs, "fast_echo.py") for _ in range(2)]
    tables = settings([each.address for each in servers], health=PROBED)
    tables["server"] = {"workers": workers, "drain": {"spread": 0, "timeout": 5}}
    proxy = await run_proxy(programs, tables)
    async with following(proxy.admin) as stream:
        history = await stream.next("history")
        assert history["interval"] == 1 and history["samples"][-1]["tunnels"] == 0
        assert {"upstream_up", "listening"} <= {each["event"] for each in history["events"]}
        async with websocket(proxy.address) as tunnel:
            for _ in range(50):
                await tunnel.send(BINARY, bytes(100))
                await tunnel.receive()
            seen = await messages(stream, 50, since=history["samples"][-1]["time"])
            assert seen["tunnels"] == 1 and seen["handshake_seconds"]["p50"] > 0
            busy = next(each for each in seen["pools"][0]["upstreams"] if each["tunnels"])
            assert busy["active"] == 1
            await drain(proxy, busy["address"])
            event = await stream.next("event", lambda data: data["event"] == "upstream_drain")
            assert (event["upstream"], event["level"]) == (busy["address"], "info")
            await stream.next("sample", lambda data: upstream_of(data, busy["address"])["drain"] is not None)
        servers[1].kill()
        event = await stream.next("event", lambda data: data["event"] == "upstream_down")
        assert (event["upstream"], event["level"]) == (servers[1].address, "warning")
        await stream.next("sample", lambda data: upstream_of(data, servers[1].address)["health"] == "down")
        assert (await stream.next("sample"))["state"] == "running"
        proxy.terminate()
        await stream.next("event", lambda data: data["event"] == "drain")
        with pytest.raises(EOFError):
            await stream.next("event", lambda _data: False)
    assert await proxy.program.wait() == 0


async def messages(stream, count, since):
    """The last of the samples in which so many have come back; `since` is the time of the one before the first."""
    seen = 0.0
    while seen < 0.9 * count:  # rates are rounded
        sample = await stream.next("sample")
        seen += sample["messages_per_second"]["to_client"] * (sample["time"] - since)
        since = sample["time"]
    return sample


async def drain(proxy, upstream):
    body = b'{"spread": 0, "timeout": 60}'
    head = f"POST /api/pools/backend/upstreams/{upstream}/drain HTTP/1.1\r\nHost: {proxy.admin}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    assert (await ask(proxy.admin, head.encode() + body)).status == 200


async def test_who_looks_on_keeps_no_process_from_handing_over(programs, tmp_path):
    server = await run_server(programs, "fast_echo.py")
    tables = settings([server.address], listener={"address": free_address()})
    tables["admin"] = {"address": free_address()}
    tables["server"] = {"handover": str(tmp_path / "door"), "drain": {"spread": 0, "timeout": 60}}
    old = await run_proxy(programs, tables)
    async with following(old.admin) as stream:
        await stream.next("history")
        new = await run_proxy(programs, tables)
        with pytest.raises(EOFError):
            await stream.next("event", lambda _data: False)
    async with following(new.admin) as stream:  # no connection of the old process: its end is seen above
        assert "took_over" in {each["event"] for each in (await stream.next("history"))["events"]}
    assert await old.program.wait() == 0
