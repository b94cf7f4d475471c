"""How plain exchanges follow each other: framing, keep-alive, pipelining, interim and early answers, half-close."""

from __future__ import annotations

import pytest
import trio
from support.http_client import ask, connection, get, get_request
from support.proxied import proxied, proxied_http
from support.upstream import reply
from support.waiting import wait_until

CHUNKED = b"POST /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"


def echo(head, body):
    return reply(head.start.split(b" ")[1] + b"|" + body)


async def test_bodies_arrive_whole_by_length_and_by_chunks(programs):
    async with proxied_http(programs, echo) as both, connection(both.address) as http:
        await http.send(get_request("/l", "Content-Length: 5", method="POST") + b"hello")
        assert (await http.answer()).body == b"/l|hello"
        await http.send(CHUNKED + b"5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert (await http.answer()).body == b"/c|hello!"
        await http.send(get_request("/e", "Content-Length: 0", method="POST"))
        assert (await http.answer()).body == b"/e|"
    assert [head.all(b"content-length") for head in both.heads] == [[b"5"], [], [b"0"]]
    assert both.heads[1].get(b"transfer-encoding") == b"chunked"


@pytest.mark.rule("keep-alive")
async def test_client_and_upstream_connections_are_reused(programs):
    async with proxied_http(programs, echo) as both:
        for _ in range(2):
            async with connection(both.address) as http:
                for number in range(5):
                    await http.send(get_request(f"/{number}"))
                    assert (await http.answer()).body == b"/%d|" % number
    assert both.upstream.accepted == 1


@pytest.mark.rule("retry")
async def test_an_upstream_that_closed_its_idle_connection_costs_nothing(programs):
    async def once(http):
        await http.head()
        await http.send(reply(b"fine"))

    async with proxied(programs, once) as both, connection(both.address) as http:
        for _ in range(20):
            await http.send(get_request(method="GET"))
            assert (await http.answer()).status == 200
    assert both.upstream.accepted == 20


@pytest.mark.rule("pipelining")
async def test_pipelined_requests_are_answered_in_order(programs):
    async with proxied_http(programs, echo) as both, connection(both.address) as http:
        first = get_request("/1", "Content-Length: 3", method="POST") + b"abc"
        await http.send(first + CHUNKED + b"2\r\nde\r\n0\r\n\r\n" + get_request("/3") + get_request("/4"))
        assert [(await http.answer()).body for _ in range(4)] == [b"/1|abc", b"/c|de", b"/3|", b"/4|"]


@pytest.mark.rule("pipelining")
async def test_the_answers_before_a_bad_pipelined_request_are_still_sent(programs):
    async with proxied_http(programs, echo) as both, connection(both.address) as http:
        await http.send(get_request("/1") + get_request("/2") + b"GET /3 HTTP/1.1\r\nNo colon\r\n\r\n")
        assert [(await http.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await http.at_end()


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 X")])
@pytest.mark.rule("no-body")
async def test_an_answer_without_a_body_is_not_waited_for(programs, method, status):
    fields = "" if status.startswith("204") else "Content-Length: 1000\r\n"
    answer = f"HTTP/1.1 {status}\r\n{fields}ETag: x\r\n\r\n".encode()
    async with proxied_http(programs, answer) as both, connection(both.address) as http:
        for _ in range(3):
            await http.send(get_request(method=method))
            got = await http.answer(method.encode())
            assert got.start.split(b" ")[1] == status.split(" ")[0].encode()
            assert got.get(b"etag") == b"x"
            assert got.get(b"content-length") == (b"1000" if fields else None)
    assert both.upstream.accepted == 1


async def test_a_body_that_ends_with_the_connection_is_chunked_for_the_client(programs):
    async def serve(http):
        await http.head()
        await http.send(b"HTTP/1.0 200 OK\r\n\r\nuntil ")
        await http.send(b"the end")

    async with proxied(programs, serve) as both, connection(both.address) as http:
        for _ in range(2):
            await http.send(get_request())
            answer = await http.answer()
            assert (answer.body, answer.get(b"transfer-encoding")) == (b"until the end", b"chunked")


async def test_an_http_1_0_client_gets_no_chunks_and_a_close(programs):
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with proxied_http(programs, answer) as both, connection(both.address) as http:
        await http.send(b"GET / HTTP/1.0\r\nX-A: 1\r\n\r\n")
        got = await http.answer()
        assert got.body == b"abc"
        assert got.get(b"transfer-encoding") is None
        assert await http.at_end()
    assert both.heads[0].start.endswith(b"HTTP/1.1")


async def test_connection_close_is_honoured(programs):
    async with proxied_http(programs) as both, connection(both.address) as http:
        await http.send(get_request("/", "Connection: close"))
        answer = await http.answer()
        assert answer.get(b"connection") == b"close"
        assert await http.at_end()


@pytest.mark.rule("half-close")
async def test_a_half_closed_client_still_gets_its_answer(programs):
    late = trio.Event()

    async def serve(http):
        await http.head()
        await late.wait()
        await http.send(reply(b"late"))

    async with proxied(programs, serve) as both, connection(both.address) as http:
        await http.send(get_request())
        await http.stream.send_eof()
        await wait_until(lambda: both.upstream.accepted, "the request arrived")
        late.set()
        assert (await http.answer()).body == b"late"
        assert await http.at_end()


@pytest.mark.rule("expect")
async def test_a_continue_goes_to_the_upstream_and_back_before_the_body(programs):
    async def serve(http):
        head = await http.head()
        assert head.get(b"expect") == b"100-continue"
        await http.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await http.send(reply(await http.body(head)))

    async with proxied(programs, serve) as both, connection(both.address) as http:
        await http.send(get_request("/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        assert (await http.head()).start.startswith(b"HTTP/1.1 100")
        await http.send(b"body")
        assert (await http.answer()).body == b"body"


@pytest.mark.rule("expect")
async def test_a_refusal_instead_of_a_continue_ends_the_connection(programs):
    async def serve(http):
        await http.head()
        await http.send(reply(b"no", "403 Forbidden"))

    async with proxied(programs, serve) as both, connection(both.address) as http:
        await http.send(get_request("/", "Content-Length: 4", "Expect: 100-continue", method="POST"))
        answer = await http.answer()
        assert (answer.status, answer.body) == (403, b"no")
        assert await http.at_end()


@pytest.mark.rule("expect")
async def test_another_expectation_is_417(programs):
    async with proxied_http(programs) as both:
        assert (await get(both.address, "/", "Expect: miracles")).status == 417
    assert both.heads == []


@pytest.mark.rule("interim")
async def test_interim_answers_pass_to_1_1_clients_only(programs):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    async with proxied_http(programs, hints + reply(b"final")) as both:
        answer = await get(both.address)
        assert [head.start.split(b" ")[1] for head in answer.interim] == [b"103", b"102"]
        assert answer.interim[0].get(b"link") == b"</a>"
        assert answer.body == b"final"
        old = await ask(both.address, b"GET / HTTP/1.0\r\n\r\n")
        assert (old.status, old.interim) == (200, ())


@pytest.mark.rule("early-answer")
async def test_an_early_answer_reaches_a_client_that_still_sends(programs):
    async def serve(http):
        await http.head()
        await http.send(reply(b"too much", "413 Content Too Large", "Connection: close"))
        await http.stream.send_eof()
        await http.rest()

    async with proxied(programs, serve) as both, connection(both.address) as http:
        await http.send(get_request("/", "Content-Length: 100000000", method="POST") + bytes(1000))
        answer = await http.answer()
        assert (answer.status, answer.body) == (413, b"too much")
        assert await http.at_end()


async def test_a_body_streams_through_before_it_ends(programs):
    """Nothing is held back: each side sees the first half while the second is not yet sent."""
    halves = trio.Event()

    async def serve(http):
        head = await http.head()
        assert await http.take_until(b"\r\n") == b"5"
        assert await http.take(7) == b"first\r\n"
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        halves.set()
        await http.chunked()
        await http.send(b"other")
        assert head.get(b"transfer-encoding") == b"chunked"

    async with proxied(programs, serve) as both, connection(both.address) as http:
        await http.send(CHUNKED + b"5\r\nfirst\r\n")
        await halves.wait()
        assert (await http.head()).get(b"content-length") == b"10"
        assert await http.take(5) == b"first"
        await http.send(b"5\r\nother\r\n0\r\n\r\n")
        assert await http.take(5) == b"other"
