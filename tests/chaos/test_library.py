"""The scenarios that ship, against the real proxy and against one that is sabotaged: an expectation can fail.

All of them only where there is time: `.ci/run` gives them a step of their own, as they measure time.
"""

import os

import attrs
import pytest
from support import sabotaged

from trioproxy.chaos.command import carry_out
from trioproxy.chaos.proxies import COMMAND
from trioproxy.chaos.scenario_file import load_scenario, shipped

LENGTH = float(os.environ.get("TRIOPROXY_CHAOS", "0"))
SHORT = 0.35
ALWAYS = ("bad-deploy", "drain-under-load", "reload-under-load")

RUNS = 3  # of which one has to show what a sabotage does
# What breaks everywhere alike, and the expectations that have to notice it wherever they are made.
MANGLED = (
    *("dropped-messages", "duplicated-messages", "corrupted-messages", "reordered-messages"),
    *("miscount", "bug"),
)
OF_MANGLED = frozenset({
    *("lost_messages", "lost_messages_on_unharmed_tunnels"),
    *("duplicated_messages", "reordered_messages", "corrupted_messages"),
    *("disagreements", "proxy_errors", "unharmed_tunnels_ended"),
})  # fmt: skip


@attrs.frozen
class Sabotage:
    """A run against a proxy with these sabotages, and by which expectations of the scenario they are noticed."""

    scenario: str
    names: tuple[str, ...]
    noticed_by: frozenset[str] = attrs.field(converter=frozenset)
    mangled: bool = False

    @property
    def command(self):
        return sabotaged.command(*self.names, *(MANGLED if self.mangled else ()))

    @property
    def expectations(self):
        """All that must fail."""
        return self.noticed_by | (OF_MANGLED & set(load_scenario(self.scenario).expect) if self.mangled else set())

    def __str__(self):
        return "-".join((self.scenario, *self.names, *(("mangled",) if self.mangled else ())))


def by(*expectations):
    return expectations


SABOTAGED = (
    Sabotage(
        "bad-deploy",
        ("no-retry", "no-return", "slow-handshakes"),
        by("handshake_success", "max_return_seconds", "max_handshake_p99_ms"),
        mangled=True,
    ),
    Sabotage(
        "black-friday",
        ("no-retry", "no-return", "slow-handshakes"),
        by("handshake_success", "max_return_seconds", "max_failover_seconds"),
        mangled=True,
    ),
    Sabotage("broken-frames", ("no-goodbye",), by("max_cut_without_close")),
    Sabotage(
        "broken-frames",
        ("not-strict", "refused-handshakes", "slow-handshakes"),
        by("tunnels_with_invalid_frames", "handshake_success", "max_failover_seconds"),
        mangled=True,
    ),
    Sabotage("drain-under-load", ("no-spread", "drain-cuts"), by("cut_without_close", "max_ended_at_once")),
    Sabotage(
        "drain-under-load",
        ("no-drain", "refused-handshakes", "slow-handshakes"),
        by("tunnels_during_faults", "drained_tunnels_kept", "handshake_success", "max_failover_seconds"),
        mangled=True,
    ),
    Sabotage(
        "flapping", ("no-probe", "no-retry", "slow-handshakes"), by("handshake_success", "max_failover_seconds"), mangled=True
    ),
    Sabotage("half-open", ("no-pings", "no-goodbye"), by("max_silence_seconds", "cut_without_close")),
    Sabotage("half-open", ("no-probe",), by("handshake_success", "max_failover_seconds"), mangled=True),
    Sabotage("hang", ("no-probe",), by("max_handshake_p99_ms")),
    Sabotage("hang", ("no-return", "refused-handshakes"), by("max_return_seconds", "handshake_success"), mangled=True),
    Sabotage(
        "kill-all-and-return",
        ("no-balance", "slow-refusals", "no-goodbye"),
        by("min_least_share", "max_failed_handshake_seconds", "cut_without_close"),
    ),
    Sabotage("kill-all-and-return", ("no-return",), by("max_return_seconds"), mangled=True),
    Sabotage(
        "kill-one",
        ("no-retry", "no-return", "collateral"),
        by("handshake_success", "max_return_seconds", "unharmed_tunnels_ended", "cut_without_close"),
    ),
    Sabotage("kill-one", ("slow-handshakes",), by("max_failover_seconds"), mangled=True),
    Sabotage(
        "out-of-descriptors",
        ("deaf-after-shortage", "shortage-cuts"),
        by("max_failover_seconds", "min_tunnels", "unharmed_tunnels_ended"),
    ),
    Sabotage("out-of-descriptors", ("unlimited",), by("min_handshake_p99_ms"), mangled=True),
    Sabotage("partition", ("no-probe",), by("max_handshake_p99_ms")),
    Sabotage(
        "partition", ("no-return", "refused-handshakes"), by("max_return_seconds", "handshake_success"), mangled=True
    ),
    Sabotage(
        "reconnect-storm",
        ("no-balance", "overwhelmed", "no-goodbye"),
        by("handshake_success", "min_least_share", "cut_without_close"),
    ),
    Sabotage("reconnect-storm", ("slow-handshakes",), by("max_failover_seconds"), mangled=True),
    Sabotage(
        "reload-under-load",
        ("reload-cuts", "reload-forgets"),
        by("handshake_success", "cut_without_close", "unharmed_tunnels_ended"),
    ),
    Sabotage("reload-under-load", ("slow-handshakes",), by("max_handshake_p99_ms"), mangled=True),
    Sabotage("replace-under-load", ("drain-cuts", "no-spread"), by("cut_without_close", "max_ended_at_once")),
    Sabotage(
        "replace-under-load",
        ("cold-start", "slow-handshakes"),
        by("handshake_success", "max_failover_seconds"),
        mangled=True,
    ),
    Sabotage("rolling-restart", ("refused-handshakes", "swallowed-close"), by("handshake_success", "cut_without_close")),
    Sabotage("rolling-restart", ("slow-handshakes",), by("max_failover_seconds"), mangled=True),
    Sabotage("slow-upstream", ("slow-relay",), by("max_p99_ms")),
    Sabotage("slow-upstream", ("impatient",), by("handshake_success"), mangled=True),
    Sabotage("worker-crash", ("workers-die-together",), by("unharmed_tunnels_ended")),
    Sabotage(
        "worker-crash", ("worker-not-replaced",), by("handshake_success", "max_failover_seconds"), mangled=True
    ),
)  # fmt: skip


def verdicts(scenario, command, seed):
    """Of a run that is as long as is asked for."""
    return carry_out(scenario.stretched(LENGTH or SHORT), seed=seed, say=print, command=command).verdicts


@pytest.mark.parametrize("name", shipped())
def test_what_a_scenario_expects_holds(name):
    if not LENGTH and name not in ALWAYS:
        pytest.skip("all of them take minutes: .ci/run does, or TRIOPROXY_CHAOS=1 (their length)")
    scenario = load_scenario(name)
    found = verdicts(scenario, COMMAND, scenario.seed)
    assert [str(verdict) for verdict in found if not verdict.held] == []


@pytest.mark.parametrize("sabotage", SABOTAGED, ids=str)
def test_a_sabotaged_proxy_is_noticed(sabotage):
    if not LENGTH:
        pytest.skip("all of them take minutes: .ci/run does, or TRIOPROXY_CHAOS=1 (their length)")
    scenario = load_scenario(sabotage.scenario)
    if sabotage.mangled:  # what was dropped would be waited for in vain
        patience = min(scenario.load.patience, 3.0)
        scenario = attrs.evolve(scenario, load=attrs.evolve(scenario.load, patience=patience))
    missed = sabotage.expectations
    for seed in range(scenario.seed, scenario.seed + RUNS):  # with some seeds nobody comes while it would hurt
        if missed:
            missed &= {verdict.name for verdict in verdicts(scenario, sabotage.command, seed) if verdict.held}
    assert sorted(missed) == []


@pytest.mark.parametrize("name", shipped())
def test_every_expectation_has_a_sabotage_that_it_must_notice(name):
    noticing = [sabotage.expectations for sabotage in SABOTAGED if sabotage.scenario == name]
    assert sorted(set().union(*noticing)) == sorted(load_scenario(name).expect)


def test_every_sabotage_is_noticed_somewhere():
    assert {name for sabotage in SABOTAGED for name in sabotage.names} | {*MANGLED} == sabotaged.SABOTAGES.keys()
