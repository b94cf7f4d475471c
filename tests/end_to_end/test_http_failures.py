"""Requests that cannot be served, answers that are none: each meets its status, and nothing else is disturbed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from support.http_client import ask, connection, get, get_request
from support.peers import run_server
from support.ports import free_address
from support.proxied import proxied, proxied_http
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import reply

POST = get_request("/", "Content-Length: 4", method="POST") + b"body"


def always(data):
    """An upstream that answers anything with these octets and closes."""

    async def serve(http):
        await http.head()
        await http.send(data)

    return serve


async def test_no_route_is_404_and_keeps_the_connection(programs):
    async with proxied_http(programs, route={"path": "/only"}) as both, connection(both.address) as http:
        for _ in range(2):
            await http.send(get_request("/other"))
            assert (await http.answer()).status == 404
        await http.send(get_request("/only/x"))
        assert (await http.answer()).status == 200


@pytest.mark.rule("no-upstream")
async def test_no_upstream_is_503_with_retry_after(programs):
    proxy = await run_proxy(programs, settings([free_address()], health={"probe": "tcp"}))
    for request in (get_request(), POST):
        answer = await ask(proxy.address, request)
        assert answer.status == 503
        assert int(answer.get(b"retry-after") or b"0") > 0


async def test_a_refused_connect_is_503_with_retry_after_too(programs):
    proxy = await run_proxy(programs, settings([free_address()]))
    answer = await get(proxy.address)
    assert answer.status == 503
    assert answer.get(b"retry-after")
    assert (await proxy.metrics()).total("connect_failures_total", reason="refused") >= 1


GARBAGE = {
    "no http": b"\x00\x01garbage\r\n\r\n",
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "odd coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, x\r\n\r\nab",
    "folded": b"HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n",
    "huge head": b"HTTP/1.1 200 OK\r\nX-A: " + bytes(100_000).replace(b"\0", b"a") + b"\r\n\r\n",
    "version 2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}


@pytest.mark.rule("invalid-answer")
async def test_an_invalid_answer_is_502_and_never_half_passed_on(programs):
    case = ""

    async def serve(http):
        await http.head()
        await http.send(GARBAGE[case])

    async with proxied(programs, serve) as both:
        for case in GARBAGE:
            answer = await ask(both.address, POST)
            assert answer.status == 502, case
    assert not both.proxy.log_contains("internal_error")


@pytest.mark.rule("invalid-answer")
async def test_an_upstream_that_closes_unanswered_is_502(programs):
    async with proxied(programs, always(b"")) as both:
        assert (await ask(both.address, POST)).status == 502
    assert both.upstream.accepted == 1  # a body is never sent twice


async def test_a_get_that_was_closed_on_unanswered_goes_to_another_upstream(programs):
    other = await run_server(programs, "fast_echo.py", "other")
    async with proxied(programs, always(b"")) as closing:
        tables = settings([closing.upstream.address, other.address])
        proxy = await run_proxy(programs, tables)
        for _ in range(4):
            assert (await get(proxy.address)).get(b"x-server") == b"other"
        assert (await proxy.metrics()).total("retries_total", reason="closed") >= 1


async def test_no_retry_once_an_answer_began(programs):
    async with proxied(programs, always(b"HTTP/1.1 20")) as both:
        assert (await get(both.address)).status == 502
    assert both.upstream.accepted == 1


async def test_an_answer_cut_short_is_seen_to_be_short(programs):
    async with proxied(programs, always(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as both:
        with pytest.raises(ConnectionError):
            await get(both.address)
    async with proxied(programs, always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf")) as both:
        with pytest.raises(ConnectionError):
            await get(both.address)


@pytest.mark.rule("two-answers")
async def test_a_second_answer_to_one_request_never_answers_the_next(programs):
    poison = reply(b"poison", "200 OK", "X-Poison: 1")
    async with proxied(programs, always(reply(b"right") + poison)) as both, connection(both.address) as http:
        for _ in range(3):
            await http.send(get_request())
            answer = await http.answer()
            assert (answer.body, answer.get(b"x-poison")) == (b"right", None)
    assert both.upstream.accepted == 3


@pytest.mark.rule("silent-upstream")
async def test_a_silent_upstream_is_504(programs):
    async def serve(http):
        await http.head()
        await http.rest()

    async with proxied(programs, serve, timeouts={"response": 0.3}) as both:
        assert (await get(both.address)).status == 504


async def test_an_upstream_silent_in_the_middle_is_cut(programs):
    async def serve(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await http.rest()

    async with proxied(programs, serve, timeouts={"response": 0.3}) as both:
        with pytest.raises(ConnectionError):
            await get(both.address)


@pytest.mark.rule("slow")
async def test_a_slow_head_is_408_and_an_idle_connection_just_closes(programs):
    async with proxied_http(programs, timeouts={"head": 0.3, "keep_alive": 0.3}) as both:
        assert (await ask(both.address, b"GET / HTTP/1.1\r\nHost: a", method=b"GET")).status == 408
        async with connection(both.address) as http:
            await http.send(get_request())
            assert (await http.answer()).status == 200
            assert await http.at_end()
        async with connection(both.address) as http:
            assert await http.at_end()


@pytest.mark.rule("slow")
async def test_a_body_that_stops_is_408(programs):
    async with proxied_http(programs, timeouts={"response": 0.3}) as both:
        answer = await ask(both.address, get_request("/", "Content-Length: 10", method="POST") + b"half")
        assert answer.status == 408
    assert both.heads == []


TOO_LARGE = {
    413: [
        get_request("/", "Content-Length: 1001", method="POST") + bytes(1001),
        get_request("/", "Transfer-Encoding: chunked", method="POST") + b"3e9\r\n" + bytes(1001) + b"\r\n0\r\n\r\n",
    ],
    414: [get_request("/" + "a" * 20_000)],
    431: [
        get_request("/", "X-A: " + "a" * 40_000),
        get_request("/", *(f"X-{number}: 1" for number in range(200))),
    ],
}


@pytest.mark.parametrize("status", TOO_LARGE)
@pytest.mark.rule("limits")
async def test_what_is_above_a_limit_says_which(programs, status):
    async with proxied_http(programs, limits={"max_body_bytes": 1000}) as both:
        for request in TOO_LARGE[status]:
            async with connection(both.address) as http:
                await http.send(request)
                assert (await http.answer()).status == status
                assert await http.at_end()
        assert (await ask(both.address, POST)).status == 200
    assert len(both.heads) == 1


@pytest.mark.rule("closing")
async def test_an_answer_reaches_a_client_that_has_more_to_send_than_is_read(programs):
    """Closing with unread input would reset the connection under the answer."""
    async with proxied_http(programs, limits={"max_body_bytes": 1000}) as both:
        for _ in range(10):
            async with connection(both.address) as http:
                with suppress(OSError):
                    await http.send(get_request("/", "Content-Length: 50000", method="POST") + bytes(50_000))
                assert (await http.answer()).status == 413


REFUSED = {
    405: [b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", get_request(method="TRACE")],
    501: [get_request(method="BREW")],
    505: [b"GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", b"GET / HTTP/1.2\r\nHost: a.test\r\n\r\n"],
    400: [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a.test\n\n",
        get_request("/", "Content-Length: 4", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
        get_request("/", "Content-Length: 4", "Content-Length: 5", method="POST") + b"body",
        b"GET\r\n\r\n",
        b"hello\r\n\r\n",
        bytes(range(256)),
    ],
}


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.rule("connect-trace", "methods")
async def test_what_is_no_request_we_serve_reaches_no_upstream(programs, status):
    async with proxied_http(programs) as both:
        for request in REFUSED[status]:
            async with connection(both.address) as http:
                await http.send(request)
                assert (await http.answer()).status == status, request
                assert await http.at_end()
    assert both.heads == []
    assert both.upstream.accepted == 0
