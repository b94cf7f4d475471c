"""Chaos verbs with several workers: each is told, and carries out what concerns the tunnels that it has.

What is done is decided in `injections`, done in `injecting`; how workers are asked is `slots`' work.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs

from trioproxy.control_messages import Ask
from trioproxy.injecting import PREFIX
from trioproxy.slots import ask_all

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from trioproxy.slots import Slot
    from trioproxy.verbs import Order


@attrs.define(eq=False)
class WorkersHands:
    """What `injecting.Hands` is to one process, to several. Of workers that stand still nothing is waited for long."""

    _slots: Sequence[Slot]

    async def tunnels(self, pool: str, address: str) -> list[str]:
        """Worker by worker, in each as they opened."""
        return list(chain.from_iterable(await self._ask("tunnels", pool=pool, address=address)))

    async def close(self, ids: Collection[str], code: int, seconds: float) -> int:
        """See `Hands`; over all workers."""
        return sum(await self._ask("close", ids=list(ids), code=code, seconds=seconds))

    async def blackhole(self, ids: Collection[str], seconds: float) -> int:
        """See `Hands`; over all workers."""
        return sum(await self._ask("blackhole", ids=list(ids), seconds=seconds))

    async def refuse(self, pool: str, address: str, share: float, status: int, seed: int, seconds: float) -> None:
        """See `Hands`; each worker draws for its own upgrades."""
        await self._ask("refuse", **_refusal(pool, address, share, status, seed, seconds))

    async def stop(self) -> None:
        """See `Hands`."""
        await self._ask("stop")

    def began(self, slot: Slot, refusals: Iterable[tuple[Order, float]]) -> None:
        """Its worker is a new one, and has to know which upgrades to refuse, and for how many seconds."""
        for order, seconds in refusals:
            arguments = _refusal(order.pool, order.upstream, order.share, order.status, order.seed, seconds)
            slot.question(partial(_refuse, arguments))

    async def _ask(self, what: str, **arguments: Any) -> list[Any]:
        answers = await ask_all(self._slots, PREFIX + what, **arguments)
        return [answer.result for answer in answers if not answer.refusal]


def _refusal(pool: str, address: str, share: float, status: int, seed: int, seconds: float) -> dict[str, Any]:
    return {"pool": pool, "address": address, "share": share, "status": status, "seed": seed, "seconds": seconds}


def _refuse(arguments: dict[str, Any], number: int) -> Ask:
    return Ask(number, f"{PREFIX}refuse", arguments)
