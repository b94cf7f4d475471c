"""What the operating system says of this process, under the names prometheus-client gives it: `process_*`.

Its own collector lists all open descriptors at every scrape, 35 ms where there are 10,000. What is measured of each
worker once a second is `housekeeping`'s.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

_DESCRIPTORS: Final = "/proc/self/fd"
_CALLS_TO_LIST: Final = 10
# Where things stand in /proc/self/stat behind the name of the program (proc(5)).
_USER, _SYSTEM, _START, _VIRTUAL, _RESIDENT = 11, 12, 19, 20, 21


def _boot_time() -> float:
    """In Unix time."""
    lines = Path("/proc/stat").read_bytes().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(b"btime "))


def _read_stat() -> list[bytes]:
    """The fields behind the name of the program, which may contain anything."""
    return Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()


@attrs.define(eq=False)
class Process(Collector):
    """This process; for one thread alone. Where it is out of descriptors, figures that take one stay as they were."""

    _calls: int = attrs.field(default=0, init=False)
    _listed: int = attrs.field(default=0, init=False)
    _boot: float = attrs.field(factory=_boot_time, init=False)
    _second: int = attrs.field(factory=lambda: os.sysconf("SC_CLK_TCK"), init=False)  # in clock ticks
    _stat: list[bytes] = attrs.field(factory=_read_stat, init=False)

    def descriptors(self) -> int:
        """How many are open."""
        # Linux 6.2 and later know the number; to list them all takes milliseconds where there are thousands.
        known = os.stat(_DESCRIPTORS).st_size  # noqa: PTH116 - once a second
        if not known and self._calls % _CALLS_TO_LIST == 0:
            with suppress(OSError):
                self._listed = len(os.listdir(_DESCRIPTORS))  # noqa: PTH208
        self._calls += 1
        return known or self._listed

    def resident(self) -> int:
        """Bytes of memory in use."""
        return int(self._read()[_RESIDENT]) * resource.getpagesize()

    def collect(self) -> Iterator[Family]:
        """As prometheus-client's ProcessCollector: what it is read by is the same, so dashboards for that fit."""
        stat = self._read()
        gauges = {
            "virtual_memory_bytes": ("Virtual memory size in bytes.", int(stat[_VIRTUAL])),
            "resident_memory_bytes": (
                "Resident memory size in bytes.",
                int(stat[_RESIDENT]) * resource.getpagesize(),
            ),
            "start_time_seconds": (
                "Start time of the process since unix epoch in seconds.",
                self._boot + int(stat[_START]) / self._second,
            ),
            "max_fds": ("Maximum number of open file descriptors.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
            "open_fds": ("Number of open file descriptors.", self.descriptors()),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(f"process_{name}", text, value)
        seconds = (int(stat[_USER]) + int(stat[_SYSTEM])) / self._second
        yield CounterMetricFamily("process_cpu_seconds", "Total user and system CPU time spent in seconds.", seconds)

    def _read(self) -> list[bytes]:
        with suppress(OSError):
            self._stat = _read_stat()
        return self._stat
