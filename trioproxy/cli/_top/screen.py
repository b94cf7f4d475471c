"""Shows a proxy on a terminal until a key or a signal ends it, and leaves the terminal as it was.

What is shown is `view`'s, what keys mean `state`'s, what comes from the proxy `following`'s.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import attrs
from rich.console import Console, Group
from rich.live import Live

from trioproxy.cli._top.following import Following
from trioproxy.cli._top.state import Command, State, Told
from trioproxy.cli._top.terminal import keys_at_once, read_keys
from trioproxy.cli._top.view import screen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioproxy.remote import Remote

LOOK_SECONDS: Final = 0.1  # in which a key, news and another size are noticed


def show(
    remote: Remote, news: Iterator[tuple[str, Any]], console: Console, *, interval: float, keyboard: int | None
) -> None:
    """Show what `news` of the proxy say, and what it says later; `keyboard` is a terminal, or None for no keys.

    Returns when it was told to end: by a key, SIGINT or SIGTERM.
    """
    came: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    following = Following(remote, came.put, interval)
    shown = _Screen(State(remote.address), console, following, came, interval, keyboard)
    with closing(following), suppress(KeyboardInterrupt), _terminated_is_interrupted():
        following.start(news)
        while shown.run() is Told.SUSPEND:
            os.kill(0, signal.SIGTSTP)  # the whole job, as the terminal would; goes on here with SIGCONT


@attrs.define(eq=False)
class _Screen:
    state: State
    console: Console
    following: Following
    came: SimpleQueue[tuple[str, Any]]
    interval: float
    keyboard: int | None

    def run(self) -> Told:
        """Show it until a key says something else."""
        with ExitStack() as restored:
            if self.keyboard is not None:
                restored.enter_context(keys_at_once(self.keyboard))
            live = restored.enter_context(Live(console=self.console, screen=True, auto_refresh=False))
            due, size, news = 0.0, None, False
            while True:
                pressed = self._wait()
                for key in pressed:
                    match self.state.press(key):
                        case Told() as told:
                            return told
                        case Command() as command:
                            self.following.command(command)
                news, now = self._take() or news, time.monotonic()
                if (news and now >= due) or pressed or self.console.size != size:
                    size, due, news = self.console.size, now + self.interval - LOOK_SECONDS, False
                    live.update(Group(*screen(self.state, *size)), refresh=True)

    def _wait(self) -> list[str]:
        if self.keyboard is None:
            time.sleep(LOOK_SECONDS)
            return []
        ready, _, _ = select.select([self.keyboard], [], [], LOOK_SECONDS)
        return read_keys(self.keyboard) if ready else []

    def _take(self) -> bool:
        """Whether anything came."""
        anything = False
        with suppress(Empty):
            while True:
                self.state.take(*self.came.get_nowait())
                anything = True
        return anything


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """Within the block, SIGTERM ends it as SIGINT does, so that the terminal is restored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
