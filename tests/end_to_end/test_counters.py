"""Every counter after known traffic: what clients and upstreams counted, no less and no more, in one process and in two.

The expectations are a table: each step of the traffic adds what its ends saw. A sample that is not 0 and that no step
has spoken of fails the test.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from support.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
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
from support.http_client import ask, connection, dial, get_request, reset
from support.ports import free_address
from support.proxy import run_proxy
from support.upstream import reply, scripted_upstream
from support.waiting import wait_until

from trioproxy.metrics import ALL_METRICS
from trioproxy.metrics.table import Kind

ROOT = Path(__file__).parents[2]

OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
SIZES = (125, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)  # the buckets of message sizes
# What no traffic decides: checked to be there and sensible.
MEASURED = (
    "event_loop_lag_seconds",
    "worker_cpu_seconds_total",
    "worker_resident_memory_bytes",
    "worker_open_fds",
    "config_last_reload_success_timestamp_seconds",
    "build_info",
)
# Counters that stay at 0 here, and the file that has them count exactly.
ELSEWHERE = {
    "accept_failures_total": "tests/test_listening.py",
    "chaos_injected_total": "tests/end_to_end/test_chaos_verbs.py",
    "config_reloads_total": "tests/end_to_end/test_reload.py",
    "log_lines_dropped_total": "tests/test_housekeeping.py",
    "series_dropped_total": "tests/metrics/test_registry.py",
    "upstream_ejections_total": "tests/end_to_end/test_ejection.py",
    "worker_restarts_total": "tests/end_to_end/test_workers.py",
}
FROM_CLIENT = (
    (TEXT, b"whole", True),
    (TEXT, b"", False),
    (CONTINUATION, b"middle", False),
    (PING, b"between", True),
    (CONTINUATION, b"end", True),
    (BINARY, bytes(126), True),
    (BINARY, bytes(65536), True),
    (PONG, b"unasked", True),
)
FROM_UPSTREAM = (
    (BINARY, b"a" * 65537, True),
    (TEXT, b"frag", False),
    (PING, b"", True),
    (CONTINUATION, b"ment", True),
    (TEXT, b"", True),
)


@attrs.define(eq=False)
class Known:
    """What the ends counted, under the names and labels of the metrics."""

    upstream: str
    counted: Counter = attrs.field(factory=Counter)
    waits: float = 0.0  # seconds that passed in all: no duration is longer

    def add(self, name, n=1, **labels):
        self.counted[name, tuple(sorted(labels.items()))] += n

    def connected(self, pool="main"):
        """A connection of the proxy's to the upstream."""
        self.add("connect_duration_seconds_count", pool=pool)

    def asked(self, route, code, ending, *, pool="main", kind="http", sent=0, got=0):
        """A client on a connection of its own, and how it was answered; octets of bodies as both ends saw them."""
        self.add("connections_total", listener="public")
        self.request(route, code, ending, pool=pool, kind=kind, sent=sent, got=got)

    def request(self, route, code, ending, *, pool="main", kind="http", sent=0, got=0):
        self.add("requests_total", route=route, pool=pool, kind=kind, code=str(code))
        self.ended(ending)
        if kind == "http" and route != "none":
            self.add("request_duration_seconds_count", route=route, pool=pool)
        for direction, octets in (("to_upstream", sent), ("to_client", got)):
            if octets:
                self.add("http_bytes_total", octets, pool=pool, upstream=self.upstream, direction=direction)

    def ended(self, ending):
        self.add("endings_total", **dict(zip(("by", "phase", "reason"), ending.split(), strict=True)))

    def failed(self, reason, *, pool="main", upstream=None):
        """What passive checks hold against an upstream."""
        self.add("upstream_failures_total", pool=pool, upstream=upstream or self.upstream, reason=reason)

    def handshake(self, route, result, *, pool="main", upstream=None):
        self.add("handshakes_total", route=route, pool=pool, upstream=upstream or self.upstream, result=result)
        if result in ("accepted", "refused", "invalid"):
            self.add("handshake_duration_seconds_count", pool=pool)

    def tunnel(self, route, ending, by, code, *, pool="main"):
        """An accepted upgrade and what became of it."""
        self.asked(route, 101, ending, pool=pool, kind="websocket")
        self.connected(pool)
        self.handshake(route, "accepted", pool=pool)
        self.add("tunnels_total", route=route, pool=pool, upstream=self.upstream)
        self.add("tunnel_duration_seconds_count", pool=pool)
        self.add("closes_total", pool=pool, upstream=self.upstream, by=by, code=code)

    def frames(self, direction, frames, *, pool="main"):
        """What one end sent into a tunnel, in whole."""
        where = {"pool": pool, "direction": direction}
        self.octets(direction, frames, pool=pool)
        size = 0
        for opcode, payload, final in frames:
            self.add("frames_total", upstream=self.upstream, opcode=OPCODES[opcode], **where)
            if opcode < CLOSE:
                size += len(payload)
                if final:
                    self.message(size, where)
                    size = 0

    def octets(self, direction, frames, *, pool="main"):
        mask = MASK if direction == "to_upstream" else None
        sent = sum(len(frame(opcode, payload, fin=final, mask=mask)) for opcode, payload, final in frames)
        self.add("bytes_total", sent, pool=pool, upstream=self.upstream, direction=direction)

    def message(self, size, where):
        self.add("messages_total", upstream=self.upstream, **where)
        self.add("message_size_bytes_count", **where)
        self.add("message_size_bytes_sum", size, **where)
        for bound in (*SIZES, math.inf):
            if size <= bound:
                self.add("message_size_bytes_bucket", le=float(bound), **where)

    def injected(self, side, opcode="close", n=1, *, pool="main"):
        self.add("injected_frames_total", n, pool=pool, side=side, opcode=opcode)


@attrs.define(eq=False)
class Server:
    """The upstream: plain answers by path, and ends of tunnels as the path says."""

    probes: int = 0
    pongs: int = 0

    async def __call__(self, http):
        while True:
            head = await http.head()
            path = head.start.split()[1].partition(b"?")[0].decode()
            if head.get(b"upgrade") is not None:
                await self.upgrade(http, head, path)
                return
            body = await http.body(head)
            self.probes += path == "/health"
            status = "500 Internal Server Error" if path.endswith("/500") else "200 OK"
            answer = reply(b"x" * 100 + body, status)
            await http.send(answer.partition(b"x")[0] if head.start.startswith(b"HEAD") else answer)

    async def upgrade(self, http, head, path):
        match path.split("/")[1]:
            case "no":
                await http.send(reply(b"no", "403 Forbidden"))
                return
            case "bad":
                await http.send(upgrade_answer(head).replace(b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x"))
                return
            case "slow":
                await http.rest()
                return
        await http.send(upgrade_answer(head))
        await self.talk(WebSocket(http, head, mask=None), path)

    async def talk(self, end, path):
        if path == "/ws/gone":  # without a Close
            await end.receive()
            return
        if path.startswith("/ws"):
            for opcode, payload, final in FROM_UPSTREAM:
                await end.send(opcode, payload, fin=final)
        while True:
            got = await end.receive()
            if got.opcode == PING and path == "/pings":
                await end.send(PONG, got.payload)
                self.pongs += 1
            if got.opcode == CLOSE:
                if path != "/ws/upstream":
                    await end.send(CLOSE, got.payload)
                return
            if path == "/ws/upstream" and got.payload == b"end":
                await end.send(CLOSE, close_payload(4001))


def configuration(upstream, dead, workers):
    once = {"interval": 3600, "timeout": 2}
    pool = {"keep_alive": 0, "attempts": 1}
    pools = {
        "main": {**pool, "upstreams": [upstream], "health": {"probe": "http", "path": "/health", **once}},
        "spare": {
            **pool,
            "attempts": 2,
            "upstreams": [dead, {"address": upstream, "backup": True}],
            "health": {"probe": "none"},
        },
        "dead": {**pool, "upstreams": [dead], "health": {"probe": "none"}},
        "down": {**pool, "upstreams": [dead], "health": {"probe": "tcp", **once}},
        "small": {**pool, "upstreams": [{"address": upstream, "max_connections": 1}], "health": {"probe": "none"}},
    }
    routes = {
        "http": {},
        "ws": {},
        "no": {},
        "bad": {},
        "slow": {"timeouts": {"handshake": 0.3}},
        "origin": {"allowed_origins": ["https://example.com"]},
        "sized": {"websocket": {"max_message_bytes": 100}},
        "pings": {"websocket": {"ping_interval": 1}},
        "spare": {"pool": "spare"},
        "dead": {"pool": "dead"},
        "down": {"pool": "down"},
        "small": {"pool": "small"},
    }
    return {
        "server": {"workers": workers, "drain": {"spread": 0.2, "timeout": 3}},
        "admin": {"address": "127.0.0.1:0"},
        "log": {"format": "json"},
        "limits": {"max_connections": 4, "max_body_bytes": 1000},
        "listeners": [{"name": "public", "address": "127.0.0.1:0"}],
        "routes": [{"name": name, "path": f"/{name}", "pool": "main", **more} for name, more in routes.items()],
        "pools": pools,
    }


CLOSING = "Connection: close"


async def plain(proxy, known):
    """Requests and their answers, bodies of all framings, failures of each kind."""
    answer = await ask(proxy.address, get_request("/http/a?q=1", CLOSING))
    known.asked("http", 200, "upstream response done", got=len(answer.body))
    known.connected()
    await ask(proxy.address, get_request("/http/a", CLOSING, method="HEAD"))
    known.asked("http", 200, "upstream response done")
    known.connected()
    answer = await ask(proxy.address, get_request("/http/500", CLOSING))
    known.asked("http", 500, "upstream response done", got=len(answer.body))
    known.connected()
    sized = get_request("/http/b", CLOSING, "Content-Length: 700", method="POST") + bytes(700)
    answer = await ask(proxy.address, sized)
    known.asked("http", 200, "upstream response done", sent=700, got=len(answer.body))
    known.connected()
    chunked = get_request("/http/c", CLOSING, "Transfer-Encoding: chunked", method="POST")
    answer = await ask(proxy.address, chunked + b"5\r\nhello\r\n3;x=y\r\nyou\r\n0\r\n\r\n")
    known.asked("http", 200, "upstream response done", sent=8, got=len(answer.body))
    known.connected()

    async with connection(proxy.address) as http:  # three on one connection, whose end is the client's
        for turn in range(3):
            await http.send(get_request("/http/kept"))
            answer = await http.answer()
            count = known.asked if turn == 0 else known.request
            count("http", 200, "upstream response done", got=len(answer.body))
            known.connected()
    known.ended("client head done")

    await ask(proxy.address, get_request("/nowhere", CLOSING))
    known.asked("none", 404, "client route no_route", pool="none")
    await ask(proxy.address, b"not a request\r\n\r\n", method=b"GET")
    known.asked("none", 400, "client head invalid", pool="none")
    await ask(proxy.address, get_request("/http/d", CLOSING, "Content-Length: 1001", method="POST"))
    known.asked("http", 413, "client request too_large")
    async with connection(proxy.address) as http:  # a head that never ends
        await http.send(b"GET / HTTP/1.1\r\nHost:")
        await http.stream.send_eof()
        assert (await http.answer()).status == 400
    known.asked("none", 400, "client head closed", pool="none")


async def upstreams_fail(proxy, known, dead):
    answer = await ask(proxy.address, get_request("/dead", CLOSING))
    assert answer.status == 503
    known.asked("dead", 503, "upstream connect refused", pool="dead")
    known.add("connect_failures_total", pool="dead", upstream=dead, reason="refused")
    known.failed("connect", pool="dead", upstream=dead)
    assert (await ask(proxy.address, get_request("/down", CLOSING))).status == 503
    known.asked("down", 503, "proxy connect no_upstream", pool="down")
    answer = await ask(proxy.address, get_request("/spare", CLOSING))
    assert answer.status == 200
    known.asked("spare", 200, "upstream response done", pool="spare", got=len(answer.body))
    known.add("connect_failures_total", pool="spare", upstream=dead, reason="refused")
    known.failed("connect", pool="spare", upstream=dead)
    known.add("retries_total", pool="spare", reason="connect")
    known.connected("spare")


async def refused(proxy, known, dead):
    """Upgrades that come to nothing."""
    answer = await ask(proxy.address, upgrade_request("/no"))
    assert answer.status == 403
    known.asked("no", 403, "upstream handshake refused", kind="websocket", got=len(answer.body))
    known.connected()
    known.handshake("no", "refused")
    assert (await ask(proxy.address, upgrade_request("/bad"))).status == 502
    known.asked("bad", 502, "upstream handshake invalid", kind="websocket")
    known.connected()
    known.handshake("bad", "invalid")
    known.failed("handshake")
    assert (await ask(proxy.address, upgrade_request("/slow"))).status == 504
    known.asked("slow", 504, "upstream handshake timeout", kind="websocket")
    known.connected()
    known.handshake("slow", "timeout")
    known.failed("handshake")
    assert (await ask(proxy.address, upgrade_request("/dead"))).status == 503
    known.asked("dead", 503, "upstream connect refused", pool="dead", kind="websocket")
    known.add("connect_failures_total", pool="dead", upstream=dead, reason="refused")
    known.failed("connect", pool="dead", upstream=dead)
    known.handshake("dead", "unreachable", pool="dead", upstream=dead)
    assert (await ask(proxy.address, upgrade_request("/down"))).status == 503
    known.asked("down", 503, "proxy connect no_upstream", pool="down", kind="websocket")
    known.handshake("down", "unreachable", pool="down", upstream="none")
    assert (await ask(proxy.address, upgrade_request("/origin", "Origin: https://evil.example"))).status == 403
    known.asked("origin", 403, "client route forbidden", kind="websocket")
    version = upgrade_request("/ws").replace(b"Version: 13", b"Version: 8")
    assert (await ask(proxy.address, version)).status == 426
    known.asked("ws", 426, "client handshake invalid", kind="websocket")
    short = upgrade_request("/ws").replace(KEY, b"c2hvcnQ=")
    assert (await ask(proxy.address, short)).status == 400
    known.asked("ws", 400, "client handshake invalid", kind="websocket")


async def receive_all(end, frames):
    for opcode, payload, final in frames:
        got = await end.receive()
        assert (got.opcode, got.payload, got.fin) == (opcode, payload, final)


async def send_all(end, frames):
    for opcode, payload, final in frames:
        await end.send(opcode, payload, fin=final)


async def tunnels(proxy, known):
    """Frames of all kinds both ways, and every way a tunnel can end."""
    for code, label in ((1000, "1000"), (1001, "1001"), (3000, "3xxx"), (None, "empty")):
        payload = b"" if code is None else close_payload(code, "bye")
        async with websocket(proxy.address, "/ws") as end:
            await receive_all(end, FROM_UPSTREAM)
            await send_all(end, FROM_CLIENT)
            await end.send(CLOSE, payload)
            assert (await end.receive()).opcode == CLOSE
            assert await end.http.at_end()
        known.tunnel("ws", "client close done", "client", label)
        known.frames("to_upstream", [*FROM_CLIENT, (CLOSE, payload, True)])
        known.frames("to_client", [*FROM_UPSTREAM, (CLOSE, payload, True)])

    async with websocket(proxy.address, "/ws/upstream") as end:  # the upstream ends it
        await end.send(TEXT, b"end")
        await receive_all(end, [*FROM_UPSTREAM, (CLOSE, close_payload(4001), True)])
        await end.send(CLOSE, close_payload(4001))
        assert await end.http.at_end()
    known.tunnel("ws", "upstream close done", "upstream", "4xxx")
    known.frames("to_upstream", [(TEXT, b"end", True), (CLOSE, close_payload(4001), True)])
    known.frames("to_client", [*FROM_UPSTREAM, (CLOSE, close_payload(4001), True)])

    async with websocket(proxy.address, "/ws/gone") as end:  # it goes without a word
        await end.send(TEXT, b"go")
        assert (await end.receive()).opcode == CLOSE  # which nobody but the proxy sent
        known.injected("client")
        await end.send(CLOSE, b"")
        assert await end.http.at_end()
    known.tunnel("ws", "upstream tunnel closed", "upstream", "none")
    known.failed("tunnel")
    known.frames("to_upstream", [(TEXT, b"go", True), (CLOSE, b"", True)])

    async with websocket(proxy.address, "/ws") as end:  # the client resets
        await receive_all(end, FROM_UPSTREAM)
        await end.send(TEXT, b"last")
        await wait_until(partial(counted, proxy, known, "text"), "the last message was counted")
        reset(end.http.stream)
    known.tunnel("ws", "client tunnel reset", "client", "none")
    known.frames("to_upstream", [(TEXT, b"last", True)])
    known.injected("upstream")
    known.frames("to_client", [*FROM_UPSTREAM, (CLOSE, close_payload(1001), True)])  # the upstream's answer to that


async def counted(proxy, known, opcode):
    """Whether one more frame has come than is known of: a reset may overtake what was sent before it."""
    labels = {"pool": "main", "upstream": known.upstream, "direction": "to_upstream", "opcode": opcode}
    before = known.counted["frames_total", tuple(sorted(labels.items()))]
    return (await proxy.metrics()).total("frames_total", **labels) == before + 1


async def cut_short(proxy, known):
    """Tunnels the proxy ends: too long a message, an operator."""
    async with websocket(proxy.address, "/sized") as end:
        await end.send(BINARY, bytes(100))
        await end.send(BINARY, bytes(101))
        assert (await end.receive()).close_code == 1009
        known.injected("client")
        known.injected("upstream")
        await end.send(CLOSE, close_payload(1009))
        assert await end.http.at_end()
    known.tunnel("sized", "proxy tunnel too_large", "proxy", "1009")
    known.frames("to_upstream", [(BINARY, bytes(100), True)])
    # Of what breaks a limit and what comes behind it only the octets count.
    known.octets("to_upstream", [(BINARY, bytes(101), True), (CLOSE, close_payload(1009), True)])
    known.frames("to_client", [(CLOSE, close_payload(1009), True)])

    async with websocket(proxy.address, "/small") as end:
        answer = await ask(proxy.address, get_request("/small", CLOSING))  # meanwhile the upstream is full
        assert answer.status == 503
        known.asked("small", 503, "proxy connect full", pool="small")
        (tunnel,) = await listed(proxy)
        await ask(
            proxy.admin,
            get_request(f"/api/tunnels/{tunnel['id']}/close", CLOSING, method="POST", host=proxy.admin)[:-2]
            + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        )
        assert (await end.receive()).close_code == 1012
        known.injected("client", pool="small")
        await end.send(CLOSE, close_payload(1012))
        assert await end.http.at_end()
    known.tunnel("small", "proxy tunnel operator", "proxy", "1012", pool="small")
    known.frames("to_upstream", [(CLOSE, close_payload(1012), True)], pool="small")
    known.frames("to_client", [(CLOSE, close_payload(1012), True)], pool="small")


async def listed(proxy):
    """The open tunnels, once there is one."""

    async def look():
        return json.loads(await proxy.ask_admin("/api/tunnels"))

    return await wait_until(look, "the tunnel is listed")


async def pinged(proxy, known, server):
    """Pings of the proxy's own, both ways, answered by both ends."""
    pings = 0
    async with websocket(proxy.address, "/pings") as end:
        while not pings or not server.pongs:
            got = await end.receive()
            assert got.opcode == PING
            await end.send(PONG, got.payload)
            pings += 1
        pongs = pings
        await end.send(CLOSE, close_payload(1000))
        while (got := await end.receive()).opcode == PING:
            pings += 1  # too late to be answered
        assert await end.http.at_end()
    known.tunnel("pings", "client close done", "client", "1000")
    known.frames("to_upstream", [(CLOSE, close_payload(1000), True)])
    known.frames("to_client", [(CLOSE, close_payload(1000), True)])
    known.injected("client", "ping", pings)
    known.injected("upstream", "ping", server.pongs)
    for side, answered in (("client", pongs), ("upstream", server.pongs)):
        known.injected(side, "pong", answered)
        known.add("ping_rtt_seconds_count", answered, pool="main", side=side)


async def overloaded(proxy, known):
    """One client more than there may be."""
    await proxy.wait_until(lambda seen: not seen.total("connections_active"), "nobody else is there")
    held = [await dial(proxy.address) for _ in range(4)]
    await proxy.wait_until(lambda seen: seen.total("connections_active") == 4, "four clients")
    assert (await ask(proxy.address, get_request("/http"))).status == 503
    for stream in held:
        await stream.aclose()
    for _ in range(5):
        known.add("connections_total", listener="public")
    for _ in range(4):
        known.ended("client head done")
    known.add("connections_rejected_total", listener="public", reason="overloaded")


def at_rest(known, dead):
    """Gauges when nothing is under way."""
    for pool, upstream, state in (
        ("main", known.upstream, "up"),
        ("spare", dead, "up"),
        ("spare", known.upstream, "up"),
        ("dead", dead, "up"),
        ("down", dead, "down"),
        ("small", known.upstream, "up"),
    ):
        where = {"pool": pool, "upstream": upstream}
        known.add("upstream_state", **where, state=state)
        known.add("upstream_weight", **where)
        if state == "up":
            known.add("upstream_up", **where)
    known.add("config_last_reload_successful")
    known.add("connections_limit", 4)


def compare(samples, known, seconds):
    """What is wrong: a sample beside what is known of it, None where there is none or nothing is known."""
    left, wrong = Counter(known.counted), {}
    for name, labels, value in samples.rows:
        short = name.removeprefix("trioproxy_")
        own = key(short, labels)
        if short == name or (value == 0 and own not in left):
            continue
        if short.startswith(MEASURED):
            right = value > 0
        elif short.endswith("_seconds_sum"):
            right = 0 < value < seconds
        elif short.endswith("_seconds_bucket"):
            whole = known.counted[
                key(short.replace("_bucket", "_count"), {k: v for k, v in labels.items() if k != "le"})
            ]
            right = value == whole if labels["le"] == "+Inf" else value <= whole
        else:
            right = value == left.pop(own, None)
        if not right:
            wrong[own] = value, known.counted.get(own)
    return wrong | {own: (None, value) for own, value in left.items() if own not in wrong}


def never_counted(known):
    """The counters of which nothing above 0 is known."""
    moved = {name for (name, _), value in known.counted.items() if value}
    counters = {metric.name.removeprefix("trioproxy_") for metric in ALL_METRICS if metric.kind is Kind.COUNTER}
    return counters - moved - set(MEASURED)


def test_what_stays_at_0_here_counts_elsewhere():
    for name, path in ELSEWHERE.items():
        text = (ROOT / path).read_text()
        assert name in text or name.removesuffix("_total") in text or name.removesuffix("_total").upper() in text, name


async def settled(proxy, look):
    """What is still wrong when nothing changes any more: workers publish what ended tunnels counted once a second."""
    wrong: dict = {}

    async def right():
        nonlocal wrong
        wrong = look(await proxy.metrics())
        return not wrong

    with suppress(AssertionError):
        await wait_until(right, "all counters are right", seconds=5)
    return wrong


def key(name, labels):
    labels = {**labels, "le": float(labels["le"])} if "le" in labels else labels
    return name, tuple(sorted(labels.items()))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.rule("vanished")
async def test_after_known_traffic_every_counter_is_what_the_ends_counted(programs, workers):
    server, dead, began = Server(), free_address(), trio.current_time()
    async with scripted_upstream(server) as upstream:
        known = Known(upstream.address)
        proxy = await run_proxy(programs, configuration(upstream.address, dead, workers))
        await plain(proxy, known)
        await upstreams_fail(proxy, known, dead)
        await refused(proxy, known, dead)
        await tunnels(proxy, known)
        await cut_short(proxy, known)
        await pinged(proxy, known, server)
        await overloaded(proxy, known)
        at_rest(known, dead)
        known.add("probes_total", server.probes, pool="main", upstream=upstream.address, result="ok")
        known.add("probe_duration_seconds_count", server.probes, pool="main", upstream=upstream.address)
        known.add("probes_total", pool="down", upstream=dead, result="refused")
        known.add("probe_duration_seconds_count", pool="down", upstream=dead)
        wrong = await settled(proxy, lambda seen: compare(seen, known, trio.current_time() - began))
        assert not wrong, "\n".join(f"{name}: {found} and not {wanted}" for name, (found, wanted) in wrong.items())
        assert never_counted(known) == set(ELSEWHERE)
        await proxy.stop()
