"""Brings what happens in a run, and how it stands, to the command's output while the run goes on.

On a terminal a few lines are drawn again and again, below what has happened; anywhere else a line says it now and then.
What they say is `view`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import attrs
import click
import trio
from rich.console import Console, Group
from rich.live import Live

from trioproxy.chaos.timeline import spans
from trioproxy.cli._chaos.tally import Tally
from trioproxy.cli._chaos.view import progress, progress_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.load import Load
    from trioproxy.chaos.scenario import Scenario

_DRAW_SECONDS: Final = 0.25
_LINES: Final = 10  # of a run's progress, where there is no terminal


class Showing(Protocol):
    """What a run is told to; see `chaos.runner.run`."""

    def say(self, line: str) -> None:
        """Something happened."""
        ...

    async def watch(self, load: Load) -> None:
        """Show how it stands, until cancelled."""
        ...


def showing(scenario: Scenario, seed: int) -> Showing:
    """The way that fits where standard output goes."""
    console = Console(highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Drawn(scenario, seed, console)
    return Written(scenario, seed)


@attrs.define(eq=False)
class Silent:
    """Nothing is shown."""

    def say(self, line: str) -> None:
        """See `Showing`."""

    async def watch(self, load: Load) -> None:
        """See `Showing`."""


@attrs.define(eq=False)
class Written:
    """Line by line, for a file or a pipe."""

    scenario: Scenario
    seed: int

    def say(self, line: str) -> None:
        """See `Showing`."""
        click.echo(line)

    async def watch(self, load: Load) -> None:
        """See `Showing`: after each tenth of the load but the last."""
        tally = _tally(self.scenario, self.seed, load)
        for tenth in range(1, _LINES):
            await trio.sleep_until(load.start + load.duration * tenth / _LINES)
            click.echo(progress_line(tally.look(load.now)))


@attrs.define(eq=False)
class Drawn:
    """In place, on a terminal, which is written to by a thread: one that takes its time must not hold up the load."""

    scenario: Scenario
    seed: int
    console: Console
    _said: list[str] = attrs.field(factory=list, init=False)  # since it was last drawn

    def say(self, line: str) -> None:
        """See `Showing`."""
        self._said.append(line)

    async def watch(self, load: Load) -> None:
        """See `Showing`. The terminal is as it was before when this ends, however it does."""
        tally = _tally(self.scenario, self.seed, load)
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            try:
                while True:
                    lines = progress(tally.look(load.now), *self.console.size)
                    await trio.to_thread.run_sync(self._draw, live, self._taken(), Group(*lines))
                    await trio.sleep(_DRAW_SECONDS)
            finally:
                self._draw(live, self._taken(), Group())

    def _taken(self) -> Sequence[str]:
        said, self._said = self._said, []
        return said

    def _draw(self, live: Live, said: Sequence[str], lines: Group) -> None:
        for line in said:
            self.console.print(line, markup=False, no_wrap=True, overflow="ellipsis", crop=True)
        live.update(lines, refresh=True)


def _tally(scenario: Scenario, seed: int, load: Load) -> Tally:
    upstreams = scenario.upstreams.number
    return Tally(load.tunnels, load.duration, spans(scenario, upstreams, seed), upstreams)
