"""The probe `tcp`: the upstream accepts a connection. Connecting is `prober`'s work, so nothing is left to do here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import trio

    from trioproxy.config import HealthConfig


async def probe_tcp(stream: trio.abc.Stream, health: HealthConfig, host: str) -> None:
    """Pass: that there is a stream is the proof."""
