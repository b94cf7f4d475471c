"""What peers and operators hold secret stays with them: a canary in every such place, and nothing of it in what is told.

Looked through is all that comes out: the log in both forms at level debug, /metrics in both formats, the API, the page.
Logged by contract, and so without canaries here, are the path and the fields Host, User-Agent and Origin.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
import trio
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    TEXT,
    WebSocket,
    close_payload,
    frame,
    upgrade_answer,
    upgrade_request,
    websocket,
)
from support.http_client import ask, connection, get_request, reset
from support.ports import free_address
from support.processes import PYTHON
from support.proxy import launch_proxy, run_proxy, write_config
from support.settings import settings
from support.upstream import reply, scripted_upstream
from support.waiting import wait_until

STEM = "zqxj"  # in nothing else that is ever written


def canary(place):
    return f"{STEM}-{place}"


def secret(place):
    return canary(place).encode()


# What a client may send beside the path; each field's value has a canary.
FIELDS = tuple(
    f"{name}: {canary(name.lower())}"
    for name in (
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-Api-Key",
        "Referer",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Real-IP",
        "X-Request-Id",
        "traceparent",
        "Forwarded",
        "Via",
        "Accept",
    )
)
QUERY = f"?token={canary('query')}"
ANSWER_FIELDS = tuple(
    f"{name}: {canary(f'answer-{name.lower()}')}" for name in ("Set-Cookie", "Location", "WWW-Authenticate", "X-Own")
)

# What an upstream answers, by path.
ANSWERS = {
    "/fine": reply(secret("body"), f"200 OK {canary('phrase')}", *ANSWER_FIELDS),
    "/error": reply(secret("error-body"), "500 Oh", *ANSWER_FIELDS),
    "/closed": b"",
    "/half": b"HTTP/1.1 200 OK\r\nX-Own: " + secret("half-head"),
    "/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + secret("cut-body"),
    "/garbage": secret("garbage") + b"\r\n\r\n",
    "/version": b"HTTP/9.9 200 " + secret("version") + b"\r\n\r\n",
    "/status": b"HTTP/1.1 2zz " + secret("status") + b"\r\n\r\n",
    "/field": b"HTTP/1.1 200 OK\r\n" + secret("no colon") + b"\r\n\r\n",
    "/name": b"HTTP/1.1 200 OK\r\n" + secret("bad name") + b" : x\r\n\r\n",
    "/folded": b"HTTP/1.1 200 OK\r\nA: b\r\n " + secret("folded") + b"\r\n\r\n",
    "/length": b"HTTP/1.1 200 OK\r\nContent-Length: " + secret("length") + b"\r\n\r\n",
    "/coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret("coding") + b"\r\n\r\n",
    "/large": b"HTTP/1.1 200 OK\r\nX-Own: " + secret("large") * 10_000 + b"\r\n\r\n",
    "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret("chunk size") + b"\r\n",
    "/extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + secret("extension") + b"\r\nx\r\n0\r\nT: "
    + secret("trailer") + b"\r\n\r\n",
    "/behind": reply(b"x") + secret("behind"),
    "/switch": b"HTTP/1.1 101 " + secret("switch") + b"\r\nUpgrade: " + secret("upgrade") + b"\r\n\r\n",
}  # fmt: skip
# What a client sends instead of a request.
HOSTILE = (
    secret("first line") + b"\r\n\r\n",
    b"GET /a?" + secret("hostile query") + b" HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /a?" + secret("no version") + b"\r\n\r\n",
    b"GET http://user:" + secret("password") + b"@a.test/fine HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"GET /a#" + secret("fragment") + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a\x01" + secret("control") + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + secret("no colon") + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + secret("bad name") + b" : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n " + secret("folded") + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: \x00" + secret("nul") + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + secret("large") * 10_000 + b"\r\n\r\n",
    b"GET /?" + secret("long") * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + secret("length") + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: " + secret("coding") + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + secret("chunk") + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: " + secret("expect") + b"\r\nContent-Length: 1\r\n\r\n",
    b"CONNECT " + secret("connect") + b":443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\nCookie: " + secret("options") + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01" + secret("tls hello"),
)
# What ends a tunnel by the rules, sent by a client.
BREACHES = (
    frame(TEXT, secret("unmasked")),
    frame(TEXT, secret("reserved bits"), mask=MASK, rsv=7),
    frame(3, secret("reserved opcode"), mask=MASK),
    frame(CONTINUATION, secret("continues nothing"), mask=MASK),
    frame(PING, secret("fragmented ping"), fin=False, mask=MASK),
    frame(PING, secret("long ping") * 20, mask=MASK),
    frame(CLOSE, close_payload(1005, canary("reserved code")), mask=MASK),
    frame(BINARY, secret("too long") * 200, mask=MASK),
)


async def upstream(http):
    while True:
        head = await http.head()
        path = head.start.split()[1].partition(b"?")[0].decode()
        if head.get(b"upgrade") is not None and await upgraded(http, head, path):
            return
        await http.body(head)
        if path in ("/slow", "/upgrade/slow"):
            await trio.sleep_forever()
        answer = ANSWERS.get(path, ANSWERS["/fine"])
        await http.send(answer)
        if path not in ("/fine", "/error", "/extension"):
            return


async def upgraded(http, head, path):
    """An answer to an upgrade; whether it was one of an upgrade's own."""
    bad = {
        "/upgrade/accept": upgrade_answer(head).replace(b"Accept: ", b"Accept: " + secret("accept")),
        "/upgrade/protocol": upgrade_answer(head, f"Sec-WebSocket-Protocol: {canary('not offered')}"),
        "/upgrade/extension": upgrade_answer(head, f"Sec-WebSocket-Extensions: {canary('extension')}"),
        "/upgrade/refused": reply(secret("refusal"), "403 Forbidden", *ANSWER_FIELDS),
    }
    if path in bad:
        await http.send(bad[path])
        return True
    if not path.startswith("/ws"):
        return False
    agreed = ["Sec-WebSocket-Protocol: chat"] if head.get(b"sec-websocket-protocol") else []
    await http.send(upgrade_answer(head, *ANSWER_FIELDS, *agreed))
    end = WebSocket(http, head, mask=None)
    if path == "/ws/breaks":
        await end.http.send(frame(TEXT, secret("masked by a server"), mask=MASK))
    if path == "/ws/refuses":
        await end.send(CLOSE, close_payload(1002, canary("upstream's protocol error")))
    if path == "/ws/closes":
        await end.send(CLOSE, close_payload(4000, canary("upstream's reason")))
    while (got := await end.receive()).opcode != CLOSE:
        await end.send(got.opcode, got.payload, fin=got.fin)
        if path == "/ws/gone":
            return True
    if path != "/ws/closes":
        await end.send(CLOSE, got.payload)
    return True


def configuration(address, dead, folder, form):
    probes = {"interval": 0.2, "timeout": 0.2, "headers": {"Authorization": canary("probe")}}
    pools = {
        "main": {"upstreams": [address], "health": {"probe": "none"}},
        "dead": {"upstreams": [dead], "health": {"probe": "none"}},
        # Probes whose answers are wrong, and say secrets.
        **{
            name: {"upstreams": [address], "health": {"probe": probe, "path": path + QUERY, **probes}}
            for name, probe, path in (
                ("p1", "http", "/error"),
                ("p2", "http", "/garbage"),
                ("p3", "http", "/field"),
                ("p4", "websocket", "/garbage"),
                ("p5", "websocket", "/upgrade/accept"),
                ("p6", "websocket", "/upgrade/refused"),
                ("p7", "websocket", "/upgrade/protocol"),
                ("p8", "websocket", "/ws/breaks"),
                ("p9", "http", "/large"),
                ("pa", "websocket", "/field"),
                ("pb", "websocket", "/upgrade/extension"),
                ("pc", "websocket", "/ws/closes"),
                ("pd", "websocket", "/ws/refuses"),
            )
        },
    }
    routes = [
        {"name": "all", "path": "/", "pool": "main", "timeouts": {"response": 0.3, "handshake": 0.3}},
        {"name": "fixed", "path": "/fixed", "pool": "main", "set_headers": {"Authorization": canary("set")}},
        {"name": "dead", "path": "/dead", "pool": "dead"},
        {"name": "down", "path": "/down", "pool": "p1"},
        {"name": "only", "path": "/only", "pool": "main", "allowed_origins": ["https://example.com"]},
    ]
    return {
        "server": {"drain": {"spread": 0.2, "timeout": 1}},
        "admin": {"address": "127.0.0.1:0", "token_file": str(folder / "token")},
        "log": {"format": form, "level": "debug", **({"file": str(folder / "log")} if form == "text" else {})},
        "websocket": {"max_message_bytes": 1000},
        "timeouts": {"head": 0.3, "close": 0.5},
        "listeners": [{"name": "public", "address": "127.0.0.1:0"}],
        "routes": routes,
        "pools": pools,
    }


async def send_raw(address, raw):
    """All of it, and whatever is answered until the end; a reset is an answer, too."""
    try:
        async with connection(address) as http:
            await http.send(raw)
            await http.stream.send_eof()
            return await http.rest()
    except (OSError, trio.BrokenResourceError):
        return b""


async def plain(proxy):
    body = secret("request body")
    for path in (*ANSWERS, "/slow", "/dead", "/down", "/only", "/fixed"):
        request = get_request(path + QUERY, *FIELDS, "Connection: close", f"Content-Length: {len(body)}", method="POST")
        await send_raw(proxy.address, request + body)
    chunked = get_request("/fine" + QUERY, *FIELDS, "Transfer-Encoding: chunked", "Connection: close", method="POST")
    await send_raw(
        proxy.address, chunked + b"4;" + secret("ext") + b"\r\nabcd\r\n0\r\nT: " + secret("trailer") + b"\r\n\r\n"
    )
    for raw in HOSTILE:
        await send_raw(proxy.address, raw)
    async with connection(proxy.address) as http:  # a head that does not end in time
        await http.send(b"GET / HTTP/1.1\r\nCookie: " + secret("late head"))
        assert b" 408 " in (await http.answer()).start + b" "


async def tunnels(proxy):
    offered = f"Sec-WebSocket-Protocol: chat, {canary('offered')}"
    extension = f"Sec-WebSocket-Extensions: {canary('offered-extension')}"
    for path in ("accept", "protocol", "extension", "refused", "slow"):
        await send_raw(proxy.address, upgrade_request(f"/upgrade/{path}{QUERY}", *FIELDS, offered, extension))
    for path in ("/dead", "/down", "/only"):
        await send_raw(proxy.address, upgrade_request(path + QUERY, *FIELDS, offered))
    await send_raw(
        proxy.address, upgrade_request("/ws" + QUERY, *FIELDS).replace(b"Version: 13", b"Version: " + secret("v"))
    )
    await send_raw(proxy.address, upgrade_request("/ws" + QUERY, *FIELDS, key=secret("key")))
    for breach in BREACHES:
        async with websocket(proxy.address, "/ws" + QUERY, *FIELDS, offered) as end:
            await end.http.send(breach)
            await until_end(end)
    for path in ("/ws/breaks", "/ws/closes", "/ws/gone"):
        async with websocket(proxy.address, path + QUERY, *FIELDS, offered) as end:
            await end.send(TEXT, secret("text"))
            await until_end(end)
    async with websocket(proxy.address, "/ws" + QUERY, *FIELDS, offered) as end:
        await end.send(TEXT, secret("cut"), fin=False)
        await end.receive()
        reset(end.http.stream)


async def until_end(end):
    try:
        while (await end.receive()).opcode != CLOSE:
            pass
        await end.send(CLOSE, close_payload(1000, canary("client's reason")))
        await end.http.rest()
    except (OSError, trio.BrokenResourceError):
        pass


async def operators(proxy, token):
    """Requests to the admin endpoints with tokens, right and wrong, and bytes that make no sense."""
    host = proxy.admin
    wrong = (f"Authorization: Bearer {canary('wrong-token')}", f"Cookie: {canary('admin-cookie')}")
    post = {"method": "POST", "host": host}
    body = json.dumps({canary("key"): canary("value")}).encode()
    length = (f"Content-Length: {len(body)}", "Content-Type: application/json", "Connection: close")
    right = f"Authorization: Bearer {token}"
    for raw in (
        get_request("/api/status", *wrong, "Connection: close", host=host),
        get_request(f"/api/tunnels{QUERY}", *wrong, "Connection: close", host=host),
        get_request(f"/api/tunnels{QUERY}", right, "Connection: close", host=host),
        get_request(f"/metrics{QUERY}", *wrong, "Connection: close", host=host),
        get_request(f"/nowhere{QUERY}", *wrong, "Connection: close", host=host),
        get_request("/api/pools/main/upstreams/x/drain", *wrong, *length, **post) + body,
        get_request("/api/pools/main/upstreams/x/drain", right, *length, **post) + body,
        get_request("/api/tunnels/x/close", right, *length, **post) + secret("not json").ljust(len(body)),
        secret("admin garbage") + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + secret("admin field") + b"\r\n\r\n",
        get_request(
            "/", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", f"HTTP2-Settings: {canary('h2')}", host=host
        ),
        get_request("/", f"Upgrade: {canary('admin-upgrade')}", "Connection: Upgrade", host=host),
        upgrade_request("/api" + QUERY, *wrong, host=host),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + secret("h2 preface"),
    ):
        with trio.move_on_after(2):
            await send_raw(proxy.admin, raw)


async def told(proxy, token):
    """Everything the admin endpoints say, to who may ask."""
    said = {}
    for path in ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/tunnels?limit=1000"):
        request = get_request(path, f"Authorization: Bearer {token}", "Connection: close", host=proxy.admin)
        said[path] = (await ask(proxy.admin, request)).body
    openmetrics = get_request("/metrics", "Accept: application/openmetrics-text", "Connection: close", host=proxy.admin)
    said["openmetrics"] = (await ask(proxy.admin, openmetrics)).body
    async with connection(proxy.admin) as http:
        await http.send(get_request("/api/live", f"Authorization: Bearer {token}", host=proxy.admin))
        with trio.move_on_after(3):
            while len(http.buffer) < 4000:
                http.buffer += await http.stream.receive_some(65536)
        said["/api/live"] = bytes(http.buffer)
    return said


async def run_with_file(programs, tables):
    """As `run_proxy`, with its log as text in a file."""
    file = Path(tables["log"]["file"])
    proxy = await launch_proxy(programs, tables)

    def listening():
        lines = file.read_text() if file.exists() else ""
        found = dict(re.findall(r" listening listener=(\w+) address=(\S+)", lines))
        return found if {"public", "admin"} <= found.keys() else None

    proxy.addresses.update(await wait_until(listening, "listening"))
    return proxy


def leaks(said):
    """Where a canary is, with what stands around it; base64 counts, too."""
    encoded = base64.b64encode(STEM.encode()).rstrip(b"=")[:-1]
    for place, spoken in said.items():
        text = (spoken if isinstance(spoken, bytes) else spoken.encode()).lower()
        for mark in (STEM.encode(), encoded.lower()):
            at = text.find(mark)
            while at >= 0:
                yield place, text[max(0, at - 150) : at + 60]
                at = text.find(mark, at + 1)


@pytest.mark.parametrize("form", ["json", "text"])
async def test_nothing_secret_is_logged_measured_or_told(programs, form):
    token = canary("token") + "-and-long-enough-for-a-token-file"
    token_file = programs.folder / "token"
    token_file.write_text(token + "\n")
    token_file.chmod(0o600)
    async with scripted_upstream(upstream) as server:
        tables = configuration(server.address, free_address(), programs.folder, form)
        proxy = await run_proxy(programs, tables) if form == "json" else await run_with_file(programs, tables)
        await plain(proxy)
        await tunnels(proxy)
        await operators(proxy, token)
        async with websocket(proxy.address, "/ws" + QUERY, *FIELDS) as end:
            for opcode in (TEXT, BINARY, PING, PONG):
                await end.send(opcode, secret(f"payload {opcode}"))
                assert (await end.receive()).payload == secret(f"payload {opcode}")
            said = await told(proxy, token)
            await end.send(CLOSE, close_payload(1000, canary("reason")))
            await end.receive()
        await proxy.stop()
        said["stderr"], said["stdout"] = proxy.program.err.text, proxy.program.out.text
        if form == "text":
            said["log"] = (programs.folder / "log").read_text()
    log = said["log" if form == "text" else "stderr"]
    assert len(log.splitlines()) > 100 and "tunnel_end" in log and "probe_failed" in log
    found = list(leaks(said))
    assert not found, "\n".join(f"{place}: {text!r}" for place, text in found)


# Values that break a rule, each beside a secret or one itself.
BAD_SETTINGS = (
    {"set_headers": {"Authorization": f" {canary('blank')}"}},
    {"set_headers": {"Authorization": canary("fine"), "Connection": canary("value")}},
    {"set_headers": {"Authorization": canary("fine")}, "exact": "yes"},
)


async def test_a_bad_configuration_is_refused_without_its_secrets(programs):
    tables = settings(["127.0.0.1:1"], health={"probe": "http", "headers": {"Authorization": f" {canary('probe')}"}})
    routes = [{"path": f"/{at}", "pool": "backend", "unknown": 1, **route} for at, route in enumerate(BAD_SETTINGS)]
    path = write_config(programs, {**tables, "routes": routes})
    program = await programs.start("check", [PYTHON, "-m", "trioproxy", "check", "-c", path])
    assert await program.wait() == 2
    said = program.out.text + program.err.text
    assert said.count("].unknown: ") == len(routes) and "headers.Authorization" in said and "Connection" in said
    assert not list(leaks({"check": said}))
