"""The scenarios that ship, against the real proxy, as short as they can be; all of them only where there is time."""

import os

import pytest

from trioproxy.chaos.command import carry_out
from trioproxy.chaos.scenario_file import load_scenario, shipped

LENGTH = float(os.environ.get("TRIOPROXY_CHAOS", "0"))
ALWAYS = ("bad-deploy", "drain-under-load", "reload-under-load")


@pytest.mark.parametrize("name", shipped())
def test_what_a_scenario_expects_holds(name):
    if not LENGTH and name not in ALWAYS:
        pytest.skip("all of them take minutes: .ci/full does, or TRIOPROXY_CHAOS=1 (their length)")
    scenario = load_scenario(name).stretched(LENGTH or 0.3)
    result = carry_out(scenario, seed=scenario.seed, say=print)
    assert [str(verdict) for verdict in result.verdicts if not verdict.held] == []
