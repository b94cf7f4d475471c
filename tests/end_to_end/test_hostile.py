"""Clients that mean no good, or no HTTP: a 400 and a close at most, and nobody else notices."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
import trio
from support.frames import BINARY, frame, open_websocket, websocket
from support.http_client import connection, dial, get, get_request, reset
from support.peers import run_server
from support.proxied import proxied_http
from support.proxy import run_proxy
from support.settings import settings


def client_hello():
    """What a browser sends that was told https:// for a plain port."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="a.test").do_handshake()
    return outgoing.read()


GARBAGE = {
    "tls": client_hello(),
    "nul": bytes(100),
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "line noise": bytes(range(128, 256)) * 4,
    "http/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "socks": b"\x05\x01\x00",
    "http/0.9": b"GET /\r\n\r\n",
}


@pytest.mark.rule("request-line", "version")
async def test_what_is_no_http_gets_an_error_and_a_close(programs):
    async with proxied_http(programs) as both:
        for name, data in GARBAGE.items():
            async with connection(both.address) as http:
                await http.send(data)
                if name == "socks":
                    await http.stream.send_eof()  # three octets are no line yet
                answer = await http.answer()
                assert answer.status == (505 if name == "http/2 preface" else 400), (name, answer)
                assert await http.at_end()
        assert (await get(both.address)).status == 200
    assert len(both.heads) == 1


@pytest.mark.rule("silent-clients")
async def test_connections_that_say_nothing_or_vanish_cost_nothing(programs):
    async with proxied_http(programs) as both:
        before = both.proxy.program.descriptors
        for data in (b"", b"G", b"GET / HTTP/1.1\r\nHost: a", get_request()):
            for end in (reset, None):
                stream = await dial(both.address)
                if data:
                    await stream.send_all(data)
                if end is None:
                    await stream.aclose()
                else:
                    end(stream)
        await both.proxy.wait_until(lambda seen: seen.total("connections_active") == 0, "all gone")
        assert both.proxy.program.descriptors <= before + 4  # kept upstream connections
        assert not both.proxy.log_contains("internal_error")


async def test_a_tunnel_cut_in_the_middle_of_load_disturbs_no_other(programs):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(programs, settings([server.address]))
    async with websocket(proxy.address) as steady:
        for number in range(50):
            end = await open_websocket(proxy.address)
            await end.http.send(frame(BINARY, bytes(5000), mask=b"1234")[: 100 * (number % 50)])
            reset(end.http.stream)
            assert await steady.echo(b"%d" % number) == b"%d" % number
        await proxy.wait_until(lambda seen: seen.total("tunnels_active") == 1, "the cut ones are gone")
        assert not proxy.log_contains("internal_error")
    await proxy.stop()


@pytest.mark.rule("slow")
async def test_a_client_that_never_reads_is_let_go_in_the_end(programs):
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + bytes(20_000_000)
    async with proxied_http(programs, body, timeouts={"response": 0.5, "tunnel_idle": 1}) as both:
        stream = await dial(both.address)
        await stream.send_all(get_request())
        with trio.fail_after(60):
            await both.proxy.wait_until(
                lambda seen: seen.total("connections_active") == 0, "the stalled client is let go", seconds=60
            )
        await stream.aclose()
