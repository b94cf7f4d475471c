"""Bytes received and not yet read, handed out without needless copies.

Pure, and knows no HTTP: lines and heads are found in `heads` and `bodies`.
"""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class Buffer:
    """Received bytes; `data[start:]` waits to be read.

    What comes into an empty buffer is kept as the object it is, so a body's bytes pass through uncopied; only what is
    added to waiting bytes is copied, into a bytearray, so that a head arriving byte by byte costs linear time.
    """

    data: bytes | bytearray = b""
    start: int = 0

    def __len__(self) -> int:
        return len(self.data) - self.start

    def add(self, data: bytes) -> None:
        """Put bytes behind those that wait."""
        if self.start == len(self.data):
            self.data = data
        elif isinstance(self.data, bytearray):
            del self.data[: self.start]
            self.data += data
        else:
            self.data = bytearray(self.data[self.start :])
            self.data += data
        self.start = 0

    def take(self, limit: int) -> bytes:
        """Read up to `limit` bytes."""
        if self.start == 0 and len(self.data) <= limit and isinstance(self.data, bytes):
            taken = self.data
            self.data = b""
            return taken
        data, start = self.data, self.start
        end = min(start + limit, len(data))
        if isinstance(data, bytes):
            taken = data[start:end]
        else:
            with memoryview(data) as view:  # slicing it would copy twice
                taken = bytes(view[start:end])
        if end == len(data):
            self.data, end = b"", 0
        self.start = end
        return taken

    def skip(self, count: int) -> None:
        """Throw away `count` bytes that wait."""
        self.start += count
