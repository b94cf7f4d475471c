"""What a scenario asks of its run, and whether it holds.

Pure. `max_` and `min_` before the name of a measure bound it, the name alone says what it must be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.chaos.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trioproxy.chaos.records import Outcome

_SIGNS: Final = {"max_": "<=", "min_": ">=", "": "="}

EXPECTATIONS: Final = tuple(sign + name for name in MEASURES for sign in _SIGNS)


@attrs.frozen
class Verdict:
    """One expectation and what was measured."""

    name: str
    wanted: float
    measured: float

    @property
    def held(self) -> bool:
        """Whether it is met; what could not be measured (nan) is not."""
        if self.name.startswith("max_"):
            return self.measured <= self.wanted
        if self.name.startswith("min_"):
            return self.measured >= self.wanted
        return self.measured == self.wanted

    def __str__(self) -> str:
        unit = MEASURES[_measure(self.name)].unit
        sign = _SIGNS[self.name[: len(self.name) - len(_measure(self.name))]]
        word = "met" if self.held else "NOT MET"
        return f"{word}: {_measure(self.name)} {sign} {self.wanted:g}, measured {self.measured:.4g} {unit}".rstrip()


def _measure(name: str) -> str:
    return name[4:] if name[:4] in _SIGNS else name


def judge(expected: Mapping[str, float], outcome: Outcome) -> Sequence[Verdict]:
    """A verdict on each expectation, in their order."""
    return [Verdict(name, wanted, MEASURES[_measure(name)].of(outcome)) for name, wanted in expected.items()]
