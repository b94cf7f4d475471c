"""`trioproxy chaos` with several proxies, or all scenarios: what is printed, written and returned.

The runs are `chaos.beside`'s, the tables `chaos.report`'s.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from trioproxy.chaos.beside import Table, against_each, as_document, machine, versions
from trioproxy.chaos.peers.kinds import KINDS, OURS
from trioproxy.chaos.peers.settings import usual
from trioproxy.chaos.report.table import lines, markdown, overview
from trioproxy.cli import FAILED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trioproxy.chaos.scenario import Scenario

ALL: Final = "all"
BEGIN: Final = "<!-- table: begin -->"
END: Final = "<!-- table: end -->"


@attrs.frozen
class Wanted:
    """What is run, and where it is written."""

    scenarios: Mapping[str, Scenario]  # by name, as long as they are to be
    proxies: Sequence[str]
    seed: int | None  # None: each scenario's own
    length: float
    json_path: str | None
    markdown_path: str | None
    quiet: bool  # the tables alone


def beside(wanted: Wanted) -> int:
    """Run them all and show the tables; the exit status is trioproxy's alone. Raises ChaosError, ClickException."""
    say: Callable[[str], None] = _nothing if wanted.quiet else click.echo
    for name, scenario in wanted.scenarios.items():
        refuse_running(name, scenario)
    names = list(KINDS) if ALL in wanted.proxies else list(dict.fromkeys(wanted.proxies)) or [OURS]
    kinds = [KINDS[name] for name in names]
    told = versions(kinds)
    for kind in kinds:
        say(f"{kind.name} {told[kind.name]}" + "".join(f"\n    {why}" for why in kind.remarks(usual())))
    written = None if wanted.markdown_path is None else _frame(Path(wanted.markdown_path))
    rows = []
    for name, scenario in wanted.scenarios.items():
        seed = scenario.seed if wanted.seed is None else wanted.seed
        rows.append(against_each(name, scenario, kinds, seed=seed, say=say))
        click.echo("\n" + "\n".join(lines(rows[-1])) + "\n")
    table = Table(wanted.length, told, machine(), rows)
    if len(rows) > 1:
        click.echo("\n".join(overview(table)))
    if wanted.json_path:
        Path(wanted.json_path).write_text(json.dumps(as_document(table), indent=1) + "\n", "utf-8")
    if wanted.markdown_path and written:
        Path(wanted.markdown_path).write_text(markdown(table).join(written), "utf-8")
    return 0 if table.passed else FAILED


def refuse_running(name: str, scenario: Scenario) -> None:
    """Raises UsageError for a scenario that is of one proxy alone."""
    if scenario.proxy.address:
        raise click.UsageError(f"{name} names a proxy that runs already: it cannot be compared with others.")


def _nothing(line: str) -> None:
    """Of what happens, for who wants the tables alone."""


def _frame(path: Path) -> tuple[str, str]:
    """What stands before and behind the table in a file, both empty where there is none yet."""
    if not path.exists():
        return "", ""
    before, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not (begin and end):
        raise click.ClickException(f"{path}: has no lines {BEGIN} and {END} for the table to stand between")
    return f"{before}{BEGIN}\n", f"{END}{behind}"
