"""A connection is all it takes."""

from __future__ import annotations

from support.probing import probe_against

from trioproxy.config import HealthConfig
from trioproxy.probes.tcp import probe_tcp


async def test_a_connection_is_a_pass(autojump_clock):
    async def silent(stream):
        pass

    assert await probe_against(probe_tcp, HealthConfig(probe="tcp"), silent)
