"""Ways to find out whether an upstream works: one small file each, by the name in `pools.*.health.probe`.

A probe gets a connected stream, speaks, and returns if all is well; else it raises ProbeFailed (or lets the ProxyError
of a parser through). Connecting, time limits, closing, and what follows from the result are `prober`'s work.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from trioproxy.probes.http import probe_http
from trioproxy.probes.tcp import probe_tcp
from trioproxy.probes.websocket import probe_websocket

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio

    from trioproxy.config import HealthConfig


class Probe(Protocol):
    """One way to probe."""

    async def __call__(self, stream: trio.abc.Stream, health: HealthConfig, host: str, /) -> None:
        """Return if the upstream at the other end of `stream` works; `host` is what goes into Host."""
        ...


PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "tcp": probe_tcp,
        "http": probe_http,
        "websocket": probe_websocket,
    }
)
"""Those that are sent; `none` sends nothing and is `prober`'s own case."""
