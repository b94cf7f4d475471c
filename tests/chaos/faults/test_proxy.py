"""Faults and orders of the proxy: what of it is asked for."""

import signal
import subprocess
import sys
from random import Random

import attrs
import pytest

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.runner import Stage


@attrs.define
class AskedProxy:
    """A proxy that notes what is asked of it."""

    asked: list = attrs.field(factory=list)
    pids: tuple = ()

    def workers(self):
        return self.pids

    def ports(self, worker):
        return {worker}

    async def reload(self, changes):
        self.asked.append(("reload", changes))

    async def drain_upstream(self, number):
        self.asked.append(("drain", number))

    async def resume_upstream(self, number):
        self.asked.append(("resume", number))

    async def inject(self, number, verb, settings):
        seed = settings.pop("seed")
        assert 0 <= seed < 2**31
        self.asked.append((verb, number, settings))

    async def stop_injecting(self):
        self.asked.append("stop")

    async def replace(self):
        self.asked.append("replace")

    def limit_descriptors(self, spare):
        self.asked.append(("descriptors", spare))


@attrs.define
class AskedHop:
    harms: list = attrs.field(factory=list)

    def harm(self, ports=None):
        self.harms.append(ports)


@pytest.mark.parametrize(
    ("name", "settings", "asked", "harms"),
    [
        ("reload", {"settings": {"a": 1}}, [("reload", {"a": 1})], [[], []]),
        ("drain-upstream", {}, [("drain", 1), ("resume", 1)], [[], [None]]),
        (
            "inject-close",
            {"share": 0.5, "code": 4000, "spread": 2.0},
            [("close", 1, {"share": 0.5, "code": 4000, "spread": 2.0})],
            [[], [None]],
        ),
        ("inject-blackhole", {"lasts": 4.0}, [("blackhole", 1, {"share": 1.0, "seconds": 4.0})], [[], [None]]),
        ("inject-blackhole", {}, [("blackhole", 1, {"share": 1.0, "seconds": 3600.0}), "stop"], [[], [None]]),
        ("inject-refuse", {"lasts": 4.0}, [("refuse", 1, {"share": 1.0, "seconds": 4.0, "status": 503})], [[], []]),
        (
            "inject-refuse",
            {"status": 0},
            [("refuse", 1, {"share": 1.0, "seconds": 3600.0, "status": "reset"}), "stop"],
            [[], []],
        ),
        ("replace", {}, ["replace"], [[None], [None]]),
        ("descriptors", {"spare": 3}, [("descriptors", 3), ("descriptors", None)], [[], []]),
    ],
)
async def test_what_is_asked_of_the_proxy_and_whom_it_harms(name, settings, asked, harms):
    stage = Stage([AskedHop(), AskedHop()], [], AskedProxy(), Random(1))
    fault = FAULTS[name](**settings)
    await fault.begin(stage, [1])
    await fault.end(stage, [1])
    assert stage.proxy.asked == asked
    assert [hop.harms for hop in stage.hops] == harms


def waiting_process():
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


async def test_one_worker_is_killed_and_its_tunnels_are_harmed():
    workers = [waiting_process() for _ in range(2)]
    try:
        stage = Stage([AskedHop()], [], AskedProxy(pids=tuple(worker.pid for worker in workers)), Random(1))
        await FAULTS["worker-kill"]().begin(stage, [])
        chosen = Random(1).randrange(2)
        assert workers[chosen].wait() == -signal.SIGKILL
        assert workers[1 - chosen].poll() is None
        assert stage.hops[0].harms == [{workers[chosen].pid}]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
