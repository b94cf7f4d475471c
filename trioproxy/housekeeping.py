"""What is done once a second: publish tunnels' counts, close idle upstream connections, take the loop's lag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trioproxy import metrics as m

if TYPE_CHECKING:
    from trioproxy.context import Context

TICK: Final = 1.0  # seconds
WORKER: Final = "0"  # there is one so far


async def keep_house(context: Context) -> None:
    """Run until cancelled."""
    while True:
        due = trio.current_time() + TICK
        await trio.sleep_until(due)
        context.metrics.observe(m.EVENT_LOOP_LAG, (WORKER,), max(0.0, trio.current_time() - due))
        context.publish_tunnels()
        for idle in context.idle.values():
            idle.sweep()
