"""What is done once a second: publish tunnels' counts and what the process uses, close idle upstream connections.

That the counter in its cell goes on is how the supervisor knows that a worker is alive; judging that is its own work.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy import metrics as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from trioproxy.context import Context

TICK: Final = 1.0  # seconds
HEARTBEAT: Final = "heartbeat"  # the series of the board that counts the ticks of this process; no metric


async def keep_house(context: Context, published: Callable[[], None] | None = None) -> None:
    """Run until cancelled; `published` is called each time everything is up to date."""
    publish = _Publisher(context)
    context.metrics.add_refresher(publish.counts)
    heartbeat = context.metrics.private_tally(HEARTBEAT)
    while True:
        due = trio.current_time() + TICK
        await trio.sleep_until(due)
        heartbeat.claim()
        context.metrics.observe(m.EVENT_LOOP_LAG, (context.name,), max(0.0, trio.current_time() - due))
        await context.publish_tunnels()
        publish.counts()
        publish.usage()
        for idle in context.idle.values():
            idle.sweep()
        if published is not None:
            published()


@attrs.define(eq=False)
class _Publisher:
    """Carries to the board what is counted elsewhere, as differences, so that what a dead worker counted stays."""

    context: Context
    _dropped: int = attrs.field(default=0, init=False)
    _cpu: int = attrs.field(default=0, init=False)  # microseconds

    def counts(self) -> None:
        metrics = self.context.metrics
        dropped = self.context.log.dropped
        metrics.inc(m.LOG_LINES_DROPPED, (), dropped - self._dropped)
        self._dropped = dropped

    def usage(self) -> None:
        metrics, labels = self.context.metrics, (self.context.name,)
        cpu = time.process_time_ns() // 1000
        metrics.inc(m.WORKER_CPU, labels, cpu - self._cpu)
        self._cpu = cpu
        metrics.set(m.WORKER_MEMORY, labels, metrics.process.resident())
        metrics.set(m.WORKER_DESCRIPTORS, labels, metrics.process.descriptors())


def tune_collector() -> None:
    """Have the cyclic collector run seldom, and never over what was there when this was called.

    By default it looks at all living tunnels after every 700 new objects: a tenth of the CPU of a burst of handshakes
    (`bench`, handshake-2000). What ended tunnels leave in cycles, some eight objects each, waits: 10 MiB at most.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
