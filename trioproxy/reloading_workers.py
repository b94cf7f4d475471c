"""A new configuration for several workers: every one builds it first, then all are told to put it in force.

What one process does with it is `reloading`'s story; the supervisor is one of the processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy.control_messages import Abandon, Commit, Prepare
from trioproxy.reloading import ReloadError
from trioproxy.slots import RestartReason, text_for_workers
from trioproxy.transport import ListenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trioproxy.config import Config
    from trioproxy.context import Context
    from trioproxy.control_messages import UpstreamNews
    from trioproxy.listening import Listener
    from trioproxy.reloading import Prepared
    from trioproxy.sharing import Sharing
    from trioproxy.slots import Question, Slot

PREPARE_SECONDS: Final = 60.0  # that workers may take to build a new configuration


@attrs.define(eq=False)
class PreparedWorkers:
    """A configuration that all processes have built; `commit` or `abandon` ends it.

    `news` is what workers have to know of upstreams, called when those of the new configuration are in force.
    """

    _context: Context
    _slots: Sequence[Slot]
    _sharing: Sharing
    _own: Prepared
    _news: Callable[[], Iterable[UpstreamNews]]
    _committed: list[Question] = attrs.field(factory=list, init=False)

    async def build(self, config: Config) -> None:
        """Have every worker build it, with sockets for the listeners that are new. Raises ReloadError."""
        new = self._own.new_listeners
        problems: list[str] = []
        try:
            for listener in new:
                self._sharing.add(listener)
        except ListenError as error:
            raise ReloadError([str(error)]) from error
        # Again for those that came up meanwhile, with the old one: they have clients by now.
        while not problems and (left := [slot for slot in self._slots if slot.serving and not slot.prepared]):
            async with trio.open_nursery() as asking:
                for slot in left:
                    asking.start_soon(self._ask, slot, config, new, problems)
        if problems:
            raise ReloadError(problems)

    async def _ask(self, slot: Slot, config: Config, new: Sequence[Listener], problems: list[str]) -> None:
        text, fds = text_for_workers(config), self._sharing.of(slot, new)
        places = {id(each): place for place, each in enumerate(config.listeners)}
        of_new = [places[id(listener.config)] for listener in new]
        answer = await slot.ask(lambda number: Prepare(number, text, of_new), fds, PREPARE_SECONDS)
        slot.prepared = slot.serving and answer is not None and not answer.refusal
        if answer is not None:
            problems.extend(problem for problem in answer.refusal if problem not in problems)
        elif slot.serving:
            problems.append(f"worker {slot.number} has not answered within {PREPARE_SECONDS:g} s")

    def commit(self) -> int:
        """As `reloading.Prepared.commit`; tunnels are the workers', and counted by `lost_elsewhere`."""
        if self._context.lame_duck:
            self.abandon()
            return 0
        before = list(self._sharing.listeners)
        lost = self._own.commit()
        self._sharing.take_back()
        for listener in before:
            if listener not in self._sharing.listeners:
                self._sharing.close(listener)
        news = tuple(self._news())
        for slot in self._slots:
            if slot.prepared:
                self._committed.append(slot.question(lambda number: Commit(number, news)))
            elif slot.started:
                slot.kill(RestartReason.RELOAD)
            slot.prepared = False
        self._sharing.hand_over()
        return lost

    async def lost_elsewhere(self) -> int:
        """As `reloading.Prepared.lost_elsewhere`: behind `commit`, what the workers say."""
        answers = [await question.wait() for question in self._committed]
        return sum(answer.result for answer in answers if answer is not None)

    def abandon(self) -> None:
        """As `reloading.Prepared.abandon`, everywhere."""
        for slot in self._slots:
            slot.send(Abandon())
            slot.prepared = False
        for listener in self._own.new_listeners:
            self._sharing.close(listener)
        self._own.abandon()
