"""`trioproxy chaos`: run a fault scenario and say what was lost."""

from __future__ import annotations

import json
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from trioproxy._version import __version__
from trioproxy.chaos.beside import versions
from trioproxy.chaos.command import ChaosError, carry_out
from trioproxy.chaos.peers.kinds import KINDS
from trioproxy.chaos.report import About, document, junit, page, summary, verdict_lines
from trioproxy.chaos.scenario_file import load_scenario, scenario_text, shipped
from trioproxy.cli import FAILED, ConfigProblems
from trioproxy.cli._chaos.beside import ALL, Wanted, beside, refuse_running
from trioproxy.cli._chaos.showing import Silent, showing
from trioproxy.config_file import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.command import Make, Result
    from trioproxy.chaos.scenario import Scenario


FILE: Final = click.Path(dir_okay=False)


def _in_a_folder(_context: click.Context, _parameter: click.Parameter, path: str | None) -> str | None:
    """A file that is written when a run is over: better to know before that it cannot be."""
    if path is None:
        return None
    if not (folder := Path(path).parent).is_dir():
        raise click.BadParameter(f"there is no folder {folder}")
    if not os.access(path if Path(path).exists() else folder, os.W_OK):
        raise click.BadParameter(f"{path} may not be written")
    return path


@click.command()
@click.argument("scenario", required=False)
@click.option("--list", "wants_list", is_flag=True, help="Name the scenarios that come with trioproxy.")
@click.option("--all", "wants_all", is_flag=True, help="Run all of those, one after the other.")
@click.option(
    "--proxy",
    "proxies",
    type=click.Choice([*KINDS, ALL]),
    multiple=True,
    help="Run against this proxy; several make a table of what each lost.  [default: trioproxy]",
)
@click.option("--seed", type=click.IntRange(0), help="Of everything left to chance.  [default: the scenario's]")
@click.option(
    "--length",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    help="Multiply the times of load and faults.",
    show_default=True,
)
@click.option("--json", "json_path", type=FILE, callback=_in_a_folder, help="Write all that was seen to this file.")
@click.option("--html", "html_path", type=FILE, callback=_in_a_folder, help="Write a report for browsers to this file.")
@click.option("--markdown", "markdown_path", type=FILE, callback=_in_a_folder, help="Write the table as Markdown.")
@click.option("--junit", "junit_path", type=FILE, callback=_in_a_folder, help="Write the expectations as JUnit XML.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but whether each expectation is met.")
def chaos(
    *,
    scenario: str | None,
    wants_list: bool,
    wants_all: bool,
    proxies: Sequence[str],
    seed: int | None,
    length: float,
    json_path: str | None,
    html_path: str | None,
    markdown_path: str | None,
    junit_path: str | None,
    quiet: bool,
) -> int:
    """Run a fault SCENARIO, a file or the name of one that ships: load, faults, and what was lost.

    The exit status is 0 where all that the scenario expects holds, else 1; in tables where it holds for trioproxy.
    """
    if wants_list:
        return _list()
    if (scenario is None) is not wants_all:
        raise click.UsageError("which scenario? --list names those that come with trioproxy, --all runs them.")
    one_run = len(proxies) <= 1 and ALL not in proxies and not (wants_all or markdown_path)
    if (html_path or junit_path) and not one_run:
        raise click.UsageError("--html and --junit are for one run: no --all, no --markdown, one --proxy at most.")
    if scenario is None or markdown_path or (proxies and not (html_path or junit_path)):
        scenarios = {Path(name).stem: _load(name, length) for name in ([scenario] if scenario else shipped())}
        return _compare(Wanted(scenarios, proxies, seed, length, json_path, markdown_path, quiet))
    wanted = _load(scenario, length)
    if proxies:
        refuse_running(Path(scenario).stem, wanted)
    source = scenario_text(scenario)
    again = _again(scenario, proxies, seed, length)
    seed = wanted.seed if seed is None else seed
    if not quiet:
        click.echo(f"{wanted.title}\n{wanted.duration:g} s of load, seed {seed}")
    shown = Silent() if quiet else showing(wanted, seed)
    begun, clock = time.monotonic(), time.strftime("%Y-%m-%d %H:%M:%S %z")
    try:
        which, make = _proxy(wanted, proxies)
        result = carry_out(wanted, seed=seed, say=shown.say, watch=shown.watch, make=make)
    except ChaosError as error:
        raise click.ClickException(str(error)) from None
    lines = verdict_lines(result.verdicts) if quiet else summary(result.outcome, result.verdicts)
    click.echo("\n".join(lines))
    about = About(
        name=Path(scenario).stem,
        title=wanted.title,
        seed=seed,
        source=source,
        proxy=which,
        command=again,
        begun=clock,
    )
    _write(about, result, time.monotonic() - begun, json_path, html_path, junit_path)
    return 0 if result.passed else FAILED


def _write(
    about: About, result: Result, took: float, json_path: str | None, html_path: str | None, junit_path: str | None
) -> None:
    """The reports that are asked for."""
    outcome, verdicts = result.outcome, result.verdicts
    if json_path:
        told = document(about.title, about.seed, outcome, verdicts)
        Path(json_path).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    if html_path:
        Path(html_path).write_text(page(about, outcome, verdicts), "utf-8")
    if junit_path:
        Path(junit_path).write_text(junit(about.name, took, verdicts), "utf-8")


def _proxy(scenario: Scenario, names: Sequence[str]) -> tuple[str, Make | None]:
    """Which proxy it is, in words, and how it is made; None for the one that is there anyway. Raises ChaosError."""
    if names:
        kind = KINDS[names[0]]
        return f"{kind.name} {versions([kind])[kind.name]}", kind.make
    address = scenario.proxy.address
    return f"at {address}" if address else f"trioproxy {__version__}", None


def _again(scenario: str, proxies: Sequence[str], seed: int | None, length: float) -> str:
    """The command that makes the same run."""
    options = [word for name in proxies for word in ("--proxy", name)]
    options += [] if seed is None else ["--seed", str(seed)]
    options += [] if length == 1 else ["--length", f"{length:g}"]
    return shlex.join(["trioproxy", "chaos", scenario, *options])


def _list() -> int:
    for name in shipped():
        click.echo(f"{name:20} {load_scenario(name).title}")
    return 0


def _compare(wanted: Wanted) -> int:
    try:
        return beside(wanted)
    except ChaosError as error:
        raise click.ClickException(str(error)) from None


def _load(name: str, length: float) -> Scenario:
    try:
        return load_scenario(name).stretched(length)
    except ConfigError as error:
        raise ConfigProblems(str(error)) from None
