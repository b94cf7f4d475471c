"""`trioproxy status` on a running proxy."""

from __future__ import annotations

import json
import time

from support.commands import commanded

from trioproxy._version import __version__
from trioproxy.cli.status import _row, _words
from trioproxy.upstreams import LastProbe


async def test_it_shows_listeners_and_upstreams_in_columns(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        head, _, listeners, listener, _, columns, upstream = (await proxy.tell("status")).splitlines()
    assert head.startswith(f"trioproxy {__version__}, running, up ")
    assert head.endswith(" s: 1 connection, 1 tunnel")
    assert listeners.split() == ["listener", "address", "active"]
    assert listener.split() == ["l0", proxy.proxy.listeners[0].address, "1"]
    assert columns.split() == ["pool", "upstream", "state", "active", "tunnels", "total", "weight", "last", "probe"]
    assert upstream.split() == ["backend", proxy.upstream.address, "up", "1", "1", "1", "1"]
    for name in ("upstream", "state"):
        assert upstream[columns.index(name) - 1] == " " and upstream[columns.index(name)] != " "


def test_it_says_which_listener_has_tls():
    listeners = [
        {"name": name, "address": "0.0.0.0:1", "tls": name == "secure", "active": 1} for name in ("a", "secure")
    ]
    status = {"version": "1", "state": "running", "uptime_seconds": 1, "workers": 1, "connections": 0, "tunnels": 0}
    lines = _words({**status, "listeners": listeners, "pools": []}).splitlines()
    assert [line.split()[1:] for line in lines[3:5]] == [["0.0.0.0:1", "1"], ["0.0.0.0:1", "(TLS)", "1"]]


async def test_a_drain_is_told_with_its_deadline(tmp_path):
    async with commanded(tmp_path) as proxy:
        await proxy.open()
        proxy.upstream.drain(100)
        assert " draining, cut in 1 min " in await proxy.tell("status")


async def test_an_ejection_is_told_with_its_end(tmp_path):
    async with commanded(tmp_path) as proxy:
        proxy.upstream.eject(100)
        assert " ejected, back in 1 min " in await proxy.tell("status")


async def test_where_faults_may_be_injected_it_says_so_and_how_many_are_on(tmp_path):
    async with commanded(tmp_path, chaos=True) as proxy:
        assert (await proxy.tell("status")).splitlines()[0].endswith("; chaos is allowed, 0 faults on")
        await proxy.tell("fault", "refuse", "backend", proxy.upstream.address, "--share", "1", "--seconds", "60")
        assert (await proxy.tell("status")).splitlines()[0].endswith("; chaos is allowed, 1 fault on")


async def test_as_json_it_is_the_document_of_the_api(tmp_path):
    async with commanded(tmp_path) as proxy:
        told = json.loads(await proxy.tell("status", "--json"))
        expected = await proxy.proxy.control.status()
    assert told.pop("uptime_seconds") <= expected.pop("uptime_seconds")
    assert told == expected


def test_of_several_workers_each_is_told():
    processes = [
        {"worker": 0, "pid": 4711, "serving": True, "restarts": 0},
        {"worker": 1, "pid": 4712, "serving": False, "restarts": 12},
        {"worker": 2, "pid": None, "serving": False, "restarts": 3},
    ]
    counts = {"connections": 0, "tunnels": 0, "listeners": [], "pools": []}
    told = _words({"version": "1", "state": "running", "uptime_seconds": 1, **counts, "processes": processes})
    assert told.split("\n\n")[1].splitlines() == [
        "worker   pid  state     restarts",
        "0       4711  serving          0",
        "1       4712  starting        12",
        "2             gone             3",
    ]


def row(**changed):
    upstream = {
        "address": "10.0.0.1:80",
        "state": "up",
        "health": "up",
        "drain": None,
        "weight": 1,
        "backup": False,
        "active": 2,
        "tunnels": 1,
        "tunnels_total": 1234567,
        "last_probe": None,
    }
    return _row({"name": "chat"}, {**upstream, **changed})


def test_numbers_are_written_out():
    assert row() == ("chat", "10.0.0.1:80", "up", "2", "1", "1234567", "1", "")


def test_a_backup_is_marked():
    assert row(backup=True)[1] == "10.0.0.1:80 (backup)"


def test_a_drained_upstream_tells_the_health_it_would_come_back_with():
    drain = {"cut_in_seconds": 0}
    assert row(state="draining", drain=drain, active=0)[2] == "drained"
    assert row(state="draining", drain=drain, active=0, health="down")[2] == "drained (down)"
    assert row(state="draining", drain={"cut_in_seconds": 12.3})[2] == "draining, cut in 12 s"


def test_the_last_probe_is_told_with_its_age_and_why_it_failed():
    probe = LastProbe(time.time() - 100, "refused", 0.0012, "Connection refused")
    told = row(last_probe={name: getattr(probe, name) for name in ("when", "result", "seconds", "detail")})[-1]
    assert told == "refused 1 min 40 s ago, took 1.2 ms: Connection refused"
    fine = {"when": time.time() + 5, "result": "ok", "seconds": 0.5, "detail": ""}  # clocks may be set back
    assert row(last_probe=fine)[-1] == "ok 0.0 s ago, took 500.0 ms"
