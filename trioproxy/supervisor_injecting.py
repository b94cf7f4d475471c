"""Chaos verbs with several workers: each is told, and carries out what concerns the tunnels that it has.

What is done is decided in `injections`, done in `injecting`; how workers are asked is `slots`' work.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioproxy.control_messages import Ask
from trioproxy.injecting import PREFIX
from trioproxy.slots import ask_all

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trioproxy.slots import Slot


@attrs.define(eq=False)
class WorkersHands:
    """What `injecting.Hands` is to one process, to several. Of workers that stand still nothing is waited for long."""

    _slots: Sequence[Slot]
    _refusing: dict[tuple[str, str], tuple[float, dict[str, Any]]] = attrs.field(factory=dict, init=False)

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
        order = {"pool": pool, "address": address, "share": share, "status": status, "seed": seed}
        self._refusing[pool, address] = trio.current_time() + seconds, order
        await self._ask("refuse", **order, seconds=seconds)

    async def stop(self) -> None:
        """See `Hands`."""
        self._refusing.clear()
        await self._ask("stop")

    def began(self, slot: Slot) -> None:
        """Its worker is a new one, and has to know which upgrades to refuse."""
        now = trio.current_time()
        self._refusing = {name: each for name, each in self._refusing.items() if each[0] > now}
        for until, order in self._refusing.values():
            slot.question(partial(_refuse, {**order, "seconds": until - now}))

    async def _ask(self, what: str, **arguments: Any) -> list[Any]:
        answers = await ask_all(self._slots, PREFIX + what, **arguments)
        return [answer.result for answer in answers if not answer.refusal]


def _refuse(arguments: dict[str, Any], number: int) -> Ask:
    return Ask(number, f"{PREFIX}refuse", arguments)
