"""`workers = N` as real processes: one is killed, stopped or never comes up, and the others' tunnels notice nothing."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from support.frames import CLOSE, close_payload, open_websocket
from support.http_client import ask, dial, get_request
from support.leaving import assert_each_in_its_turn, leave_when_asked
from support.load import each, load_on, shares
from support.peers import run_server
from support.ports import free_address
from support.processes import ROOT
from support.proxy import launch_proxy, run_proxy
from support.settings import settings
from support.waiting import wait_until

WORKERS = 3
GUARD = 10.0  # times the bound: these are real processes on a machine that others use, too
COUNTERS = ("requests_total", "tunnels_total", "connections_total", "messages_total", "bytes_total", "endings_total")
GAUGES = ("tunnels_active", "connections_active", "upstream_active")


async def echo_behind(programs, *, workers=WORKERS, servers=1, pool=None, limits=None, **server):
    upstreams = [await run_server(programs, "fast_echo.py", f"server-{number}") for number in range(servers)]
    tables = settings(
        [upstream.address for upstream in upstreams],
        server={"workers": workers, **server},
        pool=pool,
        **({"limits": limits} if limits else {}),
    )
    return await run_proxy(programs, tables)


async def processes(proxy):
    return (await proxy.status())["processes"]


def alive(pid):
    return Path(f"/proc/{pid}").exists()


def state(pid):
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "gone"


async def kill(process):
    """Until it can accept nobody any more."""
    os.kill(process["pid"], signal.SIGKILL)
    await wait_until(lambda: state(process["pid"]) in {"gone", "Z"}, "its end")


async def serving_again(proxy, before, seconds=GUARD):
    """Until the worker that is in `before` has another process, and that accepts."""

    async def look():
        now = (await processes(proxy))[before["worker"]]
        return now if now["serving"] and now["pid"] != before["pid"] else None

    start = trio.current_time()
    found = await wait_until(look, "a new worker", seconds=seconds)
    return found, trio.current_time() - start


def totals(samples):
    return {name: samples.total(name) for name in COUNTERS}


def by_series(samples):
    """Every counter and histogram series; what it may never do is fall."""
    return {
        (name, tuple(sorted(labels.items()))): value
        for name, labels, value in samples.rows
        if name.startswith("trioproxy_") and name.endswith(("_total", "_count", "_bucket", "_sum"))
    }


def lines_of(path):
    return Path(path).read_text().splitlines()


def links_of(pid):
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            yield str(link.readlink())


async def worker_of(tunnels, proxy):
    """Worker → its tunnels, told by the sockets that each process has."""
    inodes = {}
    for line in lines_of("/proc/net/tcp")[1:]:
        fields = line.split()
        inodes[fields[1], fields[2]] = f"socket:[{fields[9]}]"
    owners = {link: one["worker"] for one in await processes(proxy) for link in links_of(one["pid"])}

    def hexed(name):
        host, port = name[:2]
        return bytes(reversed(bytes(map(int, host.split("."))))).hex().upper() + f":{port:04X}"

    found = {}
    for tunnel in tunnels:
        sock = tunnel.end.http.stream.socket
        inode = inodes[hexed(sock.getpeername()), hexed(sock.getsockname())]
        found.setdefault(owners[inode], []).append(tunnel)
    return found


async def test_clients_are_served_by_all_workers_and_counted_once(programs):
    proxy = await echo_behind(programs)
    assert [one["serving"] for one in await processes(proxy)] == [True] * WORKERS
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(60))
        await each(tunnels, lambda tunnel: tunnel.burst(10))
        assert set(await worker_of(tunnels, proxy)) == set(range(WORKERS))
        seen = await proxy.wait_until(lambda seen: seen.total("messages_total") == 1200)
        assert seen.total("tunnels_active") == seen.total("upstream_active") == seen.total("connections_active") == 60
        status = await proxy.status()
        assert (status["workers"], status["tunnels"], status["connections"]) == (WORKERS, 60, 60)
        assert status["listeners"][0]["active"] == 60
        await each(tunnels, lambda tunnel: tunnel.close())
    await proxy.wait_until(lambda seen: seen.total("tunnels_active") == seen.total("connections_active") == 0)
    await proxy.stop()
    assert not [pid for pid in (one["pid"] for one in status["processes"]) if alive(pid)]


async def test_a_killed_worker_takes_only_its_own_tunnels_along(programs):
    proxy = await echo_behind(programs, servers=2)
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(90))
        await each(tunnels, lambda tunnel: tunnel.burst(5))
        found = await worker_of(tunnels, proxy)
        victim = (await processes(proxy))[0]
        others = [tunnel for worker, some in found.items() if worker != 0 for tunnel in some]
        await proxy.wait_until(lambda seen: seen.total("messages_total") == 900)
        stop, scrapes, connected = trio.Event(), [], 0

        async def talk(tunnel):
            while not stop.is_set():
                await tunnel.burst(5)  # asserts that nothing is lost
                await trio.sleep(0.02)

        async def connect():
            nonlocal connected
            while not stop.is_set():
                answer = await ask(proxy.address, get_request("/", "Connection: close", host=proxy.address))
                assert answer.status == 200
                connected += 1
                await trio.sleep(0.01)

        async def scrape():
            while not stop.is_set():
                scrapes.append(await proxy.metrics())
                await trio.sleep(0.55)  # an answer is kept for half a second

        async with trio.open_nursery() as nursery:
            for tunnel in others:
                nursery.start_soon(talk, tunnel)
            nursery.start_soon(scrape)
            await wait_until(lambda: scrapes, "a scrape")
            await kill(victim)
            nursery.start_soon(connect)
            again, took = await serving_again(proxy, victim)
            await proxy.wait_until(lambda seen: seen.total("worker_restarts_total", reason="killed") == 1)
            stop.set()
        scrapes.append(await proxy.wait_until(lambda seen: seen.total("upstream_active") == len(others), "no connects"))
        told = f"a worker with {len(found[0])} of 90 tunnels killed: another accepts after {took:.2f} s; bound 1 s; "
        print(f"{told}{connected} connects meanwhile; {len(scrapes)} scrapes")  # noqa: T201
        for before, after in zip(map(by_series, scrapes), map(by_series, scrapes[1:]), strict=False):
            assert not {key: (before[key], after.get(key)) for key in before if after.get(key, -1) < before[key]}
        assert scrapes[-1].total("tunnels_active") == scrapes[-1].total("upstream_active") == len(others)
        assert connected and again["restarts"] == 1
        entry = await proxy.logged("worker_ended")
        assert (entry["worker"], entry["reason"], entry["status"]) == (0, "killed", -signal.SIGKILL)
        # Nobody waits for the new one: another has taken its sockets over by then.
        stood_in = await proxy.logged("worker_stands_in", missing=0)
        back = await proxy.logged("worker_started", pid=again["pid"])
        assert stood_in["timestamp"] < back["timestamp"]
        await each(others, lambda tunnel: tunnel.close())
    await proxy.stop()


async def test_a_stopped_worker_is_found_by_its_heartbeat_and_replaced(programs):
    proxy = await echo_behind(programs, workers=2)
    victim, other = await processes(proxy)
    os.kill(victim["pid"], signal.SIGSTOP)
    _, took = await serving_again(proxy, victim, seconds=70)
    print(f"a stopped worker was replaced after {took:.1f} s; bound 7 s")  # noqa: T201
    assert (await proxy.metrics()).total("worker_restarts_total", reason="stalled") == 1
    assert await proxy.logged("worker_ended", worker=0, reason="stalled")
    assert (await processes(proxy))[1]["pid"] == other["pid"]
    end = await open_websocket(proxy.address)
    async with end.http.stream:
        assert await end.echo(b"hello") == b"hello"
    await proxy.stop()


async def test_a_paused_machine_kills_no_worker(programs):
    proxy = await echo_behind(programs, workers=2)
    before = await processes(proxy)
    pids = [proxy.program.pid, *(one["pid"] for one in before)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await wait_until(lambda: all(state(pid) == "T" for pid in pids), "all stopped")
    await trio.sleep(6.5)  # longer than a heart may stand still: the clock goes on, the machine does not
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)
    end = await open_websocket(proxy.address)
    async with end.http.stream:
        assert await end.echo(b"hello") == b"hello"
    lag = await proxy.wait_until(lambda seen: seen.total("event_loop_lag_seconds_sum", worker="supervisor") > 5)
    assert lag.total("worker_restarts_total") == 0
    assert [one["pid"] for one in await processes(proxy)] == [one["pid"] for one in before]
    await proxy.stop()


async def test_without_a_supervisor_workers_drain_and_exit(programs):
    proxy = await echo_behind(programs, workers=2, drain={"spread": 0.2, "timeout": 5})
    pids = [one["pid"] for one in await processes(proxy)]
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(20))
        proxy.program.kill()
        await each(tunnels, partial(leave_when_asked, code=1001, moments=[]))
    await wait_until(lambda: not any(state(pid) not in {"gone", "Z"} for pid in pids), "the workers' end")
    with pytest.raises(OSError):
        await dial(proxy.address)


async def test_a_worker_that_cannot_live_is_started_ever_more_slowly(programs):
    proxy = await echo_behind(programs, workers=2)
    pauses = []
    start = trio.current_time()
    for _ in range(4):
        victim = (await processes(proxy))[1]
        os.kill(victim["pid"], signal.SIGKILL)
        await serving_again(proxy, victim, seconds=60)
        pauses.append((await proxy.logged("worker_ended", pid=victim["pid"]))["pause_s"])
    print(f"pauses before starts: {pauses}; all in {trio.current_time() - start:.1f} s")  # noqa: T201
    assert pauses == [0, 0.5, 1, 2]
    # Meanwhile another stood in for it where the pause was long.
    await proxy.logged("worker_stands_in", worker=0, missing=1)
    await proxy.stop()


async def test_workers_that_never_come_up_are_an_error_at_the_start(programs):
    server = await run_server(programs, "fast_echo.py")
    hook = "import os, sys\nif 'trioproxy.worker' in sys.orig_argv: os._exit(3)\n"
    (programs.folder / "sitecustomize.py").write_text(hook)
    paths = {"PYTHONPATH": f"{programs.folder}{os.pathsep}{ROOT}"}
    proxy = await launch_proxy(programs, settings([server.address], server={"workers": 2}), env=paths)
    assert await proxy.program.wait() == 1
    assert proxy.log_contains("worker_ended", reason="exited", status=3)
    assert proxy.program.err.seen[-1] == "trioproxy: a worker process ended before it accepted: the log says why"


async def test_the_limits_hold_over_all_workers(programs):
    proxy = await echo_behind(
        programs, servers=2, limits={"max_connections": 25}, workers=4, pool={"balance": "least-connections"}
    )
    accepted, refused = [], 0

    async def come():
        nonlocal refused
        with suppress(AssertionError, ConnectionError):
            accepted.append(await open_websocket(proxy.address))
            return
        refused += 1

    highest = 0.0

    async def watch(*, task_status):
        nonlocal highest
        task_status.started()
        while True:
            seen = await proxy.status()
            highest = max(highest, seen["connections"], seen["tunnels"])
            await trio.sleep(0.01)

    async with trio.open_nursery() as watching:
        await watching.start(watch)
        async with trio.open_nursery() as coming:
            for _ in range(100):
                coming.start_soon(come)
        watching.cancel_scope.cancel()
    print(f"limit 25: {len(accepted)} accepted, {refused} refused, at most {highest:g} at once")  # noqa: T201
    assert len(accepted) <= 25 and highest <= 25
    assert len(accepted) + refused == 100
    # Refused at the edge were at most those who came at the same moment; there is room for the rest now.
    while len(accepted) < 25:
        accepted.append(await open_websocket(proxy.address))
    active = (await proxy.metrics()).by("upstream", "upstream_active")
    assert max(active.values()) - min(active.values()) <= 4
    for end in accepted:
        await end.http.stream.aclose()
    await proxy.stop()


async def test_an_upstreams_limit_is_never_exceeded(programs):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(
        programs,
        settings([{"address": server.address, "max_connections": 10}], server={"workers": 4}),
    )
    statuses = []

    async def come():
        end = None
        with suppress(AssertionError):
            end = await open_websocket(proxy.address)
        statuses.append(end)

    async with trio.open_nursery() as coming:
        for _ in range(60):
            coming.start_soon(come)
    opened = [end for end in statuses if end is not None]
    status = await proxy.status()
    print(f"limit 10 of an upstream: {len(opened)} of 60 tunnels")  # noqa: T201
    assert len(opened) <= 10 and status["pools"][0]["upstreams"][0]["active"] == len(opened)
    for end in opened:
        await end.http.stream.aclose()
    await proxy.stop()


@pytest.mark.parametrize("workers", [2, 4])
async def test_least_connections_is_exact_to_within_the_number_of_workers(programs, workers):
    proxy = await echo_behind(programs, workers=workers, servers=3, pool={"balance": "least-connections"})
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(150))
        got = shares(tunnels)
        print(f"{workers} workers, 150 tunnels at once: {dict(got)}")  # noqa: T201
        assert len(got) == 3 and max(got.values()) - min(got.values()) <= workers
        for number in range(150, 160):  # one after the other there is nobody to race with
            await open_tunnels([number])
    await proxy.stop()


async def test_a_drain_of_several_workers_closes_politely_and_exits_0(programs):
    proxy = await echo_behind(programs, drain={"lame_duck": 0.5, "spread": 1.0, "timeout": 20})
    pids = [one["pid"] for one in await processes(proxy)]
    moments: list[float] = []
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(100))
        start = trio.current_time()
        proxy.terminate()
        await proxy.logged("drain")
        await proxy.ask_admin("/readyz", status=503)
        late = await open_tunnels([100])  # a lame duck still accepts
        await each([*tunnels, *late], partial(leave_when_asked, code=1001, moments=moments))
        assert_each_in_its_turn(moments, start + 0.5, 1.0, WORKERS)
        assert await proxy.program.wait() == 0
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(OSError):
        await dial(proxy.address)


async def test_the_deadline_of_a_drain_cuts_in_every_worker(programs):
    proxy = await echo_behind(programs, workers=2, drain={"spread": 0, "timeout": 1})
    async with load_on(proxy.address) as open_tunnels:
        await open_tunnels(range(10))
        proxy.terminate()
        assert await proxy.program.wait() == 0


async def test_a_second_signal_cuts_every_worker_and_exits_1(programs):
    proxy = await echo_behind(programs, workers=2, drain={"spread": 60, "timeout": 120})
    pids = [one["pid"] for one in await processes(proxy)]
    async with load_on(proxy.address) as open_tunnels:
        await open_tunnels(range(20))
        proxy.terminate()
        await proxy.logged("drain")
        proxy.terminate()
        assert await proxy.program.wait() == 1
    assert not any(alive(pid) for pid in pids)


async def test_signals_for_the_whole_group_are_the_supervisors_alone(programs):
    proxy = await echo_behind(programs, workers=2)
    for one in await processes(proxy):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(one["pid"], number)
    end = await open_websocket(proxy.address)
    async with end.http.stream:
        assert await end.echo(b"hello") == b"hello"
    assert (await proxy.metrics()).total("worker_restarts_total") == 0
    await proxy.stop()


async def test_what_the_supervisor_finds_out_of_upstreams_reaches_every_worker(programs):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(
        programs,
        settings(
            [server.address], server={"workers": 3}, health={"probe": "tcp", "interval": 1, "timeout": 1, "fall": 1}
        ),
    )
    server.kill()
    await proxy.wait_for_state(server.address, "down")
    # Nobody tries it any more: each worker answers at once, whichever is asked.
    for _ in range(12):
        answer = await ask(proxy.address, get_request("/", "Connection: close", host=proxy.address))
        assert answer.status == 503
    seen = await proxy.metrics()
    assert seen.total("connect_failures_total") == 0
    await proxy.stop()


async def test_reloads_cut_and_refuse_nothing_in_any_worker(programs):  # noqa: C901 - a story
    server = await run_server(programs, "fast_echo.py")
    more = free_address()

    def tables(number):
        made = settings(
            [{"address": server.address, "weight": 1 + number % 3}],
            server={"workers": WORKERS, "drain": {"spread": 0.5, "timeout": 20}},
            pool={"balance": ("round-robin", "least-connections")[number % 2]},
        )
        if number % 2:
            made["listeners"].append({"name": "more", "address": more})
        return made

    proxy = await run_proxy(programs, tables(0))
    before = await processes(proxy)
    async with load_on(proxy.address) as open_tunnels:
        tunnels = await open_tunnels(range(90))
        stop, asked = trio.Event(), 0

        async def talk(tunnel):
            while not stop.is_set():
                await tunnel.burst(3)
                await trio.sleep(0.1)

        async def ask_on():
            nonlocal asked
            while not stop.is_set():
                assert (await ask(proxy.address, get_request("/", "Connection: close"))).status == 200
                asked += 1
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            for tunnel in tunnels:
                nursery.start_soon(talk, tunnel)
            nursery.start_soon(ask_on)
            for number in range(1, 21):
                await proxy.reload(tables(number))
                if number % 2:
                    await greet(more, 6)
            stop.set()
        seen = await proxy.metrics()
        print(f"20 reloads of {WORKERS} workers beside 90 tunnels and {asked} requests")  # noqa: T201
        assert seen.total("config_reloads_total", result="applied") == 20
        assert seen.total("worker_restarts_total") == seen.total("endings_total", reason="removed") == 0
        assert await processes(proxy) == before
        # A new worker knows the configuration of now; and what its tunnels' route leads to no more, all workers close.
        os.kill(before[0]["pid"], signal.SIGKILL)
        await serving_again(proxy, before[0])
        left = [tunnel for tunnel in tunnels if not await is_cut(tunnel)]
        changed = tables(0)
        changed["routes"] = [{"name": "all", "path": "/elsewhere", "pool": "backend"}]
        await proxy.reload(changed)
        assert (await proxy.logged("reload", tunnels_closing=len(left)))["result"] == "applied"
        for tunnel in left:
            assert (await tunnel.end.receive()).close_code == 1012
            await tunnel.end.send(CLOSE, close_payload(1012))
    await proxy.stop()


async def greet(address, times):
    for end in [await open_websocket(address) for _ in range(times)]:
        async with end.http.stream:
            assert await end.echo(b"more") == b"more"
            await end.send(CLOSE, close_payload(1000))
            assert (await end.receive()).close_code == 1000


async def is_cut(tunnel):
    """Whether it went with its worker; what was sent to it before has all been read."""
    try:
        await tunnel.burst(1)
    except (AssertionError, ConnectionError, trio.BrokenResourceError):
        return True
    return False


async def test_sockets_that_are_no_ports_of_ours_are_shared_by_all_workers(programs):
    server = await run_server(programs, "fast_echo.py")
    path = programs.folder / "public"
    with socket.create_server(("127.0.0.1", 0)) as passed:
        tables = settings([server.address], server={"workers": 2}, listener={"address": "fd:web"})
        tables["listeners"].append({"name": "local", "address": f"unix:{path}"})
        proxy = await run_proxy(programs, tables, sockets={"web": passed.fileno()})
    victim = (await processes(proxy))[0]
    for turn in range(2):
        for address in proxy.addresses["public"], proxy.addresses["local"]:
            for _ in range(6):
                end = await open_websocket(address)
                async with end.http.stream:
                    assert await end.echo(b"hello") == b"hello"
        if not turn:
            await kill(victim)  # the other one takes all
    await serving_again(proxy, victim)
    await proxy.stop()
    assert not await trio.Path(path).exists()
