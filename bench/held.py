"""trioproxy with a watch on its event loop: `python -m bench.held CONFIG`, talked with by lines on stdin and stdout.

Each empty line is answered with the longest turn of any task since the line before, in milliseconds. What is driven
meanwhile is `scrape`'s business.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time

import attrs
import trio

import trioproxy
from trioproxy.housekeeping import tune_collector

STDIN = 0


@attrs.define(eq=False)
class Watch(trio.abc.Instrument):
    """The longest turn so far: by the clock on the wall, and in processor time, which does not depend on others."""

    longest: float = 0.0
    longest_cpu: float = 0.0
    _since: int = 0
    _cpu: int = 0

    def before_task_step(self, _task: trio.lowlevel.Task) -> None:
        self._since, self._cpu = time.perf_counter_ns(), time.thread_time_ns()

    def after_task_step(self, _task: trio.lowlevel.Task) -> None:
        self.longest = max(self.longest, (time.perf_counter_ns() - self._since) / 1e6)
        self.longest_cpu = max(self.longest_cpu, (time.thread_time_ns() - self._cpu) / 1e6)

    def take(self) -> dict[str, float]:
        """What it saw since the last call."""
        taken = {"held_ms": self.longest, "held_cpu_ms": self.longest_cpu}
        self.longest = self.longest_cpu = 0.0
        return taken


async def main(config: str) -> None:
    """Serve until stdin ends."""
    watch = Watch()
    async with trioproxy.serve(trioproxy.load_config(config)):
        tune_collector()  # as `trioproxy run` does
        trio.lowlevel.add_instrument(watch)
        while True:
            await trio.lowlevel.wait_readable(STDIN)
            if not os.read(STDIN, 1):
                break
            print(json.dumps(watch.take()), flush=True)
        gc.unfreeze()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
