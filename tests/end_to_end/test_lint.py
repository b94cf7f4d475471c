"""The proxy's own answers, and those it forwards, read by httplint and redbot: they find nothing wrong that we made so."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager

import trio
from support.http_client import connection, parse_head
from support.linting import lint
from support.ports import free_address
from support.processes import PYTHON
from support.proxied import proxied_http
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import reply, scripted_upstream

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
HOST = b"Host: a.test\r\n"
REQUESTS = {
    400: b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    403: b"GET /ws HTTP/1.1\r\n" + HOST + KEY + b"Sec-WebSocket-Version: 13\r\nOrigin: http://evil.test\r\n\r\n",
    404: b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n",
    405: b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    408: b"GET / HTTP/1.1\r\n" + HOST,
    413: b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1001\r\n\r\n",
    414: b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    417: b"GET / HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\n\r\n",
    421: b"GET ftp://a.test/ HTTP/1.1\r\n" + HOST + b"\r\n",
    426: b"GET /ws HTTP/1.1\r\n" + HOST + KEY + b"Sec-WebSocket-Version: 8\r\n\r\n",
    431: b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 200 + b"\r\n",
    501: b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    502: b"GET /garbage HTTP/1.1\r\n" + HOST + b"\r\n",
    503: b"GET /dead HTTP/1.1\r\n" + HOST + b"\r\n",
    504: b"GET /silent HTTP/1.1\r\n" + HOST + b"\r\n",
    505: b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
}
"""How to get each status that the proxy itself makes."""
TOLD = {400: "STATUS_BAD_REQUEST", 414: "STATUS_URI_TOO_LONG", 505: "STATUS_VERSION_NOT_SUPPORTED"}
"""What httplint has against the request that was refused, not against the answer."""


ADMIN_PATHS = ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/tunnels", "/nowhere")


async def serve(http):
    head = await http.head()
    if head.start.startswith(b"GET /garbage"):
        await http.send(b"garbage\r\n\r\n")
    elif head.start.startswith(b"GET /silent"):
        await trio.sleep_forever()
    elif head.start.startswith(b"GET /cached"):
        await http.send(cached(head, b""))
    else:
        await http.send(reply(b"fine", "200 OK", "Content-Type: text/plain", "Cache-Control: no-store"))


def cached(head, _):
    """An answer with a validator; it says no Date, which is for the proxy to say."""
    if head.get(b"if-none-match") == b'"1"':
        return b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=60\r\n\r\n'
    return reply(
        b"fine\n" * 1000, "200 OK", "Content-Type: text/plain; charset=utf-8", 'ETag: "1"', "Cache-Control: max-age=60"
    )


@asynccontextmanager
async def running(programs):
    async with scripted_upstream(serve) as upstream:
        tables = settings(
            [upstream.address],
            limits={"max_body_bytes": 1000},
            timeouts={"head": 2},
            route={"host": "a.test", "allowed_origins": ["http://a.test"]},
        )
        tables["routes"].append({"name": "dead", "path": "/dead", "host": "a.test", "pool": "dead"})
        silent = {
            "name": "silent",
            "path": "/silent",
            "host": "a.test",
            "pool": "backend",
            "timeouts": {"response": 0.5},
        }
        tables["routes"].append(silent)
        tables["pools"]["dead"] = {"upstreams": [free_address()], "health": {"probe": "none"}}
        yield await run_proxy(programs, tables)


async def ask(address, raw):
    """The request as a head, and the answer to it."""
    request = parse_head(raw.partition(b"\r\n\r\n")[0])
    async with connection(address) as http:
        await http.send(raw)
        return request, await http.answer(raw.split(b" ")[0])


async def test_httplint_finds_nothing_wrong_with_any_error_the_proxy_makes(programs):
    async with running(programs) as proxy:
        for status, raw in REQUESTS.items():
            request, answer = await ask(proxy.address, raw)
            assert answer.status == status
            assert lint(request, answer).keys() <= {TOLD.get(status)}, (status, lint(request, answer))


async def test_nor_with_its_other_answers_and_those_it_forwards(programs):
    async with running(programs) as proxy:
        for raw, status in (
            (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 204),
            (b"HEAD / HTTP/1.1\r\nHost: other.test\r\n\r\n", 404),
            (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", 200),
            (b"GET /cached HTTP/1.1\r\n" + HOST + b'If-None-Match: "1"\r\n\r\n', 304),
        ):
            request, answer = await ask(proxy.address, raw)
            assert (answer.status, lint(request, answer)) == (status, {}), raw


async def test_nor_with_what_the_admin_address_serves(programs):
    async with running(programs) as proxy:
        for method, path in itertools.product(("GET", "HEAD", "POST"), ADMIN_PATHS):
            raw = f"{method} {path} HTTP/1.1\r\nHost: {proxy.admin}\r\nConnection: close\r\n\r\n"
            request, answer = await ask(proxy.admin, raw.encode())
            assert lint(request, answer) == {}, (method, path)


async def redbot(address):
    """What redbot says of a page, its own checks of conditional and partial requests included."""
    argv = [PYTHON, "-c", "from redbot.cli import main; main()", f"http://{address}/cached"]
    done = await trio.run_process(argv, capture_stdout=True)
    return {line.strip() for line in done.stdout.decode().splitlines() if line.startswith("  * ")}


async def test_redbot_finds_nothing_wrong_behind_the_proxy_but_what_is_so_in_front(programs):
    async with proxied_http(programs, cached) as both:
        in_front = await redbot(both.upstream.address)
        behind = await redbot(both.address)
    assert behind - in_front == {"* The server's clock is correct."}
    assert in_front - behind == {"* This response doesn't have a Date header."}
    assert "* If-None-Match conditional requests are supported." in behind
