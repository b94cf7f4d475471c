"""What a running process costs: its processor time, memory and descriptors, children included.

Reads /proc and the kernel's process clocks only; starting and ending processes is `processes`.
"""

from __future__ import annotations

import time
from pathlib import Path

_CPU_SCHED = 2  # include/linux/posix-timers.h: the clock of a whole process in nanoseconds


def tree(pid: int) -> list[int]:
    """The process and all its descendants that are alive."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found.extend(int(child) for child in children.read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree so far.

    The same quantity as utime + stime of /proc/PID/stat, from the process's CPU clock: in nanoseconds where stat
    rounds to hundredths of a second, more than a whole sparse round costs. All threads count, ended ones too.
    """
    return sum(time.clock_gettime_ns((~process << 3) | _CPU_SCHED) for process in tree(pid)) / 1e9


def resident_bytes(pid: int) -> int:
    """Resident memory of the tree, from smaps_rollup: `statm` may be off by some pages per processor."""
    total = 0
    for process in tree(pid):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Rss:"):
                total += int(line.split()[1]) * 1024
    return total


def descriptors(pid: int) -> int:
    """Open descriptors of the tree."""
    return sum(1 for process in tree(pid) for _ in Path(f"/proc/{process}/fd").iterdir())
