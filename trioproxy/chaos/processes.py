"""What Linux tells of processes and lets be done to them: children, ports, descriptors, the end.

Starting them, and what they are, is `servers`', `proxies`' and `peers`'.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_TIME_WAIT: Final = " 06 00000000:"  # of a row in /proc/net/tcp: state, and nothing to send; no process has it


def children(pid: int) -> Sequence[int]:
    """The process ids of its children, whichever of its threads started them (proc(5)); none of one that is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text("ascii").split())
    return sorted(found)


def is_alive(pid: int) -> bool:
    """Whether it runs; one that has ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return status.rpartition(") ")[2][0] not in "ZX"


def handles(pid: int, number: int) -> bool:
    """Whether it has a handler for a signal now, and does not block it (proc_pid_status(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    masks = {
        name: int(value, 16)
        for name, _, value in (line.partition(":\t") for line in lines)
        if name[:3] == "Sig" and name != "SigQ"
    }
    return bool((masks["SigCgt"] & ~masks["SigBlk"]) >> (number - 1) & 1)


def kill_family(pid: int) -> None:
    """SIGKILL for it and all below it; itself first, so that it starts no others."""
    below = children(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    for child in below:
        kill_family(child)


def local_ports(pid: int) -> Collection[int]:
    """The local TCP ports of a process's IPv4 sockets (proc(5), proc_net(5)); none of one that is gone.

    Blocks, for a third of a second where the kernel has 100,000 sockets.
    """
    inodes = set()
    for entry in _descriptors(pid):
        with contextlib.suppress(OSError):  # closed meanwhile
            target = str(entry.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    with Path("/proc/net/tcp").open(encoding="ascii") as table:
        rows = [line.split() for line in table if _TIME_WAIT not in line]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[9] in inodes}


def _descriptors(pid: int) -> Sequence[Path]:
    try:
        return list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return ()


@attrs.define(eq=False)
class DescriptorLimits:
    """Limits that were set on other processes, to be taken back."""

    _before: dict[int, tuple[int, int]] = attrs.field(factory=dict, init=False)

    def leave(self, spare: int, pids: Iterable[int]) -> None:
        """Each that is still there may open only so many more than it has open."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._before.setdefault(pid, resource.prlimit(pid, resource.RLIMIT_NOFILE))
                taken = {int(entry.name) for entry in _descriptors(pid)}
                # The limit is one of numbers, and a process takes the lowest that is free (getrlimit(2), open(2)).
                free = (number for number in count() if number not in taken)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(islice(free, spare, None)), self._before[pid][1]))

    def take_back(self) -> None:
        """As many as before, for those that are still there."""
        for pid, limits in self._before.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self._before.clear()
