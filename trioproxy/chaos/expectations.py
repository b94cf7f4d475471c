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

    @property
    def measure(self) -> str:
        """The name of what was measured."""
        return _measure(self.name)

    @property
    def sign(self) -> str:
        """How it is to stand to what is wanted: "<=", ">=" or "="."""
        return _SIGNS[self.name.removesuffix(self.measure)]

    def __str__(self) -> str:
        word, unit = "met" if self.held else "NOT MET", MEASURES[self.measure].unit
        return f"{word}: {self.measure} {self.sign} {self.wanted:g}, measured {self.measured:.4g} {unit}".rstrip()


def _measure(name: str) -> str:
    return name[4:] if name[:4] in _SIGNS else name


def judge(expected: Mapping[str, float], outcome: Outcome) -> Sequence[Verdict]:
    """A verdict on each expectation, in their order."""
    return [Verdict(name, wanted, MEASURES[_measure(name)].of(outcome)) for name, wanted in expected.items()]
