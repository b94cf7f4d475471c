"""Lets what runs on Trio be used from any program: in the same Trio run, or in one of its own in a thread.

What is run is `testing`'s.
"""

from __future__ import annotations

from concurrent import futures
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

_Thing = TypeVar("_Thing")


class Call(Protocol):
    """Calls a function where Trio runs, from wherever it may, and gives back what that returns or raises."""

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Blocks no longer than the function does."""
        ...


@attrs.define(eq=False)
class Anywhere(Generic[_Thing]):
    """A context manager around something of Trio's; once, like a file.

    `with` runs it in a thread with a Trio run of its own: for code without an event loop, and for asyncio's. `async
    with` runs it in the Trio run that it stands in; where there is none, it is as `with`. Both end all of it, also when
    the body fails or is interrupted, and what the body raises comes out as it is. `make` is given the way to call
    functions of the thing.
    """

    make: Callable[[Call], AbstractAsyncContextManager[_Thing]]
    _last: ExitStack = attrs.field(factory=ExitStack, init=False)
    _run_over: futures.Future[None] | None = attrs.field(default=None, init=False)
    _here: AbstractAsyncContextManager[_Thing] | None = attrs.field(default=None, init=False)

    def __enter__(self) -> _Thing:
        """Returns when it runs; blocks until then. Raises what its start raised."""
        with ExitStack() as last:
            # One thread for the run, one for calls. An interrupt may come between any two of these lines.
            started: futures.Future[tuple[trio.lowlevel.TrioToken, trio.Event, _Thing]] = futures.Future()
            threads = last.enter_context(futures.ThreadPoolExecutor(2, "trioproxy-chaos"))
            last.callback(started.add_done_callback, _stop)
            run = threads.submit(trio.run, self._run, threads, started)
            waited: list[futures.Future[Any]] = [started, run]
            futures.wait(waited, return_when=futures.FIRST_COMPLETED)
            if not started.done():
                started.cancel()
                run.result()
            _, _, thing = started.result()
            self._run_over = run
            self._last = last.pop_all()
        return thing

    def __exit__(self, *_: object) -> None:
        """Blocks until all of it has ended. Raises what it ended with, if that was no end."""
        self._last.close()
        if self._run_over is not None:
            self._run_over.result()

    async def _run(self, threads: futures.Executor, started: futures.Future[Any]) -> None:
        token, stop = trio.lowlevel.current_trio_token(), trio.Event()

        def call(function: Callable[..., Any], *args: Any) -> Any:
            # From a thread that is nobody's: Trio would refuse it from a task of another run.
            return threads.submit(partial(trio.from_thread.run_sync, function, *args, trio_token=token)).result()

        async with self.make(call) as thing:
            started.set_result((token, stop, thing))
            await stop.wait()

    async def __aenter__(self) -> _Thing:
        """See `__enter__`; under Trio only this task waits."""
        if not trio.lowlevel.in_trio_run():
            return self.__enter__()
        self._here = self.make(_call_directly)
        return await self._here.__aenter__()

    async def __aexit__(self, *_: object) -> None:
        """See `__exit__`."""
        if self._here is None:
            self.__exit__()
        else:
            await self._here.__aexit__(None, None, None)  # what the body raised is no concern of a nursery in there


def _call_directly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)


def _stop(started: futures.Future[Any]) -> None:
    if not started.cancelled():
        token, stop, _ = started.result()
        token.run_sync_soon(stop.set)
