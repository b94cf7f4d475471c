"""The admin endpoints and the log of a running proxy: what operators and their tools look at."""

from __future__ import annotations

import json

from support.frames import websocket
from support.http_client import ask, get, get_request
from support.peers import run_server
from support.ports import free_address
from support.proxied import proxied_http
from support.proxy import run_proxy
from support.settings import settings


async def test_health_and_readiness_follow_the_upstreams(programs):
    server = await run_server(programs, "fast_echo.py")
    health = {"probe": "tcp", "interval": 1, "timeout": 1, "rise": 1, "fall": 1}
    proxy = await run_proxy(programs, settings([server.address], health=health))
    await proxy.ask_admin("/healthz")
    assert b"backend" in await proxy.ask_admin("/readyz")
    server.kill()
    await proxy.wait_for_state(server.address, "down")
    await proxy.ask_admin("/readyz", status=503)
    await proxy.ask_admin("/healthz")


async def test_the_status_api_tells_pools_and_upstreams(programs):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(programs, settings([server.address, free_address()], health={"probe": "tcp"}))
    async with websocket(proxy.address):
        status = await proxy.status()
    assert {"version", "uptime_seconds", "listeners", "pools"} <= set(status)
    text = json.dumps(status)
    assert server.address in text
    assert '"up"' in text
    assert '"down"' in text


async def test_a_foreign_host_gets_nothing_of_the_api(programs):
    async with proxied_http(programs) as both:
        answer = await ask(both.proxy.admin, get_request("/api/status", host="evil.test"))
        assert answer.status in {400, 403, 421}
        assert b"backend" not in answer.body


async def test_metrics_speak_both_formats(programs):
    async with proxied_http(programs) as both:
        await get(both.address)
        plain = await ask(both.proxy.admin, get_request("/metrics", host=both.proxy.admin))
        assert plain.get(b"content-type").startswith(b"text/plain")
        request = get_request("/metrics", "Accept: application/openmetrics-text", host=both.proxy.admin)
        wanted = await ask(both.proxy.admin, request)
        assert wanted.get(b"content-type").startswith(b"application/openmetrics-text")
        assert wanted.body.endswith(b"# EOF\n")
        seen = await both.proxy.metrics()
        assert seen.total("requests_total", route="all", pool="backend", kind="http", code="200") == 1
        assert seen.total("http_bytes_total", direction="to_client") == len(b"fine")
        assert seen.total("build_info") == seen.total("python_info") == 1


async def test_the_log_tells_requests_and_tunnels_without_secrets(programs):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(programs, settings([server.address]))
    await get(proxy.address, "/plain?token=secret", "User-Agent: tests/1", "Cookie: secret")
    async with websocket(proxy.address, "/chat?token=secret", "Authorization: secret") as end:
        opened = await proxy.logged("tunnel_open")
        await end.echo(b"hello")
        await end.close()
    ended = await proxy.logged("tunnel_end")
    request = await proxy.logged("request")
    assert (request["method"], request["path"], request["status"]) == ("GET", "/plain", 200)
    assert request["upstream"] == opened["upstream"] == ended["upstream"] == server.address
    assert opened["id"] == ended["id"] != request["id"]
    assert (ended["path"], ended["close_code"], ended["reason"]) == ("/chat", 1000, "done")
    assert ended["bytes_to_upstream"] > ended["bytes_to_client"] > 0
    assert "secret" not in proxy.program.err.text
