"""A scenario from its name to its verdicts: what `trioproxy chaos` does.

What is shown of it is `report`'s; the command itself is `cli`'s.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.proxies import COMMAND, ProxyError, Trioproxy
from trioproxy.chaos.runner import nobody_watches, run
from trioproxy.chaos.running import running_proxy
from trioproxy.chaos.servers import ServerError
from trioproxy.remote import RemoteError
from trioproxy.transport import raise_descriptor_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from trioproxy.chaos.expectations import Verdict
    from trioproxy.chaos.load import Load
    from trioproxy.chaos.proxies import UnderTest
    from trioproxy.chaos.records import Outcome
    from trioproxy.chaos.scenario import Scenario

    Make = Callable[[Path, Mapping[str, Any]], UnderTest]  # a proxy with a folder of its own and a scenario's settings


_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChaosError(Exception):
    """A run that could not be made: something did not start, or could not be told what the scenario says.

    `interrupted`: somebody wanted it to end.
    """

    def __init__(self, message: str, *, interrupted: bool = False) -> None:
        super().__init__(message)
        self.interrupted = interrupted


@attrs.frozen(repr=False)
class Result:
    """A run, and what was expected of it."""

    scenario: Scenario
    seed: int
    outcome: Outcome
    verdicts: Sequence[Verdict]

    @property
    def passed(self) -> bool:
        """Whether all that was expected holds."""
        return all(verdict.held for verdict in self.verdicts)

    def __repr__(self) -> str:
        """With each expectation that is not met: where tests fail, this is what they show."""
        unmet = [str(verdict) for verdict in self.verdicts if not verdict.held]
        return f"<seed {self.seed}: {'; '.join(unmet) or 'all met'}>"


def carry_out(
    scenario: Scenario,
    *,
    seed: int,
    say: Callable[[str], None],
    watch: Callable[[Load], Awaitable[None]] = nobody_watches,
    command: Sequence[str] = COMMAND,
    make: Make | None = None,
) -> Result:
    """Run a scenario against the proxy that it names, a trioproxy started with `command`, or what `make` makes; blocks.

    Raises ChaosError, in one line.
    """
    raise_descriptor_limit()  # a client takes three: its own, and both sides of a hop
    with tempfile.TemporaryDirectory(prefix="trioproxy-chaos-") as folder:
        try:
            if scenario.proxy.address and make is None:
                proxy: UnderTest = running_proxy(scenario)
            else:
                proxy = (make or partial(Trioproxy, command=command))(Path(folder), scenario.proxy.settings)
            outcome = trio.run(_until_told, lambda: run(scenario, proxy, seed=seed, say=say, watch=watch))
        except BaseExceptionGroup as group:
            failures, others = group.split((ServerError, ProxyError, RemoteError))
            if failures is None or others is not None:
                raise
            raise ChaosError("; ".join(dict.fromkeys(map(str, _leaves(failures))))) from None
        except (ServerError, ProxyError, RemoteError) as error:
            raise ChaosError(str(error)) from None
    if outcome is None:
        raise ChaosError("interrupted: everything that was started has been ended", interrupted=True)
    return Result(scenario, seed, outcome, judge(_asked(scenario, outcome, make), outcome))


def _asked(scenario: Scenario, outcome: Outcome, make: Make | None) -> Mapping[str, float]:
    """What is expected of this proxy: of one of `make`, whose metrics may tell nothing, not that they agree."""
    told = make is None or outcome.comparisons
    return {name: wanted for name, wanted in scenario.expect.items() if told or not name.endswith("disagreements")}


async def _until_told(make: Callable[[], Awaitable[Outcome]]) -> Outcome | None:
    """The outcome; None where a signal to end came before, which must not leave processes behind."""
    if threading.current_thread() is not threading.main_thread():
        return await make()  # signals are the main thread's
    outcome = None
    # SIGHUP: a terminal that is gone; not where nohup has it ignored.
    wanted = [each for each in _ENDING if signal.getsignal(each) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*wanted) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_by, signals, nursery.cancel_scope)
            outcome = await make()
            nursery.cancel_scope.cancel()
    return outcome


async def _cancel_by(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
