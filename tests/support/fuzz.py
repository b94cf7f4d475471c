"""How many generated examples a test looks at: a few in the usual run, many where the environment asks for them.

TRIOPROXY_FUZZ multiplies them; TRIOPROXY_FUZZ_EXAMPLES says the number for the tests marked `fuzz`, whose examples are
exchanges through a whole proxy.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import trio
from hypothesis import HealthCheck, given, settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypothesis.strategies import SearchStrategy

FACTOR = int(os.environ.get("TRIOPROXY_FUZZ", "1"))
DEEP = int(os.environ.get("TRIOPROXY_FUZZ_EXAMPLES", "0"))

TOLD_EVERY = 5000


def examples(count, **more):
    """Hypothesis settings for `count` examples, times the factor; without a deadline, as machines are noisy."""
    return settings(max_examples=count * FACTOR, deadline=None, **more)


def exchanges(count, **more):
    """Hypothesis settings for `count` examples, or as many as TRIOPROXY_FUZZ_EXAMPLES says: for tests marked `fuzz`."""
    return settings(max_examples=DEEP or count, deadline=None, **more)


async def try_each(strategy: SearchStrategy, count: int, exercise: Callable[..., Awaitable[None]]) -> None:
    """Give `exercise` one generated value after the other, in this Trio run, so that they can share what runs in it.

    `count` of them, or as many as TRIOPROXY_FUZZ_EXAMPLES says.
    """
    done = itertools.count(1)
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]

    @exchanges(count, suppress_health_check=quiet, report_multiple_bugs=False)
    @given(strategy)
    def run(value):
        trio.from_thread.run(exercise, value)
        if (tried := next(done)) % TOLD_EVERY == 0:
            print(f"{tried} examples", flush=True)  # noqa: T201 -- for who runs it deep, with -s

    await trio.to_thread.run_sync(run)
