"""A new process takes the listeners over from the running one: nobody is refused, the old one drains, whatever fails."""

from __future__ import annotations

import signal
import socket
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio
from support.frames import CLOSE, close_payload, websocket
from support.http_client import get
from support.load import each, load_on
from support.peers import run_server
from support.ports import own_host
from support.proxy import launch_proxy
from support.serving import talk_both
from support.settings import settings
from support.upstream import scripted_upstream

TUNNELS = 50
CLIENTS = 4
PAUSE_SECONDS = 0.01  # of a client: without, they would take the processor from those who start


@pytest.fixture
def host():
    return own_host()


def tables(upstream, host, tmp_path, *, also=(), **more):
    """A TCP and a Unix listener, and those of `also`, name → address."""
    changed = {
        "admin": {"address": f"{host}:9464"},
        "server": {"handover": str(tmp_path / "door"), "drain": {"spread": 0.5, "timeout": 20}},
        "log": {"format": "json", "access": False},
        **more,
    }
    found = settings([upstream], listener={"address": f"{host}:8080"}, **changed)
    found["listeners"].append({"name": "local", "address": f"unix:{tmp_path}/local"})
    found["listeners"] += [{"name": name, "address": address} for name, address in dict(also).items()]
    return found


async def serving(programs, tables):
    proxy = await launch_proxy(programs, tables)
    for listener in [*tables["listeners"], {"name": "admin"}]:
        entry = await proxy.logged("listening", listener=listener["name"])
        proxy.addresses[listener["name"]] = entry["address"]
    return proxy


@asynccontextmanager
async def clients_that_keep_coming(addresses):
    """Each a connection of its own for each request; gives the outcomes so far, counted."""
    outcomes = Counter()

    async def come(address):
        while True:
            try:
                outcomes[(await get(address, "/", "Connection: close")).status] += 1
            except OSError as error:
                outcomes[f"{address}: {error!r}"] += 1
            await trio.sleep(PAUSE_SECONDS)

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(come, address)
        yield outcomes
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("workers", [(1, 1, 1), (1, 2, 3, 1)], ids=["one process", "workers"])
async def test_a_row_of_processes_under_load_refuses_nobody(programs, tmp_path, host, workers):
    """The clients of the old one are told politely, those that come are served by either, operators by one of them."""
    upstream = await run_server(programs, "fast_echo.py")
    config = tables(upstream.address, host, tmp_path)
    config["server"]["workers"] = workers[0]
    old = await serving(programs, config)
    async with load_on(old.address) as open_tunnels:
        addresses = [old.address, old.addresses["local"]] * (CLIENTS // 2)
        async with clients_that_keep_coming([*addresses, old.admin]) as outcomes:
            for generation, count in enumerate(workers[1:]):
                config["server"]["workers"] = count
                tunnels = await open_tunnels(range(generation * TUNNELS, (generation + 1) * TUNNELS))
                await each(tunnels, lambda tunnel: tunnel.burst(3))
                new = await serving(programs, config)
                await new.logged("took_over")
                closes = []

                async def told(tunnel, closes=closes):
                    closes.append((await tunnel.end.receive()).close_code)
                    await tunnel.end.http.send(b"\x88\x82\0\0\0\0\x03\xe9")
                    assert await tunnel.end.http.at_end()

                await each(tunnels, told)
                assert closes == [1001] * TUNNELS
                assert await old.program.wait() == 0
                for event in ("handover", "handed_over", "drain", "drained"):
                    assert old.log_contains(event)
                assert not old.log_contains("cut")
                assert new.addresses == old.addresses
                old = new
    print(f"{sum(outcomes.values())} answers over {len(workers) - 1} handovers: {dict(outcomes)}")  # noqa: T201
    assert set(outcomes) <= {200, 404} and outcomes[200] > 100  # 404: the admin has no page at /
    await old.stop()
    assert not (tmp_path / "local").exists() and not (tmp_path / "door").exists()


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]], ids=["one", "two"])
async def test_only_the_second_signal_behind_a_handover_cuts(programs, tmp_path, host, signals):
    """Who starts the new one and then stops the old one by hand asks for what it is doing already."""
    async with scripted_upstream(talk_both) as upstream:
        config = tables(upstream.address, host, tmp_path)
        old = await serving(programs, config)
        async with websocket(old.address) as tunnel:
            new = await serving(programs, config)
            assert (await tunnel.receive()).close_code == 1001
            for number in signals:
                old.program.signal(number)
            if len(signals) == 1:
                await tunnel.send(CLOSE, close_payload(1001))
                assert await tunnel.http.at_end()
                await tunnel.http.stream.aclose()
            assert await old.program.wait() == len(signals) - 1
        assert old.log_contains("handed_over") and old.log_contains("cut") is (len(signals) > 1)
        await new.stop()


async def test_a_new_process_that_cannot_start_leaves_the_old_one_as_it_was(programs, tmp_path, host):
    async with scripted_upstream(talk_both) as upstream:
        patient = tables(upstream.address, host, tmp_path)
        patient["server"]["drain"]["lame_duck"] = 600  # nobody has to look elsewhere: it is not waited for
        old = await serving(programs, patient)
        async with websocket(old.address) as tunnel:
            with socket.create_server((host, 8081)):
                config = tables(upstream.address, host, tmp_path, also={"more": f"{host}:8081"})
                new = await launch_proxy(programs, config)
                assert await new.program.wait() == 1
            assert "listener more: cannot listen on" in new.program.err.text
            assert (await old.logged("handover_failed"))["reason"] == "the other process is gone"
            assert await tunnel.echo(b"as before") == b"as before"
            for address in (old.address, old.addresses["local"]):
                assert (await get(address)).status == 200
            new = await serving(programs, tables(upstream.address, host, tmp_path))
            assert (await tunnel.receive()).close_code == 1001
        assert await old.program.wait() == 0
        await new.stop()


async def test_other_listeners_than_before_are_opened_and_closed(programs, tmp_path, host):
    async with scripted_upstream(talk_both) as upstream:
        old = await serving(programs, tables(upstream.address, host, tmp_path, also={"old": f"{host}:8081"}))
        new = await serving(programs, tables(upstream.address, host, tmp_path, also={"new": f"{host}:8082"}))
        assert await old.program.wait() == 0
        assert (await get(f"{host}:8082")).status == 200
        with pytest.raises(OSError, match="all attempts to connect"):
            await get(f"{host}:8081")
        # And the other way round, where the kernel has to be asked for the port anew.
        third = await serving(programs, tables(upstream.address, host, tmp_path, also={"old": f"{host}:8081"}))
        assert await new.program.wait() == 0
        assert (await get(f"{host}:8081")).status == 200
        await third.stop()


async def test_an_old_process_that_ends_first_leaves_its_clients_to_the_new_one(programs, tmp_path, host):
    asked, answer = trio.Event(), trio.Event()

    async def upstream(http):
        head = await http.head()
        if b"/probe" in head.start:
            asked.set()
            await answer.wait()
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async with scripted_upstream(upstream) as server:
        config = tables(server.address, host, tmp_path)
        old = await serving(programs, config)
        config["pools"]["backend"]["health"] = {"probe": "http", "path": "/probe", "timeout": 60, "interval": 60}
        new = await launch_proxy(programs, config)
        await asked.wait()
        old.program.kill()
        await old.program.wait()
        async with trio.open_nursery() as nursery:
            statuses = []

            async def client():
                statuses.append((await get(f"{host}:8080")).status)

            nursery.start_soon(client)  # waits in a queue that nobody takes from yet
            answer.set()
        assert statuses == [200]
        assert "gone" in (await new.logged("handover_failed"))["reason"]
        await new.stop()


async def test_two_new_processes_at_once_stand_in_line(programs, tmp_path, host):
    async with scripted_upstream(talk_both) as upstream:
        config = tables(upstream.address, host, tmp_path)
        old = await serving(programs, config)
        first, second = [await launch_proxy(programs, config) for _ in range(2)]
        assert await old.program.wait() == 0
        before = {new: (await new.logged("taking_over"))["pid"] for new in (first, second)}
        ended, last = (first, second) if before[second] == first.program.pid else (second, first)
        assert [before[ended], before[last]] == [old.program.pid, ended.program.pid]
        await last.logged("took_over")
        assert await ended.program.wait() == 0
        assert (await get(f"{host}:8080")).status == 200
        assert last.program.running
        await last.stop()


async def test_a_door_that_cannot_be_opened_is_an_error_in_one_line(programs, tmp_path, host):
    config = tables("127.0.0.1:1", host, tmp_path)
    config["server"]["handover"] = str(tmp_path / "missing" / "door")
    proxy = await launch_proxy(programs, config)
    assert await proxy.program.wait() == 1
    assert proxy.program.err.text.endswith("missing/door: No such file or directory")
