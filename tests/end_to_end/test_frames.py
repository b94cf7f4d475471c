"""Tunnels as octets: everything passes as it came, and endings are told to the other side by the rules."""

from __future__ import annotations

import attrs
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
    websocket,
)
from support.http_client import reset
from support.proxied import proxied_websocket


@attrs.define(eq=False)
class Ends:
    """The upstream's end of the one tunnel of a test; it stays open until `over` is set."""

    upstream: WebSocket | None = None
    opened: trio.Event = attrs.Factory(trio.Event)
    over: trio.Event = attrs.Factory(trio.Event)

    async def hold(self, end):
        self.upstream = end
        self.opened.set()
        await self.over.wait()


@pytest.fixture
async def tunnel(programs):
    """A client's end, the upstream's end and the proxy between them."""
    ends = Ends()
    async with proxied_websocket(programs, ends.hold, timeouts={"close": 1}) as both, websocket(both.address) as client:
        await ends.opened.wait()
        yield client, ends.upstream, both.proxy
        ends.over.set()


FROM_CLIENT = b"".join(
    [
        frame(TEXT, b"whole", mask=MASK),
        frame(TEXT, b"", fin=False, mask=b"\0\0\0\1"),
        frame(CONTINUATION, b"mid", fin=False, mask=MASK),
        frame(PING, b"between", mask=MASK),
        frame(CONTINUATION, b"", mask=MASK),
        frame(PONG, b"unasked", mask=MASK),
        frame(BINARY, bytes(126), mask=MASK),
        frame(BINARY, bytes(65536), mask=MASK),
        frame(BINARY, b"\xff" * 125, mask=MASK),
    ]
)
FROM_SERVER = b"".join(
    [
        frame(BINARY, b"a" * 65535),
        frame(TEXT, b"frag", fin=False),
        frame(PING, b""),
        frame(CONTINUATION, b"ment"),
        frame(TEXT, b""),
        frame(PONG, b"p" * 125),
    ]
)


@pytest.mark.rule("frames-relayed")
async def test_frames_arrive_octet_for_octet_both_ways(tunnel):
    client, upstream, _ = tunnel
    await client.http.send(FROM_CLIENT)
    assert await upstream.http.take(len(FROM_CLIENT)) == FROM_CLIENT
    await upstream.http.send(FROM_SERVER)
    assert await client.http.take(len(FROM_SERVER)) == FROM_SERVER


@pytest.mark.rule("frames-relayed")
async def test_frames_arrive_the_same_sent_octet_by_octet(tunnel):
    client, upstream, _ = tunnel
    small = (
        frame(TEXT, b"frag", fin=False) + frame(PING, b"") + frame(CONTINUATION, b"ment") + frame(BINARY, bytes(126))
    )
    for octet in small:
        await upstream.http.send(bytes([octet]))
    assert await client.http.take(len(small)) == small
    small = frame(TEXT, b"frag", fin=False, mask=MASK) + frame(PING, b"x", mask=MASK) + frame(CONTINUATION, mask=MASK)
    for octet in small:
        await client.http.send(bytes([octet]))
    assert await upstream.http.take(len(small)) == small


@pytest.mark.rule("frames-relayed")
async def test_rsv_bits_pass_where_an_extension_was_negotiated(programs):
    ends = Ends()
    extension = "Sec-WebSocket-Extensions: permessage-deflate"
    async with (
        proxied_websocket(programs, ends.hold, extension) as both,
        websocket(both.address, "/", extension) as client,
    ):
        assert client.head.get(b"sec-websocket-extensions") == b"permessage-deflate"
        await ends.opened.wait()
        compressed = frame(TEXT, b"\xca\x48\xcd\xc9\xc9\x07\x00", rsv=4)
        await ends.upstream.http.send(compressed)
        assert await client.http.take(len(compressed)) == compressed
        ends.over.set()


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4000, None])
@pytest.mark.parametrize("closer", ["client", "upstream"])
@pytest.mark.rule("frames-relayed")
async def test_a_closing_handshake_passes_end_to_end(tunnel, closer, code):
    client, upstream, proxy = tunnel
    first, second = (client, upstream) if closer == "client" else (upstream, client)
    payload = b"" if code is None else close_payload(code, "reason")
    await first.send(CLOSE, payload)
    assert (await second.receive()).payload == payload
    await second.send(CLOSE, payload)
    assert (await first.receive()).payload == payload
    await upstream.http.stream.aclose()
    assert await client.http.at_end()
    seen = await proxy.wait_until(lambda seen: seen.total("closes_total"), "the close is counted")
    label = {None: "empty", 3000: "3xxx", 4000: "4xxx"}.get(code, str(code))
    [(labels, count)] = [found for found in seen.matching("closes_total", by=closer) if found[1]]
    assert (labels["code"], count) == (label, 1)
    assert seen.total("endings_total", reason="done", by=closer) >= 1


BAD_FROM_CLIENT = {
    "unmasked": frame(TEXT, b"x"),
    "unknown opcode": frame(3, b"x", mask=MASK),
    "reserved bit": frame(TEXT, b"x", mask=MASK, rsv=4),
    "fragmented ping": frame(PING, b"", fin=False, mask=MASK),
    "long ping": frame(PING, bytes(126), mask=MASK),
    "stray continuation": frame(CONTINUATION, b"x", mask=MASK),
    "message inside a message": frame(TEXT, b"x", fin=False, mask=MASK) + frame(TEXT, b"y", mask=MASK),
    "length not minimal": b"\x81\xfe\x00\x05" + MASK + b"hello",
    "top bit of the length": b"\x82\xff" + b"\xff" * 8 + MASK,
}
BAD_FROM_SERVER = {
    "masked": frame(TEXT, b"x", mask=MASK),
    "unknown opcode": frame(11, b"x"),
    "stray continuation": frame(CONTINUATION, b"x"),
    "top bit of the length": b"\x82\x7f" + b"\xff" * 8,
}


async def next_close(end):
    """The next Close frame; what came before the offence may still arrive."""
    while (got := await end.receive()).opcode != CLOSE:
        pass
    return got


@pytest.mark.parametrize("case", BAD_FROM_CLIENT)
@pytest.mark.rule("frames-strict")
async def test_a_client_that_breaks_the_framing_ends_its_tunnel_with_1002(tunnel, case):
    client, upstream, proxy = tunnel
    await client.http.send(BAD_FROM_CLIENT[case])
    assert (await next_close(client)).close_code == 1002
    closed = await next_close(upstream)
    assert (closed.close_code, closed.masked) == (1002, True)
    await proxy.wait_until(lambda seen: seen.total("endings_total", by="client", reason="protocol") == 1)


@pytest.mark.parametrize("case", BAD_FROM_SERVER)
@pytest.mark.rule("frames-strict")
async def test_an_upstream_that_breaks_the_framing_ends_its_tunnel_with_1002(tunnel, case):
    client, upstream, proxy = tunnel
    await upstream.http.send(BAD_FROM_SERVER[case])
    closed = await next_close(client)
    assert (closed.close_code, closed.masked) == (1002, False)
    assert (await next_close(upstream)).close_code == 1002
    await proxy.wait_until(lambda seen: seen.total("endings_total", by="upstream", reason="protocol") == 1)


@pytest.mark.rule("frame-length")
async def test_a_length_of_terabytes_allocates_nothing(tunnel):
    client, upstream, proxy = tunnel
    before = proxy.program.rss
    announced = b"\x82\xff" + (1 << 62).to_bytes(8, "big") + MASK
    await client.http.send(announced + bytes(100_000))
    assert len(await upstream.http.take(14 + 100_000)) == 100_014
    assert proxy.program.rss - before < 2 * 1024 * 1024


@pytest.mark.rule("vanished")
async def test_an_upstream_that_vanishes_is_told_to_the_client_as_1011(tunnel):
    client, upstream, proxy = tunnel
    await upstream.http.stream.aclose()
    got = await client.receive()
    assert (got.close_code, got.masked) == (1011, False)
    assert await client.http.at_end()
    seen = await proxy.wait_until(lambda seen: seen.total("closes_total"), "the end is counted")
    assert seen.total("closes_total", by="upstream", code="none") == 1
    assert seen.total("injected_frames_total", side="client", opcode="close") == 1


@pytest.mark.parametrize("how", ["fin", "reset"])
@pytest.mark.rule("vanished")
async def test_a_client_that_vanishes_is_told_to_the_upstream_as_1001(tunnel, how):
    client, upstream, proxy = tunnel
    if how == "reset":
        reset(client.http.stream)
    else:
        await client.http.stream.aclose()
    got = await upstream.receive()
    assert (got.close_code, got.masked) == (1001, True)
    assert await upstream.http.at_end()
    seen = await proxy.wait_until(lambda seen: seen.total("closes_total"), "the end is counted")
    assert seen.total("closes_total", by="client", code="none") == 1


@pytest.mark.parametrize("leaver", ["client", "upstream"])
@pytest.mark.rule("vanished")
async def test_a_cut_inside_a_frame_is_a_reset(tunnel, leaver):
    client, upstream, _ = tunnel
    leaving, other = (client, upstream) if leaver == "client" else (upstream, client)
    partial = frame(BINARY, bytes(1000), mask=leaving.mask)[:500]
    await leaving.http.send(partial)
    assert await other.http.take(500) == partial
    reset(leaving.http.stream)
    with pytest.raises(ConnectionResetError):
        await other.http.take(1)


async def test_an_idle_tunnel_is_closed_with_1001_on_both_sides(programs):
    ends = Ends()
    times = {"tunnel_idle": 1, "close": 1}
    async with proxied_websocket(programs, ends.hold, timeouts=times) as both, websocket(both.address) as client:
        await ends.opened.wait()
        assert (await client.receive()).close_code == 1001
        await client.send(CLOSE, close_payload(1001))
        assert (await ends.upstream.receive()).close_code == 1001
        ends.over.set()
        await both.proxy.wait_until(lambda seen: seen.total("endings_total", reason="idle") == 1)


async def test_counters_are_live_while_the_tunnel_is_open(tunnel):
    client, upstream, proxy = tunnel
    await client.http.send(FROM_CLIENT)
    await upstream.http.take(len(FROM_CLIENT))
    await upstream.http.send(FROM_SERVER)
    await client.http.take(len(FROM_SERVER))
    seen = await proxy.wait_until(lambda seen: seen.total("bytes_total", direction="to_client") == len(FROM_SERVER))
    assert seen.total("bytes_total", direction="to_upstream") == len(FROM_CLIENT)
    counted = {
        name: count for name, count in seen.by("opcode", "frames_total", direction="to_upstream").items() if count
    }
    assert counted == {"text": 2, "continuation": 2, "ping": 1, "pong": 1, "binary": 3}
    assert seen.total("messages_total", direction="to_upstream") == 5
    assert seen.total("messages_total", direction="to_client") == 3
    assert seen.total("tunnels_active") == seen.total("upstream_active") == 1
