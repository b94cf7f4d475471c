"""The upgrade as octets: what the upstream is asked, what the client is told, and what is no upgrade at all."""

from __future__ import annotations

import pytest
import trio
from support.frames import (
    BINARY,
    KEY,
    TEXT,
    accept_key,
    frame,
    upgrade_answer,
    upgrade_request,
    websocket,
)
from support.http_client import HttpConnection, ask, connection, dial, get_request
from support.proxied import proxied, proxied_http, proxied_websocket
from support.upstream import reply


async def echo(end):
    while True:
        message = await end.receive()
        await end.send(message.opcode, message.payload)


@pytest.mark.rule("upgrade-upstream")
async def test_the_upstream_is_asked_as_the_nginx_recipe_does(programs):
    heads = []

    async def serve(http):
        heads.append(await http.head())
        await http.send(upgrade_answer(heads[0]))
        await http.rest()

    lines = ["Connection: X-Mine", "X-Mine: 1", "Sec-WebSocket-Protocol: a, b", "Origin: http://a.test", "TE: gzip"]
    async with proxied(programs, serve) as both, websocket(both.address, "/chat?token=1", *lines) as end:
        assert end.head.start.startswith(b"HTTP/1.1 101 ")
        assert end.head.get(b"upgrade") == b"websocket"
        assert end.head.get(b"connection").lower() == b"upgrade"
        assert end.head.get(b"sec-websocket-accept") == accept_key(KEY)
    [head] = heads
    assert head.start == b"GET /chat?token=1 HTTP/1.1"
    assert head.get(b"upgrade") == b"websocket"
    assert head.get(b"connection").lower() == b"upgrade"
    assert head.get(b"host") == b"a.test"
    assert head.get(b"sec-websocket-key") == KEY
    assert head.get(b"sec-websocket-version") == b"13"
    assert head.get(b"sec-websocket-protocol") == b"a, b"
    assert head.get(b"origin") == b"http://a.test"
    assert head.get(b"x-forwarded-for") == b"127.0.0.1"
    assert not {b"x-mine", b"te"} & set(head.names)


@pytest.mark.rule("upgrade-request")
async def test_tokens_count_in_any_case_over_any_lines(programs):
    async with proxied_websocket(programs, echo) as both, connection(both.address) as http:
        await http.send(
            upgrade_request()
            .replace(b"Upgrade: websocket", b"uPGRADE: WebSocket")
            .replace(b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: , UPGRADE")
        )
        assert (await http.head()).start.startswith(b"HTTP/1.1 101")


NO_UPGRADES = {
    426: [upgrade_request().replace(b"Version: 13", b"Version: 8")],
    400: [
        upgrade_request().replace(b"Sec-WebSocket-Key: ", b"X-Key: "),
        upgrade_request(key=b"short"),
        upgrade_request("/", f"Sec-WebSocket-Key: {KEY.decode()}"),
        upgrade_request().replace(b"GET ", b"POST "),
        upgrade_request("/", "Content-Length: 4") + b"body",
        upgrade_request("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    ],
}


@pytest.mark.parametrize("status", NO_UPGRADES)
@pytest.mark.rule("upgrade-request", "upgrade-body")
async def test_a_bad_upgrade_is_refused_before_any_upstream_is_asked(programs, status):
    async with proxied_websocket(programs, echo) as both:
        for request in NO_UPGRADES[status]:
            async with connection(both.address) as http:
                await http.send(request)
                answer = await http.answer()
                assert answer.status == status, request
                assert status != 426 or answer.get(b"sec-websocket-version") == b"13"
                assert await http.at_end()
        assert both.upstream.accepted == 0


@pytest.mark.rule("origin")
async def test_only_allowed_origins_get_in(programs):
    route = {"allowed_origins": ["http://a.test"]}
    async with proxied_websocket(programs, echo, route=route) as both:
        assert (await ask(both.address, upgrade_request("/", "Origin: http://evil.test"))).status == 403
        async with websocket(both.address, "/", "Origin: http://a.test") as end:
            assert await end.echo(b"in") == b"in"


BAD_ANSWERS = {
    "no accept": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "wrong accept": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
    "no upgrade": b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept_key(KEY),
    "no connection": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept_key(KEY),
    "protocol nobody offered": None,
    "extension nobody offered": None,
    "garbage": b"hello\r\n\r\n",
}


@pytest.mark.rule("upgrade-101", "fake-101")
async def test_an_invalid_101_is_502_and_opens_nothing(programs):
    case = ""
    early = frame(TEXT, b"early", mask=b"1234")
    leaked = []

    async def serve(http):
        head = await http.head()
        field = "Sec-WebSocket-Protocol: zzz" if "protocol" in case else "Sec-WebSocket-Extensions: x-zzz"
        await http.send(BAD_ANSWERS[case] or upgrade_answer(head, field))
        leaked.append(await http.rest())

    async with proxied(programs, serve) as both:
        for case in BAD_ANSWERS:
            answer = await ask(both.address, upgrade_request("/", "Sec-WebSocket-Protocol: a") + early)
            assert answer.status == 502, case
        seen = await both.proxy.metrics()
    assert seen.total("handshakes_total", result="invalid") == len(BAD_ANSWERS)
    assert seen.total("tunnels_total") == 0
    assert set(leaked) <= {b""}


@pytest.mark.rule("early-data", "first-frames")
async def test_early_bytes_wait_for_the_101(programs):
    ready, seen = trio.Event(), []

    async def serve(http):
        head = await http.head()
        seen.append(bytes(http.buffer))
        ready.set()
        await http.send(upgrade_answer(head) + frame(TEXT, b"first"))
        seen.append(await http.take(len(early)))
        await http.rest()

    early = frame(TEXT, b"early", mask=b"1234")
    async with proxied(programs, serve) as both, connection(both.address) as http:
        await http.send(upgrade_request() + early)
        await ready.wait()
        assert (await http.head()).start.startswith(b"HTTP/1.1 101")
        assert await http.take(7) == frame(TEXT, b"first")
    assert seen == [b"", early]


@pytest.mark.rule("early-data", "CVE-2026-2833")
async def test_early_bytes_of_a_refused_upgrade_are_never_a_request(programs):
    """CVE-2026-2833: what stands behind the head is for the upgraded protocol or for nobody."""
    smuggled = get_request("/smuggled")
    async with proxied_http(programs, reply(b"no", "403 Forbidden")) as both, connection(both.address) as http:
        await http.send(upgrade_request("/first") + smuggled)
        answer = await http.answer()
        assert (answer.status, answer.body) == (403, b"no")
        assert await http.at_end()
    assert [head.start for head in both.heads] == [b"GET /first HTTP/1.1"]


@pytest.mark.rule("fake-upgrade", "CVE-2026-2833")
async def test_a_fake_version_hides_no_second_request(programs):
    async with proxied_http(programs) as both, connection(both.address) as http:
        await http.send(upgrade_request().replace(b"Version: 13", b"Version: 777") + get_request("/smuggled"))
        assert (await http.answer()).status == 426
        assert await http.at_end()
    assert both.heads == []


@pytest.mark.rule("upgrade-other")
async def test_another_protocol_is_plain_http_without_the_upgrade(programs):
    async with proxied_http(programs) as both, connection(both.address) as http:
        for lines in (["Upgrade: h2c"], ["Upgrade: foo", "Upgrade: h2c"], ["Upgrade: foo, h2c"], ["Upgrade: x"]):
            await http.send(get_request("/", *lines, "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: A"))
            assert (await http.answer()).status == 200
    assert len(both.heads) == 4
    for head in both.heads:
        assert not {b"upgrade", b"connection", b"http2-settings"} & set(head.names)


@pytest.mark.rule("upgrade-other")
async def test_a_body_behind_another_upgrade_is_a_body(programs):
    """`Upgrade: x` makes some parsers stop there and read the body as the next request."""
    inner = get_request("/smuggled")
    async with proxied_http(programs) as both, connection(both.address) as http:
        fields = ["Upgrade: x", "Connection: Upgrade", f"Content-Length: {len(inner)}"]
        await http.send(get_request("/outer", *fields, method="POST") + inner)
        assert (await http.answer()).status == 200
    assert [head.start for head in both.heads] == [b"POST /outer HTTP/1.1"]
    assert both.bodies == [inner]


@pytest.mark.rule("upgrade-refused")
async def test_refusals_pass_unchanged_with_their_bodies(programs):
    fields = ["WWW-Authenticate: Basic", "Location: /x", "Set-Cookie: a=1", "Set-Cookie: b=2"]
    case = ""

    def answer(head, body):
        return reply(b"because", case, *fields)

    async with proxied_http(programs, answer) as both:
        for case in ("401 Who", "403 No", "426 Old", "302 There", "200 Fine", "503 Full"):
            got = await ask(both.address, upgrade_request())
            assert got.start == b"HTTP/1.1 " + case.encode()
            assert got.body == b"because"
            assert got.all(b"set-cookie") == [b"a=1", b"b=2"]
            assert got.get(b"location") == b"/x"
        seen = await both.proxy.metrics()
    assert seen.total("handshakes_total", result="refused") == 6


async def test_a_chunked_refusal_arrives_whole(programs):
    chunked = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n4\r\n you\r\n0\r\n\r\n"
    async with proxied_http(programs, chunked) as both:
        answer = await ask(both.address, upgrade_request())
    assert (answer.status, answer.body) == (403, b"not you")


async def test_a_silent_upstream_ends_the_handshake_with_504(programs):
    async def serve(http):
        await http.head()
        await http.rest()

    async with proxied(programs, serve, timeouts={"handshake": 0.3}) as both:
        assert (await ask(both.address, upgrade_request())).status == 504
        assert (await both.proxy.metrics()).total("handshakes_total", result="timeout") == 1


async def test_a_client_that_gives_up_during_the_handshake_frees_the_upstream(programs):
    """At the latest with `timeouts.handshake`: FIN alone may also mean a client that goes on reading."""
    asked, left = trio.Event(), trio.Event()

    async def serve(http):
        await http.head()
        asked.set()
        try:
            await http.rest()
        finally:
            left.set()

    async with proxied(programs, serve, timeouts={"handshake": 1}) as both:
        stream = await dial(both.address)
        await HttpConnection(stream).send(upgrade_request())
        await asked.wait()
        await stream.aclose()
        with trio.fail_after(15):
            await left.wait()
        await both.proxy.wait_until(lambda seen: seen.total("upstream_active") == 0, "the lease is back")


async def test_binary_and_text_pass_both_ways_over_ipv6_too(programs):
    async with proxied_websocket(programs, echo, listener={"address": "[::1]:0"}) as both:
        assert both.address.startswith("[::1]:")
        async with websocket(both.address) as end:
            for payload in (b"", b"x", bytes(range(256)) * 1000):
                assert await end.echo(payload) == payload
            await end.send(BINARY, b"last")
            assert (await end.receive()).payload == b"last"
