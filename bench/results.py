"""What was measured: samples per case and peer, their medians, and the JSON they are kept in.

How they are shown is `table` and `picture`.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@attrs.frozen
class Spread:
    """The median of some rounds, with the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        ordered = sorted(values)
        return cls(statistics.median(ordered), ordered[0], ordered[-1])


@attrs.define(eq=False)
class Results:
    """Samples by case and peer, in the order they came; `about` describes machine, versions and settings."""

    about: dict[str, Any]
    titles: dict[str, str]
    samples: dict[str, dict[str, list[dict[str, float]]]] = attrs.field(factory=dict)
    errors: list[dict[str, str]] = attrs.field(factory=list)

    def add(self, case: str, peer: str, sample: dict[str, float]) -> None:
        self.samples.setdefault(case, {}).setdefault(peer, []).append(sample)

    def fail(self, case: str, peer: str, problem: str) -> None:
        self.samples.setdefault(case, {}).setdefault(peer, [])
        self.errors.append({"case": case, "peer": peer, "problem": problem})

    def spread(self, case: str, peer: str, figure: str) -> Spread | None:
        """None where nothing was measured."""
        found = [sample[figure] for sample in self.samples.get(case, {}).get(peer, []) if figure in sample]
        return Spread.of(found) if found else None

    def find(self, name: str) -> str | None:
        """The measured case of that name; a name that ends in "-" stands for the first that begins so."""
        if name.endswith("-"):
            return next((case for case in self.samples if case.startswith(name)), None)
        return name if name in self.samples else None

    def peers(self, case: str) -> list[str]:
        """The peers of a case in the order of `about["peers"]`, the direct connection first, others behind."""
        found = self.samples.get(case, {})
        order = ["direct", *self.about["peers"]]
        return [name for name in order if name in found] + [name for name in found if name not in order]

    def save(self, path: Path) -> None:
        document = attrs.asdict(self)
        document["medians"] = {
            case: {peer: self._medians(case, peer) for peer in self.peers(case)} for case in self.samples
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")

    def _medians(self, case: str, peer: str) -> dict[str, dict[str, float]]:
        figures = {figure for sample in self.samples[case][peer] for figure in sample}
        return {figure: attrs.asdict(self.spread(case, peer, figure)) for figure in sorted(figures)}  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Results:
        document = json.loads(path.read_text())
        return cls(document["about"], document["titles"], document["samples"], document["errors"])
