"""Asks a proxy from threads of their own and tells what came; goes on when the proxy is away, and after it is back.

What is made of it is `state`'s, how it is asked `remote`'s.
"""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from trioproxy.remote import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trioproxy.cli._top.state import Command
    from trioproxy.remote import Remote

RETRY_SECONDS: Final = 1.0
ROWS: Final = 200  # of a page of tunnels: of 10,000 it holds the proxy's loop for 5 ms, and all are seen in 50 s


class Tell(Protocol):
    """Takes what came, from any thread: see `State.take`."""

    def __call__(self, item: tuple[str, Any], /) -> None: ...


@attrs.define(eq=False)
class Following:
    """Follows one proxy until it is closed; threads that wait for an answer then end with the process, or before.

    `seconds` are those between two pages of tunnels.
    """

    remote: Remote
    tell: Tell
    seconds: float
    _closed: Event = attrs.field(factory=Event, init=False)

    def start(self, news: Iterator[tuple[str, Any]]) -> None:
        """Go on with a stream that has begun, and list tunnels besides."""
        self._run(lambda: self._follow(news))
        self._run(self._list)

    def close(self) -> None:
        """Tell no more."""
        self._closed.set()

    def command(self, command: Command) -> None:
        """Have an upstream drained or resumed, and tell what became of it."""

        def run() -> None:
            try:
                if command.verb == "drain":
                    told = self.remote.drain(command.pool, command.upstream, {})
                else:
                    told = self.remote.resume(command.pool, command.upstream)
                said = f"{command.upstream}: {told['state']}"
            except (RemoteError, LookupError, TypeError) as error:
                said = f"{command.verb} {command.upstream}: {error}"
            self.tell(("said", said))

        self._run(run)

    def _run(self, target: Callable[[], None]) -> None:
        Thread(target=target, daemon=True).start()

    def _follow(self, news: Iterable[tuple[str, Any]]) -> None:
        while True:
            try:
                for item in news:
                    if self._closed.is_set():
                        return
                    self.tell(item)
                lost = "the proxy has ended it"
            except RemoteError as error:
                lost = str(error)
            self.tell(("lost", lost))
            if self._closed.wait(RETRY_SECONDS):
                return
            news = self.remote.live()

    def _list(self) -> None:
        after = ""
        while True:
            try:
                total, rows = self.remote.page(after, ROWS)
                last = len(rows) < ROWS
                after = "" if last else rows[-1]["id"]
                self.tell(("tunnels", (total, rows, last)))
            except (RemoteError, LookupError, TypeError):
                after = ""  # the stream says what is wrong
            if self._closed.wait(self.seconds):
                return
