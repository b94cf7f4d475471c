"""The same seed, the same timeline of faults and the same load, in whichever process."""

import ast
import os
import subprocess
import sys

import pytest

from trioproxy.chaos.scenario_file import shipped

TELL = """
import sys
from trioproxy.chaos.load import arrivals, planned
from trioproxy.chaos.scenario_file import load_scenario, shipped
from trioproxy.chaos.timeline import spans

told = {}
for name in shipped():
    scenario, seed = load_scenario(name), int(sys.argv[1])
    names = [f"{client}-{count}" for client in range(scenario.load.clients) for count in range(5)]
    told[name] = (
        [str(span) for span in spans(scenario, scenario.upstreams.count, seed)],
        list(map(repr, arrivals(scenario.load, seed))),
        [repr(planned(scenario.load, seed, name)) for name in names],
    )
print(told)
"""


def told(seed, hash_seed):
    """Of every scenario: its timeline, when its clients come, and what is left to chance of their tunnels."""
    environ = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run([sys.executable, "-c", TELL, str(seed)], env=environ, capture_output=True, check=True)
    return ast.literal_eval(done.stdout.decode())


@pytest.fixture(scope="module")
def seven():
    return told(7, 1)


def test_the_same_seed_gives_the_same_timeline_and_load_in_another_process(seven):
    assert seven.keys() == shipped().keys()
    assert told(7, 2) == seven


def test_another_seed_gives_another_load_to_all_and_other_faults_where_they_are_picked(seven):
    others = [told(seed, 1) for seed in (8, 9, 10)]
    for name, (timeline, _, plans) in seven.items():
        assert all(plans != other[name][2] for other in others), name
        assert any(timeline != other[name][0] for other in others) is ("pick = " in shipped()[name]), name
