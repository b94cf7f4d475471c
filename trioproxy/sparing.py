"""Log lines that peers could cause by the thousand: one a second for each reason, and how many were left out.

What happened is counted where it does; here is only how seldom it is said.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from trioproxy.errors import Reason

LOG_SECONDS: Final = 1.0


@attrs.define(eq=False)
class Sparing:
    """Of one listener. What it remembers is bounded by the events and reasons there are."""

    # By event and reason: when it was last said, and how many were not since.
    _said: dict[tuple[str, Reason], tuple[float, int]] = attrs.field(factory=dict, init=False)

    def due(self, event: str, reason: Reason) -> int | None:
        """Whether to say it now, with how many of the same were not said since the last; None, and it is one of them.

        It is if nothing was said of that for `LOG_SECONDS`.
        """
        now = trio.current_time()
        said, since = self._said.get((event, reason), (-math.inf, 0))
        if now - said < LOG_SECONDS:
            self._said[event, reason] = (said, since + 1)
            return None
        self._said[event, reason] = (now, 0)
        return since
