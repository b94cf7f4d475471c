"""Waiting for bytes on connections that are used again and again, and sending small messages together.

An epoll of our own stays armed for them, and one Trio task watches it, as in `relay.pump`: a wait costs no system call
and a third of the Python of `trio.lowlevel.wait_readable`. When several of them wake at once, what they send is written
in one go when all have had their turn: each write may wake a sleeping peer, and that costs more than the write.
What is read and sent is decided elsewhere; connections that are used once wait the ordinary way.
"""

from __future__ import annotations

import os
import select
from typing import Any, Final

import attrs
import trio

BATCH: Final = 128  # events asked for at once
POST_BYTES: Final = 16 * 1024  # what may be put off: not more than nearly every socket takes at once
_INTEREST: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@attrs.define(eq=False, weakref_slot=False)
class Watch:
    """One connection's descriptor, watched until `close`. One task at a time may read, and that one alone may send."""

    _readiness: Readiness
    _descriptor: int
    _reader: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    # Edge-triggered: something has come since the last read that left nothing behind.
    _ready: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)  # no further edge will tell: it stays ready
    _interrupted: bool = attrs.field(default=False, init=False)
    _unsent: bytes = attrs.field(default=b"", init=False)  # posted, and not taken by the socket yet
    _poll: Any = attrs.field(default=None, init=False)

    async def receive(self, most: int) -> bytes:
        """Wait for bytes and return up to `most`; nothing at FIN. What was posted goes out first.

        Raises ClosedResourceError where it is interrupted, BrokenResourceError where the connection is broken.
        """
        while True:
            if self._ready:
                await trio.lowlevel.checkpoint()  # who always finds something must not starve the others
            else:
                if self._reader is not None:
                    raise trio.BusyResourceError("another task is reading")
                self._reader = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._let_go)
                if self._interrupted:
                    self._interrupted = False
                    raise trio.ClosedResourceError("the wait was ended")
            if self._unsent:
                await self.drain()
            try:
                data = os.read(self._descriptor, most)
            except BlockingIOError:
                self._ready = self._ended
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            self._ready = self._ended or len(data) == most
            return data

    def _let_go(self, _: Any) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> None:
        if self._reader is not None:
            task, self._reader = self._reader, None
            trio.lowlevel.reschedule(task)

    def notice(self, event: int) -> None:
        """Take note of what epoll said."""
        if event & _ENDED:
            self._ended = self._ready = True
        if self._reader is None:
            self._ready = True
        else:
            self._wake()

    def interrupt(self) -> None:
        """Wake who waits in `receive`, with ClosedResourceError."""
        if self._reader is not None:
            self._interrupted = True
            self._wake()

    @property
    def sending(self) -> bool:
        """Whether something that was posted is not sent yet: see `drain`."""
        return bool(self._unsent)

    @property
    def quiet(self) -> bool:
        """Whether nothing has come, not even the end; as of now."""
        if self._ready:
            return False
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._descriptor, select.POLLIN)
        return not self._poll.poll(0)

    def post(self, data: bytes) -> bool:
        """Have `data` sent with what others send in this turn of the loop; False where it is to be sent now.

        For who waits in `receive` next: there it goes on with what the socket did not take. That the peer is gone is
        found out by reading.
        """
        if self._unsent or self._ready or not self._readiness.gathering or len(data) > POST_BYTES:
            return False
        self._unsent = data
        self._readiness.posted.append(self)
        return True

    def flush(self) -> None:
        """Send what was posted, as far as the socket takes it at once."""
        try:
            sent = os.write(self._descriptor, self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if self._unsent:
            self._ready = True  # who reads is to `drain` first: now, or when it comes to that
            self._wake()

    async def drain(self) -> None:
        """Wait until all that was posted is sent; does nothing where nothing is."""
        if self._unsent:
            self.flush()
        while self._unsent:
            await trio.lowlevel.wait_writable(self._descriptor)
            self.flush()

    def close(self) -> None:
        """Watch it no longer; what was posted is sent as far as it goes. To be called before the socket is closed."""
        if self._unsent:
            self.flush()
            self._unsent = b""
        self.interrupt()
        self._readiness.forget(self._descriptor)
        self._descriptor = -1  # another's soon: whoever was woken, and has not read yet, finds it closed


@attrs.define(eq=False)
class Readiness:
    """All that is watched, by descriptor, while `serve` runs."""

    gathering: bool = attrs.field(default=False, init=False)  # several are awake: what they send can wait for the rest
    posted: list[Watch] = attrs.field(factory=list, init=False)
    _epoll: Any = attrs.field(default=None, init=False)  # while `serve` runs; Linux has it alone
    _watches: dict[int, Watch] = attrs.field(factory=dict, init=False)

    def watch(self, descriptor: int) -> Watch | None:
        """Watch a connection from here on; None where the kernel has no room for it, or `serve` does not run."""
        if self._epoll is None:
            return None
        try:
            self._epoll.register(descriptor, _INTEREST)
        except OSError:
            return None
        watch = self._watches[descriptor] = Watch(self, descriptor)
        return watch

    def forget(self, descriptor: int) -> None:
        """The end of a watch: for `Watch.close`."""
        del self._watches[descriptor]
        if self._epoll is not None:
            self._epoll.unregister(descriptor)

    async def serve(self) -> None:
        """Wake who waits, and send what was posted, until cancelled."""
        epoll = self._epoll = select.epoll()
        try:
            while True:
                events = epoll.poll(0, BATCH)
                for descriptor, event in events:
                    self._watches[descriptor].notice(event)
                self.gathering = len(events) > 1
                if not events:
                    await trio.lowlevel.wait_readable(epoll.fileno())
                elif self.gathering:
                    await trio.lowlevel.checkpoint()
                    if len(self.posted) < len(events):  # in a turn Trio runs tasks in any order
                        await trio.lowlevel.checkpoint()
                    self._flush()
        finally:
            self.gathering = False
            self._flush()
            self._epoll = None
            epoll.close()
            for watch in self._watches.values():
                watch.interrupt()

    def _flush(self) -> None:
        posted, self.posted = self.posted, []
        for watch in posted:
            if watch.sending:
                watch.flush()
