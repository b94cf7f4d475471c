"""The same scenario against several proxies; those that cannot be run at all, and one that is real."""

import math
from types import MappingProxyType

import pytest

from trioproxy.chaos.beside import Entry, Row, Table, against_each, as_document, machine, versions
from trioproxy.chaos.command import ChaosError, Result
from trioproxy.chaos.expectations import judge
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.peers.kinds import KINDS, OURS, Kind
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.records import Outcome
from trioproxy.chaos.scenario import LoadConfig, ProxyConfig, Scenario

SHORT = Scenario(
    title="Words",
    duration=0.3,
    load=LoadConfig(clients=1, ramp=0.0),
    proxy=ProxyConfig(settings={"websocket": {"strict": False}}),
    faults=(FAULTS["worker-kill"](at=9.0),),
    expect={"handshake_success": 1, "disagreements": 0},
)


def missing():
    raise ProxyError("it is not installed: apt install it")


def cannot_start(folder, settings):
    assert (folder.is_dir(), settings) == (True, SHORT.proxy.settings)
    raise ProxyError("it has no hands")


THREADS = Kind("threads", cannot_start, missing, MappingProxyType({"worker-kill": "it has none"}))
BROKEN = Kind("broken", cannot_start, lambda: "1.2.3", remarks=lambda settings: [f"strict is {settings['websocket']}"])


def result(**expect):
    outcome = Outcome(duration=1.0, tunnels=())
    return Result(SHORT, 1, outcome, judge(expect, outcome))


def test_each_is_run_in_its_turn_and_what_one_cannot_do_is_said():
    said = []
    row = against_each("short", SHORT, [KINDS[OURS], THREADS, BROKEN], seed=3, say=said.append)
    ours, threads, broken = row.entries
    assert said == ["short: trioproxy", "short: threads", "short: broken"]
    assert [verdict.held for verdict in ours.verdicts] == [True, True]
    assert ours.result.seed == 3
    assert (threads.lacks, threads.verdicts) == ("it has none", ())
    assert broken.failed == "it has no hands"
    assert as_document(Table(1.0, {}, "a machine", [row]))["scenarios"]["short"]["threads"] == {"lacks": "it has none"}


def test_a_missing_program_is_told_before_anything_is_run():
    assert versions([BROKEN]) == {"broken": "1.2.3"}
    with pytest.raises(ChaosError, match="not installed: apt install it"):
        versions([BROKEN, THREADS])


def test_the_exit_status_is_trioproxy_s_alone():
    good, bad = result(tunnels=0), result(tunnels=9)

    def passed(*entries):
        return Table(1.0, {}, "", [Row("a", "A", entries)]).passed

    assert passed(Entry(OURS, good), Entry("nginx", bad), Entry("envoy", failed="no hands"))
    assert passed(Entry("nginx", bad))
    assert not passed(Entry(OURS, bad), Entry("nginx", good))
    assert not passed(Entry(OURS, failed="no hands"))


def test_all_of_it_is_told_to_programs():
    entries = [Entry("a", result(tunnels=0), remarks=("no probes",)), Entry("b", failed="no hands")]
    told = as_document(Table(0.5, {"a": "1.0", "b": "2.0"}, "a machine", [Row("s", "Words", entries)]))
    assert (told["format"], told["length"], told["machine"], told["versions"]["b"]) == (1, 0.5, "a machine", "2.0")
    assert told["scenarios"]["s"]["b"] == {"failed": "no hands"}
    one = told["scenarios"]["s"]["a"]
    assert (one["title"], one["remarks"], one["expectations"][0]["held"]) == ("Words", ["no probes"], True)


def test_the_machine_is_told_in_a_line():
    assert "Linux" in machine()
    assert "\n" not in machine()
    assert not math.isnan(len(machine()))
