"""What other projects may use, and a scenario from their tests."""

import asyncio
import subprocess
import sys

import pytest
from support.processes import ROOT

from trioproxy.chaos import testing
from trioproxy.chaos.faults import NETWORK, WEBSOCKET
from trioproxy.chaos.testing import ChaosError, ConfigError, chaos_run

SHORT = {"duration": 0.3, "upstreams": {"count": 1}, "load": {"clients": 1, "ramp": 0.1}}


def test_every_fault_of_connections_is_there():
    for fault in (*NETWORK, *WEBSOCKET):
        assert getattr(testing, fault.__name__) is fault
        assert fault.__name__ in testing.__all__
    assert all(hasattr(testing, name) for name in testing.__all__)


def test_a_file_with_changes_says_what_held(tmp_path):
    (tmp_path / "mine.toml").write_text("seed = 3\n[expect]\nhandshake_success = 1\nmax_tunnels = 0\n")
    result = chaos_run("mine.toml", folder=tmp_path, say=lambda _: None, **SHORT)
    assert not result.passed
    assert repr(result) == "<seed 3: NOT MET: tunnels <= 0, measured 1>"
    assert (result.scenario.upstreams.count, result.scenario.duration, len(result.outcome.tunnels)) == (1, 0.3, 1)


def test_one_that_ships_in_a_thread_beside_an_event_loop():
    async def use():
        return await asyncio.to_thread(chaos_run, "kill-one", seed=9, length=0.5, faults=[], expect={}, **SHORT)

    result = asyncio.run(use())
    assert result.passed
    assert (result.seed, result.scenario.duration, repr(result)) == (9, 0.15, "<seed 9: all met>")


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"durations": 1}, r"did you mean duration\?"), ({"faults": [{"fault": "x"}]}, "expected one of|expected")],
)
def test_what_is_wrong_is_said_as_of_a_file(settings, words):
    with pytest.raises(ConfigError, match=words):
        chaos_run("kill-one", **settings)
    with pytest.raises(ConfigError, match=r"no-such-file\.toml: cannot be read"):
        chaos_run("no-such-file.toml")


def test_what_cannot_be_run_is_said():
    with pytest.raises(ChaosError, match="no-such-program"):
        chaos_run("kill-one", upstreams={"command": ["no-such-program"]}, say=lambda _: None)


async def test_under_trio_it_says_where_it_can_run():
    with pytest.raises(RuntimeError, match="to_thread"):
        chaos_run("kill-one")


def test_the_command_line_loads_nothing_of_it():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, trioproxy.cli, trioproxy.cli.chaos; print(*sys.modules)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.split()
    assert "trioproxy.chaos.command" in loaded
    assert not {"trioproxy.chaos.testing", "trioproxy.chaos.stands", "pytest"} & set(loaded)
