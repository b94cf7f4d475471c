"""PROXY headers over real sockets: attacks with them, what a slow one costs others, and HAProxy as the one who sends them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial

import attrs
import pytest
import trio
from support.attacks import GONE, Strength, bystander, dribbling, say_nothing, serve_anything
from support.certificates import Authority
from support.frames import BINARY, WebSocket, frame, upgrade_answer, upgrade_request
from support.http_client import HttpConnection, dial, get_request, split_address
from support.ports import free_address, free_ipv6_port
from support.proxy import ProxyProcess, run_proxy
from support.proxy_headers import LOCAL, UNKNOWN, addresses, binary, from_client, line, vector
from support.serving import echo
from support.settings import settings
from support.tls_client import client_context, secured
from support.upstream import reply, scripted_upstream
from support.waiting import wait_until

CLIENT = "198.51.100.7"
BALANCER, STRANGER = "127.0.0.1", "127.0.0.2"
SMUGGLED = get_request("/smuggled")

# What is sent, whether FIN follows, and the ending. All of it is somebody's who would be believed.
ATTACKS = {
    "no header": (SMUGGLED, False, "invalid"),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", False, "invalid"),
    "too short for its addresses": (binary(length=11) + SMUGGLED, False, "invalid"),
    "no addresses at all": (binary(b"", length=0) + SMUGGLED, False, "invalid"),
    "IPv6 in the length of IPv4": (binary(family=0x21) + SMUGGLED, False, "invalid"),
    "a length that swallows the request": (binary(length=12 + len(SMUGGLED)) + SMUGGLED, False, "invalid"),
    "a length that swallows a part of it": (binary(length=12 + 16) + SMUGGLED, False, "invalid"),
    "the greatest length and nothing behind": (binary(length=0xFFFF), False, "too_large"),
    "the greatest length of a local one": (binary(b"", command=0x20, family=0, length=0xFFFF), False, "too_large"),
    "a TLV that is longer than the header": (binary(addresses() + b"\x04\xff\xff") + SMUGGLED, False, "invalid"),
    "another version": (binary(command=0x31) + SMUGGLED, False, "invalid"),
    "another command": (binary(command=0x22) + SMUGGLED, False, "invalid"),
    "another family": (binary(family=0x41) + SMUGGLED, False, "invalid"),
    "a line without CRLF": (line()[:-2] + SMUGGLED, False, "invalid"),
    "a line with LF alone": (line()[:-2] + b"\n" + SMUGGLED, False, "invalid"),
    "a line with CR alone": (line()[:-2] + b"\r" + SMUGGLED, False, "invalid"),
    "a line with two spaces": (line().replace(b" ", b"  ") + SMUGGLED, False, "invalid"),
    "a line of another family": (line("::2", "192.0.2.1") + SMUGGLED, False, "invalid"),
    "a port that is none": (line(ports="65536 1") + SMUGGLED, False, "invalid"),
    "a name instead of an address": (b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n" + SMUGGLED, False, "invalid"),
    "a line above 107 bytes": (b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n" + SMUGGLED, False, "too_large"),
    "a line without end": (b"PROXY TCP4 " + b"1" * 5000, False, "too_large"),
    "half a line": (line()[:20], True, "closed"),
    "half a signature": (binary()[:7], True, "closed"),
    "a header without its TLVs": (binary(length=200), True, "closed"),
}
# Behind a good header these are requests that are none, and get the 400 they always get.
BEHIND = {
    "another line": line("192.0.2.66"),
    "another header": from_client("192.0.2.66"),
    "one that says it is unknown": UNKNOWN,
    "what a length that is too short leaves over": vector(0x04, b"ab"),
}


@attrs.define(eq=False)
class Behind:
    """A proxy that wants PROXY headers, and what its upstream heard."""

    proxy: ProxyProcess
    tables: dict
    heads: list = attrs.Factory(list)

    @property
    def targets(self):
        return [head.start.split(b" ")[1].decode() for head in self.heads]

    async def serve(self, http):
        while True:
            head = await http.head()
            self.heads.append(head)
            if head.get(b"upgrade") is not None:
                await http.send(upgrade_answer(head))
                await echo(WebSocket(http, head, mask=None))
                return
            names = (b"X-Forwarded-For", b"X-Real-IP")
            await http.send(reply(json.dumps([(head.get(name) or b"").decode() for name in names]).encode()))


@asynccontextmanager
async def behind(programs, *, trusted=(BALANCER,), **tables):
    """With a second listener, `plain`, for whoever has nothing to do with it."""
    found = Behind(None, {})
    async with scripted_upstream(found.serve) as upstream:
        listener = {"proxy_protocol": True, "trusted_proxies": list(trusted), **tables.pop("listener", {})}
        said = settings([upstream.address], listener=listener, **tables)
        said["listeners"].append({"name": "plain", "address": "127.0.0.1:0"})
        found.proxy, found.tables = await run_proxy(programs, said), said
        yield found
        assert not found.proxy.log_contains("internal_error")
        await found.proxy.stop()


async def connect(address, source=BALANCER):
    stream = await trio.open_tcp_stream(*split_address(address), local_address=source)
    return HttpConnection(stream)


async def told(address, *pieces, source=BALANCER):
    """What the upstream heard of the client whose first bytes these are: X-Forwarded-For and X-Real-IP."""
    http = await connect(address, source)
    async with http.stream:
        for piece in pieces:
            await http.send(piece)
        return json.loads((await http.answer()).body)


async def ends(http):
    """All that comes back, up to the end, which may be a reset: what was sent may be unread."""
    try:
        return await http.rest()
    except GONE:
        return bytes(http.buffer)


def endings(seen):
    found = Counter()
    for labels, value in seen.matching("endings_total", phase="accept"):
        found[labels["by"] + " " + labels["reason"]] += int(value)
    return {name: value for name, value in found.items() if value}


def ways(raw):
    """Whole, octet by octet, cut in the middle."""
    return ((raw,), tuple(bytes([octet]) for octet in raw[:300]), (raw[: len(raw) // 2], raw[len(raw) // 2 :]))


@pytest.mark.rule("proxy-header")
async def test_what_is_no_header_never_becomes_a_request(programs):
    async with behind(programs) as both:
        for raw, fin, _ in ATTACKS.values():
            for pieces in ways(raw):
                http = await connect(both.proxy.address)
                async with http.stream:
                    with suppress(*GONE):
                        for piece in pieces:
                            await http.send(piece)
                        if fin:
                            await http.stream.send_eof()
                    assert await ends(http) == b""
        expected = Counter(f"client {reason}" for _, _, reason in ATTACKS.values() for _ in range(3))
        seen = await both.proxy.wait_until(lambda seen: sum(endings(seen).values()) == expected.total(), "all counted")
        assert endings(seen) == expected
        assert both.targets == []
        assert seen.total("requests_total") == 0
        assert await told(both.proxy.address, line(CLIENT) + get_request()) == [CLIENT, CLIENT]
        assert both.proxy.log_contains("arrival_failed", listener="public", client=BALANCER, detail="no PROXY header")
        assert len([entry for entry in both.proxy.log if entry["event"] == "arrival_failed"]) < expected.total()


@pytest.mark.rule("proxy-header")
async def test_what_stands_behind_a_header_is_a_request_or_400(programs):
    async with behind(programs) as both:
        for raw in BEHIND.values():
            for start in (line(CLIENT), from_client(CLIENT), LOCAL):
                http = await connect(both.proxy.address)
                async with http.stream:
                    await http.send(start + raw + SMUGGLED)
                    assert (await http.answer()).status == 400
                    assert await ends(http) == b""
        assert both.targets == []
        # Bad heads are the named client's, and so is what is logged of them.
        assert both.proxy.log_contains("request", client=CLIENT, status=400)


@pytest.mark.rule("proxy-header")
async def test_a_header_of_one_who_is_not_trusted_is_read_and_ignored(programs):
    forged = get_request("/", "X-Forwarded-For: 192.0.2.66", "X-Real-IP: 192.0.2.66")
    async with behind(programs, trusted=(BALANCER,), listener={"deny": ["127.0.0.3"]}) as both:
        for header in (line(CLIENT), from_client(CLIENT), LOCAL, UNKNOWN):
            assert await told(both.proxy.address, header + forged, source=STRANGER) == [STRANGER, STRANGER]
        assert await told(both.proxy.address, line(CLIENT) + forged) == [CLIENT, CLIENT]
        assert await told(both.proxy.address, LOCAL + forged) == [f"192.0.2.66, {BALANCER}", "192.0.2.66"]
        assert await told(both.proxy.address, UNKNOWN + forged) == [BALANCER, BALANCER]
        # Who is kept out is so by the address that counts: its own, or that in a believed header.
        denied = await connect(both.proxy.address, "127.0.0.3")
        async with denied.stream:
            assert await ends(denied) == b""
        for source, status in ((STRANGER, 200), (BALANCER, None)):
            http = await connect(both.proxy.address, source)
            async with http.stream:
                await http.send(line("127.0.0.3") + get_request())
                assert (await ends(http) == b"") if status is None else (await http.answer()).status == status
        seen = await both.proxy.metrics()
        assert seen.by("reason", "connections_rejected_total")["forbidden"] == 2


async def test_a_listener_without_it_goes_on_refusing_headers(programs):
    async with behind(programs) as both:
        for header in (line(CLIENT), from_client(CLIENT), UNKNOWN, LOCAL):
            http = await connect(both.proxy.addresses["plain"])
            async with http.stream:
                await http.send(header + SMUGGLED)
                assert (await http.answer()).status == 400
        assert both.targets == []


async def test_header_upgrade_and_frames_may_be_cut_anywhere(programs):
    early = frame(BINARY, b"early", mask=b"abcd")
    async with behind(programs) as both:
        for header in (line(CLIENT), binary(addresses(CLIENT) + vector(0x04, b"ab"))):
            raw = header + upgrade_request() + early
            for at in (*range(1, len(header) + 2), len(raw) - len(early), len(raw) - 1, len(raw)):
                http = await connect(both.proxy.address)
                async with http.stream:
                    await http.send(raw[:at])
                    if at < len(raw):
                        await http.send(raw[at:])
                    socket = WebSocket(http, await http.head(), mask=b"abcd")
                    assert (await socket.receive()).payload == b"early"
                    if at == len(raw):
                        await both.proxy.wait_until(lambda seen: seen.total("tunnels_active") == 1, "others are over")
                        page = json.loads(await both.proxy.ask_admin("/api/tunnels"))
                        assert [row["client"] for row in page] == [CLIENT]
                    await socket.close()
        assert {head.get(b"x-forwarded-for") for head in both.heads} == {CLIENT.encode()}
        await both.proxy.logged("tunnel_end", client=CLIENT)


async def test_slow_and_silent_ones_end_and_cost_others_nothing(programs):
    # Each octet takes 0.1 s, so that no header is whole in time.
    slow = dribbling(b"PROXY TCP4 ", b"1")
    half = partial(Strength.each, act=say_nothing, start=binary(length=200))
    silent = partial(Strength.each, act=say_nothing)
    async with scripted_upstream(serve_anything) as upstream:
        tables = settings(
            [upstream.address],
            listener={"proxy_protocol": True, "trusted_proxies": [BALANCER]},
            timeouts={"head": 2},
            limits={"max_connections": 1000},
        )
        tables["listeners"].append({"name": "plain", "address": "127.0.0.1:0"})
        proxy = await run_proxy(programs, tables)
        async with bystander(proxy.addresses["plain"]) as other:
            await other.rounds(10)
            memory, descriptors = proxy.program.rss, proxy.program.descriptors
            strengths = [(slow, 100), (half, 100), (silent, 600)]
            running = [(attack, Strength(proxy.address, count)) for attack, count in strengths]
            async with trio.open_nursery() as nursery:
                for attack, strength in running:
                    nursery.start_soon(attack, strength)
                for _, strength in running:
                    await strength.full.wait()
                await other.rounds(10)
            seen = await proxy.wait_until(lambda seen: sum(endings(seen).values()) == 800, "all have ended")
            assert endings(seen) == {"client timeout": 200, "proxy idle": 600}
            assert proxy.program.rss - memory < 16 << 20
            await other.rounds(1)
            await proxy.wait_until(lambda seen: seen.total("connections_active") == 2, "only the bystander's")
            assert proxy.program.descriptors <= descriptors + 32
        await proxy.stop()


async def test_silent_ones_above_the_limits_are_rejected(programs):
    """Of all, by limits.max_connections; of a stranger by max_connections_per_client, though it says nothing."""
    limits = {"limits": {"max_connections": 60}, "listener": {"max_connections_per_client": 5}}
    async with behind(programs, timeouts={"head": 60}, **limits) as both, AsyncExitStack() as stack:
        for source, count in ((STRANGER, 50), (BALANCER, 100)):
            for _ in range(count):
                http = await connect(both.proxy.address, source)
                stack.push_async_callback(http.stream.aclose)
        seen = await both.proxy.wait_until(lambda seen: seen.total("connections_total") == 150, "all have come")
        assert seen.by("reason", "connections_rejected_total") == {"too_many": 45, "overloaded": 45, "forbidden": 0}
        assert seen.total("connections_active") == 60


async def test_one_named_client_gets_its_connections_over_all_workers(programs):
    limits = {"server": {"workers": 2}, "listener": {"max_connections_per_client": 4}}
    async with behind(programs, **limits) as both, AsyncExitStack() as stack:

        async def opened(client):
            http = await connect(both.proxy.address)
            stack.push_async_callback(http.stream.aclose)
            await http.send(line(client) + upgrade_request())
            return (await http.answer()).status

        assert [await opened(CLIENT) for _ in range(16)] == [101] * 4 + [503] * 12
        assert [await opened("198.51.100.8") for _ in range(5)] == [101] * 4 + [503]
        assert both.proxy.log_contains("connection_rejected", reason="too_many", client=CLIENT)
        await stack.aclose()
        await both.proxy.wait_until(lambda seen: seen.total("connections_active") == 0, "all gone")
        assert await opened(CLIENT) == 101


async def test_a_reload_turns_it_on_and_off_for_new_connections(programs):
    async with behind(programs) as both:
        before = await connect(both.proxy.address)
        async with before.stream:
            for on in (False, True):
                await before.send((b"" if on else line(CLIENT)) + get_request())
                assert json.loads((await before.answer()).body) == [CLIENT, CLIENT]  # as it came
                both.tables["listeners"][0]["proxy_protocol"] = on
                await both.proxy.reload(both.tables)
                header = line("198.51.100.8")
                http = await connect(both.proxy.address)
                async with http.stream:
                    await http.send((header if on else b"") + get_request())
                    client = "198.51.100.8" if on else BALANCER
                    assert json.loads((await http.answer()).body) == [client, client]
                http = await connect(both.proxy.address)
                async with http.stream:
                    await http.send((b"" if on else header) + get_request())
                    assert (await ends(http))[:12] == (b"" if on else b"HTTP/1.1 400")
        both.tables["listeners"][0] |= {"proxy_protocol": True, "trusted_proxies": []}
        await both.proxy.reload(both.tables, "invalid")


HAPROXY = """
global
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    default-server check inter 100ms
frontend one
    bind {one}
    default_backend one
backend one
    server trioproxy {proxy} send-proxy
frontend two
    bind {two}
    bind {six}
    default_backend two
backend two
    server trioproxy {proxy} send-proxy-v2
frontend vectors
    bind {vectors}
    unique-id-format %ci-%rt
    default_backend vectors
backend vectors
    server trioproxy {proxy} send-proxy-v2 proxy-v2-options crc32c,unique-id,authority
frontend http
    mode http
    bind {http}
    default_backend http
backend http
    mode http
    option forwardfor
    http-reuse always
    server trioproxy {proxy} send-proxy-v2
"""


async def run_haproxy(programs, proxy):
    """Its addresses by name, once it listens; the test is skipped where there is none."""
    path = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
    if path is None:
        pytest.skip("needs haproxy (apt install haproxy)")
    fronts = {name: free_address() for name in ("one", "two", "vectors", "http")}
    fronts["six"] = f"[::1]:{free_ipv6_port()}"
    file = programs.folder / "haproxy.cfg"
    file.write_text(HAPROXY.format(proxy=proxy, **fronts))
    await programs.start("haproxy", [path, "-f", str(file)])

    async def listens():
        with suppress(OSError):
            await (await dial(fronts["http"])).aclose()
            return True
        return False

    await wait_until(listens, "HAProxy listens")
    return fronts


async def test_haproxy_says_whose_connections_it_passes_on(programs):
    client = "127.0.0.5"
    forged = get_request("/", "X-Forwarded-For: 192.0.2.66")
    async with behind(programs) as both:
        fronts = await run_haproxy(programs, both.proxy.address)
        for name in ("one", "two", "vectors", "http"):
            assert await told(fronts[name], forged, source=client) == [client, client]
        assert await told(fronts["six"], forged, source="::1") == ["::1", "::1"]

        for name in ("one", "two", "vectors", "http"):
            http = await connect(fronts[name], client)
            async with http.stream:
                await http.send(upgrade_request())
                head = await http.head()
                socket = WebSocket(http, head, mask=b"abcd")
                assert await socket.echo(b"hello") == b"hello"
                page = json.loads(await both.proxy.ask_admin("/api/tunnels"))
                assert [row["client"] for row in page] == [client]
                await socket.close()
            await both.proxy.wait_until(lambda seen: seen.total("tunnels_active") == 0, "it is over")

        # Clients of one connection each, though HAProxy keeps its own ones.
        assert await told(fronts["http"], get_request(), source="127.0.0.6") == ["127.0.0.6", "127.0.0.6"]
        # Its checks are connections of its own that come to no request; nothing is wrong with them.
        checked = {"by": "client", "phase": "head"}
        await both.proxy.wait_until(lambda seen: seen.total("endings_total", **checked) >= 20, "checks")
        assert not both.proxy.log_contains("arrival_failed")


async def test_tls_comes_behind_the_header_and_no_header_behind_tls(programs):
    authority = Authority(programs.folder)
    files, context = authority.issue("localhost"), client_context(authority.file)
    tls = {"tls": {"certificate": files.certificate, "key": files.key}}
    async with behind(programs, listener=tls) as both:
        fronts = await run_haproxy(programs, both.proxy.address)
        for name in ("one", "two", "vectors"):
            http = await secured((await connect(fronts[name], "127.0.0.5")).stream, context)
            async with http.stream:
                await http.send(get_request("/", "X-Forwarded-For: 192.0.2.66"))
                assert json.loads((await http.answer()).body) == ["127.0.0.5", "127.0.0.5"]
        http = await connect(both.proxy.address)
        await http.send(line(CLIENT))
        http = await secured(http.stream, context)
        async with http.stream:
            await http.send(line("192.0.2.66") + SMUGGLED)  # another one, inside
            assert (await http.answer()).status == 400
        http = await connect(both.proxy.address)
        async with http.stream:
            await http.send(line(CLIENT) + SMUGGLED)  # behind a header, but in the clear
            assert (await ends(http))[:12] == b"HTTP/1.1 400"
        http = await connect(both.proxy.address)
        async with http.stream:
            with pytest.raises(trio.BrokenResourceError):  # TLS without a header
                await secured(http.stream, context)
        assert "/smuggled" not in both.targets
        seen = await both.proxy.wait_until(lambda seen: "client invalid" in endings(seen), "all counted")
        assert endings(seen).keys() - {"client reset", "client done"} == {"client tls", "client invalid"}
        # HAProxy's checks come without TLS, and nothing is wrong with them.
        await both.proxy.wait_until(lambda seen: sum(endings(seen).values()) >= 12, "checks")
        assert not both.proxy.log_contains("arrival_failed", reason="reset")
        assert not both.proxy.log_contains("arrival_failed", reason="closed")
        assert {head.get(b"x-forwarded-proto") for head in both.heads} == {b"https"}
