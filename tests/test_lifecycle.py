"""`trioproxy run` as a process: signals, the service manager, limits of the machine."""

from __future__ import annotations

import json
import resource
import signal
import socket
import time

import pytest
import trio
from support.frames import BINARY, CLOSE, close_payload, websocket
from support.http_client import connection, dial, get, get_request
from support.manager import service_manager
from support.processes import PYTHON
from support.proxy import ProxyProcess, launch_proxy, run_proxy, write_config
from support.serving import talk_both
from support.settings import settings
from support.upstream import scripted_upstream
from support.waiting import wait_until

STOPS = [signal.SIGTERM, signal.SIGINT]
PATIENT = {"server": {"drain": {"spread": 0, "timeout": 300}}}  # a drain that only force ends in time


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.rule("close-codes")
async def test_a_signal_drains_and_ends_with_status_0(programs, number):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address]))
        async with websocket(proxy.address) as tunnel:
            assert await tunnel.echo(b"hello") == b"hello"
            proxy.program.signal(number)
            assert (await tunnel.receive()).close_code == 1001
            await tunnel.send(CLOSE, close_payload(1001))
            assert await tunnel.http.at_end()
        assert await proxy.program.wait() == 0
    assert proxy.log_contains("drain") and proxy.log_contains("drained")
    assert proxy.log_contains("tunnel_end", ended_by="proxy", reason="draining", close_code=1001)
    assert not proxy.log_contains("cut")


@pytest.mark.parametrize("number", STOPS)
async def test_a_second_signal_cuts_and_ends_with_status_1(programs, number):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], **PATIENT))
        async with websocket(proxy.address) as tunnel:
            proxy.program.signal(number)
            assert (await tunnel.receive()).close_code == 1001  # and does not answer
            proxy.program.signal(number)
            with pytest.raises(ConnectionResetError):
                await tunnel.http.rest()
            assert await proxy.program.wait() == 1
    assert proxy.log_contains("cut", tunnels=1) and not proxy.log_contains("drained")


async def test_what_does_not_end_is_cut_at_the_deadline_and_the_status_is_still_0(programs):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], server={"drain": {"spread": 0, "timeout": 0.2}}))
        async with websocket(proxy.address) as tunnel:
            await proxy.stop()
            assert (await tunnel.receive()).close_code == 1001
            with pytest.raises(ConnectionResetError):
                await tunnel.http.rest()


async def starting_proxy(programs, upstream, probed):
    """A proxy in its first probe round, which takes ten minutes."""
    health = {"probe": "http", "timeout": 600, "interval": 600}
    proxy = await launch_proxy(programs, settings([upstream.address], health=health))
    await probed.wait()
    return proxy


@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGHUP, signal.SIGTERM]])
async def test_a_signal_while_starting_ends_the_start(programs, numbers):
    probed = trio.Event()

    async def never(http):
        probed.set()
        await http.rest()

    async with scripted_upstream(never) as upstream:
        proxy = await starting_proxy(programs, upstream, probed)
        for number in numbers:
            proxy.program.signal(number)
        assert await proxy.program.wait() == 0
    assert not proxy.log_contains("listening", listener="public")


async def test_sighup_reopens_the_log(programs, tmp_path):
    file = tmp_path / "proxy.log"
    log = {"format": "json", "file": str(file)}
    proxy = await launch_proxy(programs, settings(["127.0.0.1:1"], log=log))

    def events(path):
        return [json.loads(line)["event"] for line in path.read_text().splitlines()] if path.exists() else []

    await wait_until(lambda: events(file).count("listening") == 2, "listening")
    rotated = file.rename(tmp_path / "proxy.log.1")
    proxy.program.signal(signal.SIGHUP)
    await wait_until(lambda: "reload" in events(file), "the new file")
    assert "listening" in events(rotated) and "listening" not in events(file)
    await proxy.stop()
    assert events(file)[-1] == "drained"
    assert proxy.program.err.text == ""


async def test_a_log_that_cannot_be_reopened_goes_on_in_the_old_file(programs, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "proxy.log").touch()
    log = {"format": "json", "file": str(folder / "proxy.log")}
    proxy = await launch_proxy(programs, settings(["127.0.0.1:1"], log=log))
    await wait_until(lambda: "public" in (folder / "proxy.log").read_text(), "listening")
    moved = folder.rename(tmp_path / "moved") / "proxy.log"
    proxy.program.signal(signal.SIGHUP)
    await wait_until(lambda: "log_reopen_failed" in moved.read_text(), "the old file")
    await proxy.stop()


# Reloading


async def test_sighup_brings_the_file_into_force(programs):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address]))
        await proxy.reload(settings([upstream.address], route={"path": "/new"}))
        assert (await get(proxy.address, "/")).status == 404
        assert (await get(proxy.address, "/new")).status == 200
        await proxy.logged("reload", result="applied", tunnels_closing=0)
        await proxy.stop()


async def test_a_file_with_mistakes_changes_nothing_and_each_is_logged(programs):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address]))
        wrong = settings([upstream.address], pool={"attempts": 0}, route={"path": "/new", "pool": "elsewhere"})
        await proxy.reload(wrong, "invalid")
        assert (await get(proxy.address, "/")).status == 200
        await wait_until(lambda: len(reasons_of(proxy)) == 2, "two problems")
        reasons = reasons_of(proxy)
        assert any("routes[0].pool" in reason for reason in reasons)
        assert any(proxy.config in reason and "pools.backend.attempts" in reason for reason in reasons)
        seen = await proxy.metrics()
        assert seen.total("config_last_reload_successful") == 0
        since = seen.total("config_last_reload_success_timestamp_seconds")
        await proxy.reload(settings([upstream.address]))
        seen = await proxy.metrics()
        assert seen.total("config_last_reload_successful") == 1
        assert seen.total("config_last_reload_success_timestamp_seconds") > since
        assert seen.by("result", "config_reloads_total") == {"applied": 1, "invalid": 1, "refused": 0, "failed": 0}


def reasons_of(proxy):
    return [entry["reason"] for entry in proxy.log if entry["event"] == "reload"]


async def test_of_two_reloads_in_quick_succession_the_last_file_wins(programs):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], route={"path": "/before"}))
        for path in ("/first", "/last"):
            proxy.write(settings([upstream.address], route={"path": path}))
            proxy.program.signal(signal.SIGHUP)

        async def last():
            return (await get(proxy.address, "/last")).status == 200

        await wait_until(last, "the last file in force")
        assert (await get(proxy.address, "/first")).status == 404


async def test_sighup_while_starting_is_served_when_started(programs):
    probed, go_on = trio.Event(), trio.Event()

    async def late(http):
        probed.set()
        await go_on.wait()
        await talk_both(http)

    async with scripted_upstream(late) as upstream:
        proxy = await starting_proxy(programs, upstream, probed)
        proxy.write(settings([upstream.address], route={"path": "/new"}))
        proxy.program.signal(signal.SIGHUP)
        go_on.set()
        entry = await proxy.logged("listening", listener="public")
        await proxy.logged("reload", result="applied")
        assert (await get(entry["address"], "/new")).status == 200


async def test_sigterm_during_a_reload_drains(programs):
    probed = trio.Event()

    async def silent(http):
        probed.set()
        await http.rest()

    async with scripted_upstream(talk_both) as upstream, scripted_upstream(silent) as new:
        proxy = await run_proxy(programs, settings([upstream.address], health={"probe": "http"}))
        proxy.write(settings([new.address], health={"probe": "http", "timeout": 600, "interval": 600}))
        async with websocket(proxy.address) as tunnel:
            proxy.program.signal(signal.SIGHUP)
            await probed.wait()
            assert await tunnel.echo(b"still") == b"still"
            proxy.terminate()
            assert (await tunnel.receive()).close_code == 1001
            await tunnel.send(CLOSE, close_payload(1001))
            assert await tunnel.http.at_end()
        assert await proxy.program.wait() == 0
    assert not proxy.log_contains("reload")


async def test_sighup_during_a_drain_only_reopens_the_log(programs, tmp_path):
    file = tmp_path / "proxy.log"
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], **PATIENT))
        tables = settings([upstream.address], **PATIENT, log={"format": "json", "file": str(file)})
        await proxy.reload(tables)
        async with websocket(proxy.address) as tunnel:
            proxy.terminate()
            assert (await tunnel.receive()).close_code == 1001
            rotated = file.rename(tmp_path / "rotated")
            proxy.write({**tables, "routes": []})
            proxy.program.signal(signal.SIGHUP)
            await wait_until(file.exists, "the new file")
            await tunnel.send(CLOSE, close_payload(1001))
            assert await tunnel.http.at_end()
        assert await proxy.program.wait() == 0
    assert '"drain"' in rotated.read_text() and '"drained"' in file.read_text()
    assert '"reload"' not in file.read_text()


# The service manager


async def test_the_service_manager_hears_of_reloads(programs, tmp_path):
    async with service_manager(tmp_path) as manager:
        proxy = await run_proxy(programs, settings(["127.0.0.1:1"]), env=manager.env())
        await manager.hears_state("READY")
        for tables in (settings(["127.0.0.1:1"]), {}):
            before = time.monotonic_ns() // 1000
            proxy.write(tables)
            proxy.program.signal(signal.SIGHUP)
            notice = await manager.hears_state("RELOADING")
            assert before <= int(notice["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            await manager.hears_state("READY")
        await proxy.logged("reload", result="invalid")


async def test_the_service_manager_hears_when_it_is_ready_what_it_does_and_when_it_stops(programs, tmp_path):
    async with scripted_upstream(talk_both) as upstream, service_manager(tmp_path) as manager:
        drain = {"lame_duck": 0.5, "spread": 0, "timeout": 20}
        proxy = await launch_proxy(programs, settings([upstream.address], server={"drain": drain}), env=manager.env())
        ready = await manager.hears_state("READY")
        assert ready["STATUS"] == "running: 0 connections, 0 tunnels, 1 of 1 upstreams up"
        entry = await proxy.logged("listening", listener="public")
        async with websocket(entry["address"]) as tunnel:
            await manager.hears_status("running: 1 connections, 1 tunnels")
            proxy.terminate()
            stopping = await manager.hears_state("STOPPING")
            # Longer than the drain, so that it is never cut short; whatever the unit's TimeoutStopSec says.
            assert 20.5e6 < int(stopping["EXTEND_TIMEOUT_USEC"]) < 60e6
            await manager.hears_status("draining: 1 connections, 1 tunnels")
            await tunnel.close(1001)
        assert await proxy.program.wait() == 0
        assert not any("WATCHDOG" in notice for notice in manager.heard)  # it did not ask


async def test_the_watchdog_is_fed_from_the_first_moment(programs, tmp_path):
    probed = trio.Event()

    async def never(http):
        probed.set()
        await http.rest()

    async with scripted_upstream(never) as upstream, service_manager(tmp_path) as manager:
        health = {"probe": "http", "timeout": 600, "interval": 600}
        env = manager.env(WATCHDOG_USEC="200000")
        proxy = await launch_proxy(programs, settings([upstream.address], health=health), env=env)
        await probed.wait()
        await manager.hears_status("starting")
        await manager.hears_state("WATCHDOG")
        await proxy.stop()


async def test_the_watchdog_is_fed_while_it_drains(programs, tmp_path):
    async with scripted_upstream(talk_both) as upstream, service_manager(tmp_path) as manager:
        env = manager.env(WATCHDOG_USEC="200000")
        proxy = await launch_proxy(programs, settings([upstream.address], **PATIENT), env=env)
        entry = await proxy.logged("listening", listener="public")
        async with websocket(entry["address"]) as tunnel:
            proxy.terminate()
            await manager.hears_state("STOPPING")
            await manager.hears_state("WATCHDOG")
            await manager.hears_state("WATCHDOG")
            await tunnel.close(1001)
        assert await proxy.program.wait() == 0


async def test_listeners_come_by_socket_activation(programs, tmp_path):
    path = str(tmp_path / "activated")
    with socket.create_server(("127.0.0.1", 0)) as web, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(path)
        unix.listen()
        tables = settings(["127.0.0.1:1"], listener={"name": "web", "address": "fd:web"})
        tables["listeners"].append({"name": "local", "address": "fd:local"})
        passed = {"local": unix.fileno(), "web": web.fileno(), "unused": web.fileno()}
        async with await dial(f"127.0.0.1:{web.getsockname()[1]}") as early:  # queued before the proxy began
            await early.send_all(get_request())
            proxy = await run_proxy(programs, tables, sockets=passed)
            assert (await early.receive_some()).startswith(b"HTTP/1.1 5")
        assert proxy.addresses["web"] == f"127.0.0.1:{web.getsockname()[1]}"
        assert (await get(proxy.addresses["local"])).status >= 500
        await proxy.stop()
        # Both are the service manager's: they go on listening, and the file is there for the next start.
        socket.create_connection(web.getsockname()).close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


# Limits of the machine


async def test_without_descriptors_it_says_so_once_a_second_and_recovers(programs):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address]))
        async with websocket(proxy.address) as before:
            limits = resource.prlimit(proxy.program.pid, resource.RLIMIT_NOFILE, (1, 20000))
            start = trio.current_time()
            async with connection(proxy.address) as http:
                await http.send(get_request())
                failed = await proxy.logged("accept_failed")
                assert failed["reason"] == "Too many open files" and failed["listener"] == "public"
                assert await before.echo(b"goes on") == b"goes on"
                resource.prlimit(proxy.program.pid, resource.RLIMIT_NOFILE, limits)
                assert (await http.answer()).body == b"fine"
            await before.close()
        times = len([entry for entry in proxy.log if entry["event"] == "accept_failed"])
        assert times <= 1 + (trio.current_time() - start)
        await proxy.stop()


async def test_few_descriptors_mean_few_connections_and_a_warning(programs):
    limit = 128
    tables = settings(["127.0.0.1:1"], log={"format": "json"})
    prelude = (
        f"import os, resource, sys; resource.setrlimit(7, ({limit // 2}, {limit})); os.execv(sys.argv[1], sys.argv[1:])"
    )
    assert resource.RLIMIT_NOFILE == 7
    argv = [PYTHON, "-c", prelude, PYTHON, "-m", "trioproxy", "run", "-c", write_config(programs, tables)]
    proxy = ProxyProcess(await programs.start("trioproxy", argv), argv[-1])
    warning = await proxy.logged("few_descriptors")
    assert warning["limit"] == limit and warning["wanted"] == 10000
    assert warning["max_connections"] == limit // 4
    address = (await proxy.logged("listening", listener="public"))["address"]
    clients = [socket.create_connection(address.split(":")) for _ in range(limit // 4)]
    async with connection(address) as http:
        answer = await http.answer()
        assert answer.status == 503 and answer.get(b"retry-after") == b"1"
        assert await http.at_end()
    for client in clients:
        client.close()
    await proxy.stop()
    assert not proxy.log_contains("accept_failed")


async def test_nothing_is_left_of_clients_that_came_and_went(programs):
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], pool={"keep_alive": 0}))
        await proxy.metrics()
        before = proxy.program.descriptors
        for _ in range(20):
            assert (await get(proxy.address)).body == b"fine"
            async with websocket(proxy.address) as tunnel:
                await tunnel.send(BINARY, b"and gone without a word")
        await wait_until(lambda: proxy.program.descriptors <= before, "descriptors")
        samples = await proxy.wait_until(lambda seen: seen.total("connections_active") == 0)
        assert samples.total("tunnels_active") == 0 and samples.total("upstream_active") == 0
        await proxy.stop()
