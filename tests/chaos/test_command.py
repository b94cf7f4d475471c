"""A scenario from its name to its verdicts."""

import os
import resource
import signal
import threading

import attrs
import pytest

from trioproxy.chaos.command import ChaosError, _asked, carry_out
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.proxies import Trioproxy
from trioproxy.chaos.records import Comparison, Outcome
from trioproxy.chaos.scenario import LoadConfig, Scenario, UpstreamsConfig

SHORT = Scenario(duration=0.5, load=LoadConfig(clients=2, ramp=0.1), expect={"handshake_success": 1, "max_tunnels": 1})


def test_a_run_has_a_verdict_on_everything_expected(monkeypatch):
    loads, raised = [], []

    async def watch(load):
        loads.append(load)
        os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr("resource.setrlimit", lambda *limits: raised.append(limits))
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        result = carry_out(SHORT, seed=5, say=lambda _: None, watch=watch)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert raised == [(resource.RLIMIT_NOFILE, (4096, 4096))]
    assert [(verdict.name, verdict.held) for verdict in result.verdicts] == [
        ("handshake_success", True),
        ("max_tunnels", False),
    ]
    assert not result.passed
    assert (result.seed, result.outcome.exit_status, len(loads)) == (5, 0, 1)


def test_whether_metrics_agree_is_not_asked_of_another_proxy_that_has_none():
    scenario = attrs.evolve(SHORT, expect={"tunnels": 1, "disagreements": 0, "max_disagreements": 0})
    silent = Outcome(duration=1.0, tunnels=())
    telling = attrs.evolve(silent, comparisons=(Comparison(what="tunnels", proxy=1, least=1, most=1),))
    assert list(_asked(scenario, silent, Trioproxy)) == ["tunnels"]
    for outcome, make in ((telling, Trioproxy), (silent, None)):
        assert _asked(scenario, outcome, make) == scenario.expect


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_that_was_started(number, request):
    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(number)
    request.addfinalizer(lambda: signal.signal(number, before))
    signal.signal(number, signal.SIG_DFL)  # under nohup the tests ignore SIGHUP

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
