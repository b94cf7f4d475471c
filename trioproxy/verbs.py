"""Chaos verbs, the faults that an operator injects into a running proxy: what an order says, and whom it strikes.

Pure. Carrying one out is `injecting`'s work; that and for how long it is on, `injections`'.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

LONGEST_SECONDS: Final = 3600.0  # that any of them lasts: what is forgotten ends by itself
RESET: Final = 0  # in the place of a status


class Verb(StrEnum):
    """What is done: the `verb` label of the metrics, and the log's `verb` and `injected`."""

    CLOSE = "close"  # open tunnels are closed, with a Close frame
    BLACKHOLE = "blackhole"  # open tunnels are neither read nor passed on
    REFUSE = "refuse"  # upgrades are refused, as though by the upstream


@attrs.frozen(kw_only=True)
class Order:
    """What an operator wants done to one upstream; times are seconds, `seconds` those it takes."""

    verb: Verb
    pool: str
    upstream: str
    share: float  # of its tunnels, or of its upgrades
    seconds: float
    seed: int
    code: int = 0  # of the Close frames; `close` alone
    status: int = RESET  # that refused upgrades are answered; `refuse` alone
    asked_by: str = ""  # the address of whoever did


def chosen(among: Sequence[T], share: float, seed: int) -> list[T]:
    """So many of them as the share is, to the nearest whole number and at least one, in their order.

    The same places for the same number of them, share and seed.
    """
    count = min(len(among), max(1, int(share * len(among) + 0.5)))
    places = Random(seed).sample(range(len(among)), count)  # noqa: S311 - no secret
    return [among[place] for place in sorted(places)]


@attrs.define(eq=False)
class Refusal:
    """Upgrades refused in an upstream's name: each with a chance of `share`, the draws being those of the seed."""

    share: float
    status: int  # RESET: as though it had reset the connection
    _draws: Random

    def strikes(self) -> bool:
        """Draw for the next upgrade."""
        return self._draws.random() < self.share


@attrs.define(eq=False)
class Injection:
    """An order that is being carried out; `until` and `before` are the clock and the counter of whoever does."""

    number: int
    order: Order
    until: float  # by itself
    tunnels: int = 0  # that were chosen
    among: int = 0  # how many of
    before: float = 0  # upgrades that had been refused so when it began

    def describe(self, now: float, refused: float) -> dict[str, Any]:
        """For the API; `refused` is what the counter of refused upgrades says now."""
        order = self.order
        found: dict[str, Any] = {
            "id": self.number,
            "verb": order.verb.value,
            "pool": order.pool,
            "upstream": order.upstream,
            "share": order.share,
            "seed": order.seed,
            "seconds": order.seconds,
            "remaining_seconds": round(max(0.0, self.until - now), 3),
            "asked_by": order.asked_by,
        }
        if order.verb is Verb.REFUSE:
            status = "reset" if order.status == RESET else order.status
            return {**found, "status": status, "handshakes": int(refused - self.before)}
        code = {"code": order.code} if order.verb is Verb.CLOSE else {}
        return {**found, **code, "tunnels": self.tunnels, "of": self.among}
