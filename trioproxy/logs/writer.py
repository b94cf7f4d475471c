"""The thread that writes lines to a descriptor, behind a bounded queue that drops and counts instead of blocking.

What a line says is `render`'s. A thread because a write to a pipe, a terminal or a disk can block as long as it likes.
"""

from __future__ import annotations

import contextlib
import os
import select
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STDERR: Final = 2
MAX_PENDING_BYTES: Final = 4 * 1024 * 1024  # about 15,000 lines: seconds of a stalled reader at full speed
BATCH_BYTES: Final = 64 * 1024  # the size of a pipe: one write for many lines
# Up to this length, what several processes write to one pipe is not mixed (pipe(7)); sockets and files take more.
ATOMIC_BYTES: Final = select.PIPE_BUF
_PER_LINE: Final = 64  # what a queued line costs besides its characters, roughly


@attrs.frozen
class _Reopened:
    """From here on lines go to this descriptor; the old one is closed."""

    fd: int


class _Stop:
    """Nothing follows."""


class LineWriter:
    """Writes to `path`, or to standard error if that is None, in the order of `write` calls.

    `write`, `reopen` and `close` are for one thread alone, the one that made the writer. Owns its descriptor.
    """

    def __init__(self, path: Path | None, batch: int = BATCH_BYTES) -> None:
        """Open the file (created with mode 0640); raises OSError. Several lines make writes of up to `batch` bytes."""
        self._batch = batch
        self.path = path
        fd = open_target(path)
        # Each count is written by one thread alone, so there is no lock between them
        self._lines_queued = self._bytes_queued = self._refused = 0  # the caller's
        self._lines_done = self._bytes_done = self._failed = 0  # the thread's
        self._queue: SimpleQueue[bytes | _Reopened | _Stop] = SimpleQueue()
        self._closed = False
        # A daemon: a write that never returns must not keep the process
        self._thread = Thread(target=self._run, args=(fd,), name="trioproxy-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were not written: no room in the queue, or the write failed."""
        return self._refused + self._failed

    @property
    def has_room(self) -> bool:
        """Whether a line would be taken now."""
        return not self._closed and self._bytes_queued - self._bytes_done < MAX_PENDING_BYTES

    def write(self, line: str) -> None:
        """Queue a line, newline included, or count it as dropped; never blocks."""
        if not self.has_room:
            self._refused += 1
            return
        data = line.encode("utf-8", "backslashreplace")
        self._lines_queued += 1
        self._bytes_queued += len(data) + _PER_LINE
        self._queue.put(data)

    def reopen(self) -> None:
        """Go on in a new file of the same name, as after a rotation; standard error stays.

        Raises OSError and goes on in the old one if that fails.
        """
        if self.path is not None and not self._closed:
            self.move(self.path, open_target(self.path))

    def move(self, path: Path | None, fd: int) -> None:
        """Go on in `fd`, which `open_target(path)` gave; what is queued still goes where it was to go."""
        if self._closed:
            os.close(fd)
            return
        self.path = path
        self._queue.put(_Reopened(fd))

    def close(self, timeout: float) -> None:
        """Write what is queued, waiting at most `timeout` seconds; what is not written by then counts as dropped."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(_Stop())
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._refused += self._lines_queued - self._lines_done
            self._abandon()

    def _abandon(self) -> None:
        """Leave a thread that is stuck nothing to go on with, should it ever come back."""
        with contextlib.suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._queue.put(_Stop())

    def _run(self, fd: int) -> None:
        pending: list[bytes] = []
        try:
            while True:
                item = self._queue.get()
                size = 0
                while isinstance(item, bytes):
                    pending.append(item)
                    size += len(item)
                    if size >= self._batch or self._queue.empty():
                        break
                    item = self._queue.get()
                self._flush(fd, pending)
                if isinstance(item, _Reopened):
                    os.close(fd)
                    fd = item.fd
                elif isinstance(item, _Stop):
                    return
        finally:
            os.close(fd)

    def _flush(self, fd: int, lines: list[bytes]) -> None:
        for some in self._batches(lines):
            try:
                _write_all(fd, b"".join(some))
            except OSError:  # reader gone, disk full: the next lines may fare better
                self._failed += len(some)
        self._lines_done += len(lines)
        self._bytes_done += sum(map(len, lines)) + _PER_LINE * len(lines)
        lines.clear()

    def _batches(self, lines: list[bytes]) -> Iterator[list[bytes]]:
        batch: list[bytes] = []
        size = 0
        for line in lines:
            if batch and size + len(line) > self._batch:
                yield batch
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            yield batch


def open_target(path: Path | None) -> int:
    """A descriptor of the file (created with mode 0640), or of standard error for None; raises OSError."""
    if path is None:
        return os.dup(STDERR)
    # O_NONBLOCK: a FIFO without a reader is an error at once, not a wait
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    os.set_blocking(fd, True)
    return fd


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # somebody who shares the terminal or pipe made it non-blocking
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
