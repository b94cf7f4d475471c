"""`trioproxy demo` shows traffic on both upstreams and a failover, and ends by itself when asked to."""

from __future__ import annotations

import re

from support.http_client import ask, get_request
from support.processes import PYTHON


async def test_the_demo_shows_both_upstreams_and_a_failover(programs):
    demo = await programs.start("demo", [PYTHON, "-m", "trioproxy", "demo", "--duration", "5"])
    line = await demo.out.first(lambda line: "/metrics" in line, "address of the metrics")
    admin = re.search(r"http://([^/]+)/metrics", line)[1]
    answer = await ask(admin, get_request("/metrics", host=admin))
    assert b"trioproxy_tunnels_active" in answer.body
    assert await demo.wait(60) == 0, demo.err.text
    said = demo.out.text
    assert "page       http://" in said
    for name in ("alpha", "beta"):
        assert re.search(rf"{name} up +\d+ tunnels +[1-9]\d* answers", said), said
    assert re.search(r"(alpha|beta) down", said), said
    assert "failed handshakes: 0" in said
