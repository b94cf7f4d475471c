"""A scenario from its name to its verdicts."""

import os
import signal
import threading

import attrs
import pytest

from trioproxy.chaos.command import ChaosError, carry_out
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.scenario import LoadConfig, Scenario, UpstreamsConfig

SHORT = Scenario(duration=0.5, load=LoadConfig(clients=2, ramp=0.1), expect={"handshake_success": 1, "max_tunnels": 1})


def test_a_run_has_a_verdict_on_everything_expected():
    loads = []

    async def watch(load):
        loads.append(load)

    result = carry_out(SHORT, seed=5, say=lambda _: None, watch=watch)
    assert [(verdict.name, verdict.held) for verdict in result.verdicts] == [
        ("handshake_success", True),
        ("max_tunnels", False),
    ]
    assert not result.passed
    assert (result.seed, result.outcome.exit_status, len(loads)) == (5, 0, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"upstreams": UpstreamsConfig(command=("no-such-program",))}, "no-such-program: No such file or directory"),
        ({"faults": (FAULTS["worker-kill"](),)}, "there are no worker processes"),
    ],
)
def test_what_does_not_start_is_said_in_a_line(changes, words):
    with pytest.raises(ChaosError, match=words) as caught:
        carry_out(attrs.evolve(SHORT, **changes), seed=1, say=lambda _: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_that_was_started(number):
    assert threading.current_thread() is threading.main_thread()

    async def strike(_):
        os.kill(os.getpid(), number)

    with pytest.raises(ChaosError, match="interrupted"):
        carry_out(
            attrs.evolve(SHORT, duration=600.0),
            seed=1,
            say=lambda _: None,
            watch=strike,
        )
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
