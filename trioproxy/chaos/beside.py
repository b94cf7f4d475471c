"""The same scenarios against several proxies, one after the other: the same upstreams, load and faults for each.

How a proxy is configured and commanded stands in `peers`; the tables are `report`'s.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from trioproxy.chaos.command import ChaosError, Result, carry_out
from trioproxy.chaos.peers.kinds import OURS
from trioproxy.chaos.proxies import ProxyError
from trioproxy.chaos.report.document import document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trioproxy.chaos.expectations import Verdict
    from trioproxy.chaos.peers.kinds import Kind
    from trioproxy.chaos.scenario import Scenario


@attrs.frozen
class Entry:
    """One scenario against one proxy: what came of it, or why nothing could."""

    proxy: str
    result: Result | None = None
    lacks: str = ""  # it has no means for a fault of the scenario, and why
    failed: str = ""  # the run could not be made
    remarks: Sequence[str] = ()  # what of the scenario's settings it does not do as asked

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """On what is asked of this proxy; none where there was no run."""
        return self.result.verdicts if self.result else ()


@attrs.frozen
class Row:
    """One scenario against all of them, in their order."""

    name: str
    title: str
    entries: Sequence[Entry]


@attrs.frozen
class Table:
    """A whole run: what was run where, and what came of it."""

    length: float
    versions: Mapping[str, str]
    machine: str
    rows: Sequence[Row]

    @property
    def passed(self) -> bool:
        """Whether trioproxy meets all that is expected of it; true where it did not take part."""
        ours = [entry for row in self.rows for entry in row.entries if entry.proxy == OURS]
        return all(entry.result is not None and entry.result.passed for entry in ours)


def versions(kinds: Sequence[Kind]) -> Mapping[str, str]:
    """Of each proxy; blocks. Raises ChaosError where one is not installed."""
    try:
        return {kind.name: kind.version() for kind in kinds}
    except ProxyError as error:
        raise ChaosError(str(error)) from None


def against_each(name: str, scenario: Scenario, kinds: Sequence[Kind], *, seed: int, say: Callable[[str], None]) -> Row:
    """One scenario against each of these proxies, with nothing of the one left when the next begins; blocks."""
    entries = []
    for kind in kinds:
        say(f"{name}: {kind.name}")
        entries.append(_against(scenario, kind, seed, say))
    return Row(name, scenario.title, entries)


def _against(scenario: Scenario, kind: Kind, seed: int, say: Callable[[str], None]) -> Entry:
    settings = scenario.proxy.settings
    if lacks := {kind.lacks[fault.name] for fault in scenario.faults if fault.name in kind.lacks}:
        return Entry(kind.name, lacks="; ".join(sorted(lacks)))
    try:
        remarks = kind.remarks(settings)
        result = carry_out(scenario, seed=seed, say=say, make=kind.make)
    except (ChaosError, ProxyError) as error:
        if isinstance(error, ChaosError) and error.interrupted:
            raise
        return Entry(kind.name, failed=str(error))
    return Entry(kind.name, result, remarks=remarks)


def machine() -> str:
    """What a run was made on, in a line."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    processor = " ".join(found[1].split()) if found else platform.machine()
    return f"{os.cpu_count()} x {processor}, Linux {platform.release()}, Python {platform.python_version()}"


def as_document(table: Table) -> dict[str, Any]:
    """All of it for programs: of each scenario and proxy the document of a single run, or why there is none."""
    return {
        "format": 1,
        "passed": table.passed,
        "length": table.length,
        "machine": table.machine,
        "versions": dict(table.versions),
        "scenarios": {row.name: {entry.proxy: _entry(row, entry) for entry in row.entries} for row in table.rows},
    }


def _entry(row: Row, entry: Entry) -> dict[str, Any]:
    if entry.result is None:
        return {"lacks": entry.lacks} if entry.lacks else {"failed": entry.failed}
    told = document(row.title, entry.result.seed, entry.result.outcome, entry.result.verdicts)
    return {**told, "remarks": list(entry.remarks)}
