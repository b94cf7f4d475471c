"""`trioproxy demo` shows traffic on both upstreams and a failover, and ends by itself when asked to."""

from __future__ import annotations

import pytest
from support.processes import PYTHON


@pytest.mark.slow
async def test_the_demo_shows_both_upstreams_and_a_failover(programs):
    demo = await programs.start("demo", [PYTHON, "-m", "trioproxy", "demo", "--duration", "8"])
    assert await demo.wait(60) == 0, demo.err.text
    said = (demo.out.text + demo.err.text).lower()
    assert "/metrics" in said
    assert "/api/status" in said
    assert "down" in said, said
    assert said.count("127.0.0.1:") >= 3
