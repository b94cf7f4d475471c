"""The settings of a scenario."""

import attrs

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.scenario import LoadConfig, Scenario


def test_a_stretched_scenario_has_longer_times_and_is_else_the_same():
    fault = FAULTS["latency"](at=2, lasts=3, every=4, times=2, delay=0.5)
    scenario = Scenario(
        duration=10, load=LoadConfig(ramp=1, lifetime=5, pause=0.1), faults=(fault,), expect={"p99_ms": 1}
    )
    longer = scenario.stretched(2)
    assert (longer.duration, longer.load.ramp, longer.load.lifetime, longer.load.pause) == (20, 2, 10, 0.1)
    (stretched,) = longer.faults
    assert attrs.asdict(stretched) == {**attrs.asdict(fault), "at": 4, "lasts": 6, "every": 8}
    assert longer.expect == scenario.expect


def test_what_a_fault_has_of_the_timeline_is_stretched_with_it():
    (stretched,) = Scenario(faults=(FAULTS["rolling-restart"](at=2, pause=1.5),)).stretched(0.5).faults
    assert (stretched.at, stretched.pause) == (1, 0.75)
