"""When which fault begins and ends, for which upstreams: the same for the same scenario and seed.

Pure: `runner` follows it.
"""

from __future__ import annotations

from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.faults import Fault
    from trioproxy.chaos.scenario import Scenario


@attrs.frozen
class Span:
    """One time that a fault is on; seconds from the beginning of the load, `end` at most that of the load."""

    begin: float
    end: float
    upstreams: tuple[int, ...]
    fault: Fault

    @property
    def name(self) -> str:
        """Of the fault."""
        return self.fault.name

    def __str__(self) -> str:
        where = f" of {', '.join(map(str, self.upstreams))}" if self.upstreams else ""
        return f"{self.begin:7.2f} s to {self.end:7.2f} s  {self.name}{where}"


def spans(scenario: Scenario, upstreams: int, seed: int) -> Sequence[Span]:
    """Every span in the order of their beginnings; what would begin behind the end of the load is left out."""
    found = []
    for number, fault in enumerate(scenario.faults):
        random = Random(f"{seed} fault {number}")
        for time in range(fault.times):
            begin = fault.at + time * fault.every
            to_the_next = fault.every if time + 1 < fault.times else scenario.duration
            end = min(begin + (fault.lasts or to_the_next), scenario.duration)
            concerned = list(fault.upstreams or range(upstreams))
            if fault.pick:
                concerned = sorted(random.sample(concerned, min(fault.pick, len(concerned))))
            if begin < scenario.duration:
                found.append(Span(begin, end, tuple(concerned), fault))
    return sorted(found, key=attrgetter("begin"))
