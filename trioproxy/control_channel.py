"""The line between a supervisor and a worker: messages with descriptors over a pair of Unix sockets.

What they say is `control_messages`'. The end of the line tells either side that the other is gone.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trioproxy import rights
from trioproxy.control_messages import decode, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.control_messages import Message

MAX_LINE: Final = 64 * 1024 * 1024  # a configuration of 100,000 upstreams has some 10 MB
_READ_BYTES: Final = 64 * 1024


@attrs.define(eq=False)
class Channel:
    """One end, which owns its socket and what descriptors came and were not taken. One task may receive at a time."""

    _sock: trio.socket.SocketType
    _buffer: bytearray = attrs.field(factory=bytearray, init=False)
    _fds: list[int] = attrs.field(factory=list, init=False)
    _sending: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """This process's end, and the one to be handed over, which the caller owns."""
        ours, theirs = socket.socketpair()
        return cls(trio.socket.from_stdlib_socket(ours)), theirs

    @classmethod
    def of(cls, fd: int) -> Channel:
        """The end that was handed over."""
        return cls(trio.socket.from_stdlib_socket(socket.socket(fileno=fd)))

    async def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Raises BrokenResourceError where the other side is gone. `fds` stay the caller's."""
        async with self._sending:
            try:
                for start in range(0, len(fds), rights.MOST_FDS):
                    # An empty line takes them along, before the message that counts them: the reader may get them
                    # together with what was sent earlier (unix(7)), but never later.
                    await self._sock.sendmsg([b"\n"], rights.granted(fds[start : start + rights.MOST_FDS]))
                line = memoryview(b"%d " % len(fds) + encode(message))
                while line:
                    line = line[await self._sock.send(line) :]
            except OSError as error:
                raise trio.BrokenResourceError("the other side is gone") from error

    async def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and the descriptors that came with it, now the caller's; None where the other side is gone.

        Raises ValueError for what is no message, or longer than MAX_LINE.
        """
        looked = 0
        while True:
            end = self._buffer.find(b"\n", looked)
            if end >= 0:
                line = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                looked = 0
                if line:
                    count, _, text = line.partition(b" ")
                    fds, self._fds = self._fds[: int(count)], self._fds[int(count) :]
                    return decode(text), fds
                continue
            looked = len(self._buffer)
            if looked > MAX_LINE:
                raise ValueError(f"a message of more than {MAX_LINE} bytes")
            if not await self._read():
                return None

    async def _read(self) -> bool:
        try:
            data, ancillary, _, _ = await self._sock.recvmsg(_READ_BYTES, rights.SPACE, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        self._fds += rights.received(ancillary)
        self._buffer += data
        return bool(data)

    def close(self) -> None:
        """Close this end; a second time does nothing."""
        self._sock.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def sockets(fds: Sequence[int]) -> list[socket.socket]:
    """Sockets of descriptors that came along, which they take over."""
    return [socket.socket(fileno=fd) for fd in fds]
