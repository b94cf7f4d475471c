"""Plain HTTP as people use it: curl in front, aiohttp or Node behind, the same with and without the proxy."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from support.http_client import ask, connection, get, get_request
from support.nginx import run_nginx
from support.peers import run_server
from support.proxy import run_proxy
from support.settings import settings

SERVERS = ["aiohttp_server.py", "ws_server.js"]
BETWEEN = ["trioproxy", "nginx"]
LARGE = 100_000_000
BLOCK = bytes(range(256)) * 4096
# Framing is each hop's own (RFC 9112 §6.1): the length and the digest of the body are compared instead.
FRAMING = {"content-length", "transfer-encoding"}
OURS = {"via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "connection"}


@pytest.fixture(params=SERVERS)
async def server(programs, request):
    return await run_server(programs, request.param)


@pytest.fixture(params=BETWEEN)
async def address(programs, server, request):
    """Where the proxy listens; nginx takes its place to show that the test asks nothing unusual."""
    if request.param == "nginx":
        return await run_nginx(programs, [server.address])
    return (await run_proxy(programs, settings([server.address]))).address


async def curl(programs, *words):
    path = shutil.which("curl")
    if path is None:
        pytest.skip("needs curl (apt install curl)")
    run = await programs.start("curl", [path, "--silent", "--show-error", "--max-time", "60", *words])
    assert await run.wait(90) == 0, run.err.text
    return run.out.text


def large_digest():
    digest = hashlib.sha256()
    for start in range(0, LARGE, len(BLOCK)):
        digest.update(BLOCK[: LARGE - start])
    return digest.hexdigest()


async def test_curl_sees_the_same_through_the_proxy(programs, server, address):
    asked = [
        ["/show?a=%2F&b=/../c", "-H", "X-Case: Kept", "-H", "Accept:"],
        ["/status/204", "-i"],
        ["/status/304", "-i"],
        ["/cookies", "-i"],
        ["/bytes?n=1000", "-I"],
        ["/bytes?n=5", "-i"],
        ["/bytes?n=5&chunked=1", "-i"],
        ["/hash", "--data", "a=1"],
        ["/hash", "--data", "a=1", "-H", "Transfer-Encoding: chunked"],
    ]
    for path, *options in asked:
        seen = [await curl(programs, f"http://{where}{path}", *options) for where in (server.address, address)]
        assert comparable(seen[1]) == comparable(seen[0]), path


def comparable(text):
    """An answer without what a proxy adds or may differ in: dates, hop-by-hop fields, ours, the Host's port."""
    lines = [line.strip() for line in text.splitlines()]
    if lines and lines[0].startswith("HTTP/"):
        dropped = ("date:", "server:", "connection:", "keep-alive:")
        return [lines[0], sorted(line for line in lines[1:] if not line.lower().startswith(dropped))]
    value = json.loads(text)
    pairs = [(name.lower(), content) for name, content in value.pop("fields")]
    return value, sorted(pair for pair in pairs if pair[0] not in OURS | FRAMING | {"host"})


@pytest.mark.slow
async def test_100_mb_come_down_unharmed(programs, address, tmp_path):
    for number, query in enumerate(("", "&chunked=1")):
        target = tmp_path / f"down{number}"
        await curl(programs, f"http://{address}/bytes?n={LARGE}{query}", "-o", str(target))
        with target.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == large_digest()
        target.unlink()


@pytest.mark.slow
async def test_100_mb_go_up_unharmed(programs, address, tmp_path):
    source = tmp_path / "up"
    with source.open("wb") as file:
        for start in range(0, LARGE, len(BLOCK)):
            file.write(BLOCK[: LARGE - start])
    for framing in ([], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
        said = json.loads(await curl(programs, f"http://{address}/hash", "-X", "POST", "-T", str(source), *framing))
        assert (said["length"], said["sha256"]) == (LARGE, large_digest())
    source.unlink()


async def test_keep_alive_carries_many_requests_of_every_kind(address):
    async with connection(address) as http:
        for number in range(30):
            await http.send(get_request(f"/show?{number}"))
            assert json.loads((await http.answer()).body)["target"] == f"/show?{number}"
            await http.send(get_request("/hash", "Content-Length: 3", method="POST") + b"abc")
            assert json.loads((await http.answer()).body)["length"] == 3
            await http.send(get_request("/bytes?n=70000", method="HEAD"))
            assert (await http.answer(b"HEAD")).get(b"content-length") == b"70000"


async def test_two_upstreams_take_turns(programs):
    servers = [await run_server(programs, "aiohttp_server.py", name) for name in ("a", "b")]
    proxy = await run_proxy(programs, settings([server.address for server in servers]))
    names = [(await get(proxy.address)).get(b"x-server") for _ in range(20)]
    assert names.count(b"a") == names.count(b"b") == 10
    assert (await proxy.metrics()).by("code", "requests_total") == {"200": 20}


async def test_a_http_1_0_client_is_served(address):
    answer = await ask(address, b"GET /bytes?n=100000&chunked=1 HTTP/1.0\r\nHost: a\r\n\r\n")
    assert len(answer.body) == 100_000
