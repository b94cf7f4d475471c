"""Waiting for what another process does: the one place of the tests that polls.

Everything inside one Trio run waits for events instead.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

POLL_SECONDS = 0.02  # a foreign process sends no event when its memory, counters or ports change: look again this often
PATIENCE_SECONDS = 60.0  # a guard against hanging for ever, not a measurement


async def wait_until(
    condition: Callable[[], T | Awaitable[T]], what: str = "the condition", *, seconds: float = PATIENCE_SECONDS
) -> T:
    """The first true value of `condition`, which may be async; an AssertionError naming `what` after `seconds`."""
    last: Any = None
    with trio.move_on_after(seconds):
        while True:
            value = condition()
            last = await value if inspect.isawaitable(value) else value
            if last:
                return last
            await trio.sleep(POLL_SECONDS)
    raise AssertionError(f"{what}: not within {seconds} s; last seen: {last!r}")


async def wait_until_still(value: Callable[[], int], what: str, *, looks: int = 25) -> int:
    """`value()` once it has not changed over `looks` looks in a row: how a blocked sender is told from a slow one."""
    seen: list[int] = []

    def still() -> bool:
        seen.append(value())
        return len(seen) > looks and len(set(seen[-looks:])) == 1

    await wait_until(still, f"{what} stands still")
    return seen[-1]
