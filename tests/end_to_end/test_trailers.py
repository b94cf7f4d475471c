"""Trailers between servers and clients that know them: Node and h11, each on both sides."""

from __future__ import annotations

import h11
import pytest
from support.http_client import connection, get_request
from support.peers import run_client, run_server
from support.proxied import proxied
from support.proxy import run_proxy
from support.settings import settings

TE = ("TE: trailers", "Connection: TE")


async def asked(address: str, path: str, *lines: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and trailers of the answer, as h11 reads them."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=b"GET", target=path, headers=[(b"Host", b"a.test")]))
    reader.send(h11.EndOfMessage())
    body = b""
    async with connection(address) as http:
        await http.send(get_request(path, *lines))
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                reader.receive_data(await http.stream.receive_some(65536))
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
    return body, event.headers.raw_items()


@pytest.mark.rule("trailers", "hop-by-hop")
async def test_a_client_that_asks_gets_the_trailers_of_a_node_server(programs):
    server = await run_server(programs, "ws_server.js")
    proxy = await run_proxy(programs, settings([server.address]))
    sent = [(b"grpc-status", b"0"), (b"X-Sum", b"a"), (b"Set-Cookie", b"a=1"), (b"X-Sum", b"b"), (b"X-TE", b"trailers")]
    assert await asked(server.address, "/trailers", *TE) == (b"called", sent)
    passed = [pair for pair in sent if pair[0] != b"Set-Cookie"]
    assert await asked(proxy.address, "/trailers", *TE) == (b"called", passed)
    assert await asked(proxy.address, "/trailers", "TE: deflate;q=0.5", "TE: trailers") == (b"called", passed)
    assert await asked(proxy.address, "/trailers") == (b"called", [])
    assert await asked(proxy.address, "/trailers", "TE: deflate;q=0.5") == (b"called", [])


async def answer_with_trailers(http):
    """What a server written with h11 does."""
    while True:
        server = h11.Connection(h11.SERVER)
        server.receive_data(await http.take_until(b"\r\n\r\n") + b"\r\n\r\n")
        request = server.next_event()
        trailers = [(b"grpc-status", b"7"), (b"grpc-message", b"who are you?"), (b"WWW-Authenticate", b"Basic")]
        trailers.append((b"X-TE", b", ".join(value for name, value in request.headers if name == b"te")))
        events = [
            h11.Response(status_code=200, headers=[(b"Transfer-Encoding", b"chunked"), (b"Trailer", b"grpc-status")]),
            h11.Data(data=b"called"),
            h11.EndOfMessage(headers=trailers),
        ]
        await http.send(b"".join(server.send(event) for event in events))


@pytest.mark.rule("trailers")
async def test_a_node_client_that_asks_gets_the_trailers_of_an_h11_server(programs):
    async with proxied(programs, answer_with_trailers) as both:
        got = await run_client(programs, "trailers_client.js", f"http://{both.address}/")
        without = await run_client(programs, "trailers_client.js", f"http://{both.address}/", "plain")
    assert got == {
        "status": 200,
        "body": "called",
        "complete": True,
        "trailers": ["grpc-status", "7", "grpc-message", "who are you?", "X-TE", "trailers"],
    }
    assert without == {**got, "trailers": []}
