"""Everything that can go wrong on purpose, by its name in a scenario file.

One small class each. A new one is written in one of these modules, and named in the table.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from trioproxy.chaos.faults.base import ConnectionFault, Fault
from trioproxy.chaos.faults.network import (
    Bandwidth,
    Blackhole,
    Corrupt,
    HalfClose,
    HalfOpen,
    Latency,
    Refuse,
    Reset,
    Slicer,
    SlowClose,
)
from trioproxy.chaos.faults.process import Kill, Restart, RollingRestart, Stop, Terminate
from trioproxy.chaos.faults.proxy import (
    Descriptors,
    DrainUpstream,
    InjectBlackhole,
    InjectClose,
    InjectRefuse,
    Reload,
    Replace,
    WorkerKill,
)
from trioproxy.chaos.faults.websocket import (
    Close,
    CutInFrame,
    Flood,
    Malformed,
    NoPongs,
    Oversized,
    RefuseUpgrade,
    Silent,
    WrongAccept,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAULTS", "ConnectionFault", "Fault"]

NETWORK: Final = (Latency, Bandwidth, Slicer, Blackhole, Reset, Refuse, HalfOpen, SlowClose, HalfClose, Corrupt)
WEBSOCKET: Final = (RefuseUpgrade, WrongAccept, Silent, NoPongs, Close, CutInFrame, Malformed, Oversized, Flood)
PROCESS: Final = (Kill, Terminate, Stop, Restart, RollingRestart)
VERBS: Final = (InjectClose, InjectBlackhole, InjectRefuse)
BY_ADMIN: Final = (DrainUpstream, *VERBS)  # what its admin can be asked for
PROXY: Final = (WorkerKill, Reload, Replace, Descriptors, *BY_ADMIN)

FAULTS: Final[Mapping[str, type[Fault]]] = MappingProxyType(
    {fault.name: fault for fault in (*NETWORK, *WEBSOCKET, *PROCESS, *PROXY)}
)
