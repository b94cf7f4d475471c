"""Faults in the tests of other projects: everything they may use, in one place, with or without pytest.

    from trioproxy.chaos.testing import Latency, chaos_hop

    with chaos_hop("127.0.0.1:3000") as hop:
        connect(hop.address)
        with hop.fault(Latency(delay=0.5)):
            ...

The fixtures of the same names are `pytest_plugin`'s; how faults work is `faults`' and `hop`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from trioproxy.chaos.command import ChaosError, Result, carry_out
from trioproxy.chaos.faults.base import ConnectionFault
from trioproxy.chaos.faults.network import (
    Bandwidth,
    Blackhole,
    Corrupt,
    HalfClose,
    HalfOpen,
    Latency,
    Refuse,
    Reset,
    Slicer,
    SlowClose,
)
from trioproxy.chaos.faults.websocket import (
    Close,
    CutInFrame,
    Flood,
    Malformed,
    NoPongs,
    Oversized,
    RefuseUpgrade,
    Silent,
    WrongAccept,
)
from trioproxy.chaos.proxies import as_toml, laid_over
from trioproxy.chaos.scenario_file import parse_scenario, shipped
from trioproxy.chaos.stands import ChaosHop, ChaosProxy, chaos_hop, chaos_proxy
from trioproxy.config_file import ConfigError, parse_toml, read_text

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = [
    "Bandwidth",
    "Blackhole",
    "ChaosError",
    "ChaosHop",
    "ChaosProxy",
    "Close",
    "ConfigError",
    "ConnectionFault",
    "Corrupt",
    "CutInFrame",
    "Flood",
    "HalfClose",
    "HalfOpen",
    "Latency",
    "Malformed",
    "NoPongs",
    "Oversized",
    "Refuse",
    "RefuseUpgrade",
    "Reset",
    "Result",
    "Silent",
    "Slicer",
    "SlowClose",
    "WrongAccept",
    "chaos_hop",
    "chaos_proxy",
    "chaos_run",
]


def chaos_run(
    scenario: str | os.PathLike[str],
    *,
    seed: int | None = None,
    length: float = 1.0,
    folder: str | os.PathLike[str] = ".",
    say: Callable[[str], None] = print,
    **overrides: Any,
) -> Result:
    """Run a scenario as `trioproxy chaos` does, with processes of its own; blocks for as long as its load lasts.

    `scenario` is a file, relative to `folder`, or the name of one that ships. `overrides` are tables and keys of it,
    laid over what it says: `load={"clients": 3}`. `seed` is the scenario's unless given, `length` multiplies the times
    of load and faults, `say` is told what happens when. The result says what held: `assert result.passed` names what
    did not.

    In a thread, too, so that servers of this process's event loop can be its upstreams. Ctrl-C ends all that was
    started. Raises ConfigError for a scenario that is wrong, ChaosError for one that cannot be run, KeyboardInterrupt.
    """
    if trio.lowlevel.in_trio_run():
        raise RuntimeError("chaos_run blocks: under Trio, use await trio.to_thread.run_sync(chaos_run, ...)")
    text, filename = shipped().get(str(scenario)), f"{scenario}.toml"
    if text is None:
        text, filename = read_text(Path(folder, scenario)), str(scenario)
    if overrides:
        text = as_toml(laid_over(parse_toml(text, filename), overrides))
    wanted = parse_scenario(text, filename).stretched(length)
    try:
        return carry_out(wanted, seed=wanted.seed if seed is None else seed, say=say)
    except ChaosError as error:
        if error.interrupted:
            raise KeyboardInterrupt from None
        raise
