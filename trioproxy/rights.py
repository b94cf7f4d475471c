"""Descriptors beside the bytes of a Unix socket: SCM_RIGHTS (unix(7)).

Pure: what is sent and received is `control_channel`'s and `handover`'s.
"""

from __future__ import annotations

import array
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_FDS: Final = 200  # in one message; the kernel takes 253 (SCM_MAX_FD)
_FD_BYTES: Final = array.array("i").itemsize
SPACE: Final = socket.CMSG_SPACE(MOST_FDS * _FD_BYTES)  # bytes, for the ancillary data of one message


def granted(fds: Sequence[int]) -> list[tuple[int, int, array.array[int]]]:
    """The ancillary data that takes `fds`, at most MOST_FDS, along; they stay the caller's."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []


def received(ancillary: Iterable[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors that came in this ancillary data: the caller's from now on."""
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    return list(fds)
