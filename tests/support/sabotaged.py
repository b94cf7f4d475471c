"""trioproxy with something broken on purpose: `python -m support.sabotaged NAME[,NAME...] run -c FILE`.

Each sabotage is a function of `sabotage` that replaces one thing of the program, in this process and in its workers,
which are started by this module, too. Which scenario has to notice which is written in `chaos/test_library`.
"""

from __future__ import annotations

import functools
import os
import sys
from types import FunctionType

from support.processes import ROOT
from support.sabotage import running, tunnels, upstreams

from trioproxy import cli, slots, supervisor, worker

SABOTAGES = {
    name.replace("_", "-"): function
    for module in (upstreams, tunnels, running)
    for name, function in vars(module).items()
    if isinstance(function, FunctionType) and function.__module__ == module.__name__ and not name.startswith("_")
}
WORKER = "worker"


def command(*names):
    """What starts a proxy with these sabotages; `run -c FILE` comes behind it."""
    found = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return ["env", f"PYTHONPATH={found}", sys.executable, "-P", "-m", "support.sabotaged", ",".join(names)]


def main():
    wanted = sys.argv.pop(1).split(",")
    for name in wanted:
        SABOTAGES[name]()
    supervisor.Slot = functools.partial(slots.Slot, command=[*command(*wanted), WORKER])
    if sys.argv[1] == WORKER:
        del sys.argv[1]
        worker.main()
    else:
        cli.main()


if __name__ == "__main__":
    main()
