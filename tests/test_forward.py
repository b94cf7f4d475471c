"""A plain exchange: the rows of PROTOCOL.md §1 on bodies, early answers, keep-alive and retries."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio
from support.http_client import get_request, reset
from support.scripted import REFUSED, answers, proxying
from support.upstream import reply

from trioproxy import metrics as m
from trioproxy.readiness import Watch

POST = get_request("/", "Content-Length: 3", method="POST") + b"abc"
HALF_POST = get_request("/", "Content-Length: 6", method="POST") + b"abc"
CHUNKED_POST = get_request("/", "Transfer-Encoding: chunked", method="POST")
ERROR = reply(b"oh", "500 Internal Server Error")


async def test_a_request_goes_to_the_upstream_and_its_answer_comes_back():
    upstream = answers(reply(b"fine", "200 Very Good", "X-A: 1", "X-A: 2"))
    async with proxying(upstream) as proxy:
        answer = await proxy.ask(get_request("/x?y=1", "A: b"))
        assert (answer.start, answer.body) == (b"HTTP/1.1 200 Very Good", b"fine")
        assert answer.all(b"x-a") == [b"1", b"2"]
        assert upstream.heads[0].start == b"GET /x?y=1 HTTP/1.1"
        assert upstream.heads[0].fields[:2] == ((b"Host", b"a.test"), (b"A", b"b"))
        assert proxy.counted(m.REQUESTS) == {"all backend http 200": 1}
        assert proxy.endings == {"upstream response done": 1, "client head done": 1}
        (line,) = [each for each in proxy.log if each["event"] == "request"]
        assert (line["status"], line["attempts"], line["path"]) == (200, 1, "/x")


async def test_many_clients_at_once_each_get_their_own_answers(monkeypatch):
    posted = []
    post = Watch.post
    monkeypatch.setattr(Watch, "post", lambda watch, data: post(watch, data) and not posted.append(data))

    async def upstream(http):
        while True:
            head = await http.head()
            await http.send(reply(head.start.split(b" ")[1]))

    async with proxying(upstream) as proxy:
        clients = [proxy.connect() for _ in range(20)]
        for turn in range(4):
            for number, http in enumerate(clients):
                http.stream.socket.send(get_request(f"/{turn}/{number}"))
            for number, http in enumerate(clients):
                assert (await http.answer()).body == b"/%d/%d" % (turn, number)
        assert proxy.codes == {"200": 80}
    assert posted, "nothing was sent together"


async def test_a_body_with_a_length_keeps_it():
    upstream = answers()
    async with proxying(upstream) as proxy:
        assert (await proxy.ask(POST)).status == 200
        assert upstream.bodies == [b"abc"]
        assert upstream.heads[0].all(b"content-length") == [b"3"]
        assert proxy.counted(m.HTTP_BYTES) == {
            f"backend {proxy.peers[0].address} to_upstream": 3,
            f"backend {proxy.peers[0].address} to_client": 4,
        }


@pytest.mark.rule("chunk-extensions", "trailers")
async def test_a_chunked_body_stays_chunked_without_extensions_and_trailers_cve_2025_22871():
    seen = []

    async def upstream(http):
        await http.head()
        seen.append(await http.take_until(b"0\r\n\r\n"))
        await http.send(reply())

    async with proxying(upstream) as proxy:
        await proxy.ask(CHUNKED_POST + b"3;a=b\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert seen == [b"3\r\nabc\r\n"]


async def test_a_request_with_length_zero_has_no_body_and_is_repeated_like_one_without():
    second = answers()
    async with proxying(answers(None), second) as proxy:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 0") + get_request("/next"))
        for _ in range(2):
            assert (await http.answer()).status == 200
        assert [head.start.split(b" ")[1] for head in second.heads] == [b"/", b"/next"]
        assert second.heads[0].get(b"content-length") == b"0"


async def test_a_large_body_streams_up_while_the_answer_streams_down():
    async def echo(http):
        head = await http.head()
        length = int(head.get(b"content-length"))
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        for _ in range(length // 1000):
            await http.send(await http.take(1000))

    async with proxying(echo) as proxy, trio.open_nursery() as nursery:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 3000000", method="POST"))

        async def send():
            for _ in range(3000):
                await http.send(b"x" * 1000)

        nursery.start_soon(send)
        assert len((await http.answer()).body) == 3_000_000


async def test_a_client_that_does_not_read_stops_the_upstream(autojump_clock):
    sent = 0

    async def endless(http):
        nonlocal sent
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await http.send(b"x" * 65536)
            sent += 65536

    async with proxying(endless) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < sent < 2_000_000
        before = sent
        await trio.testing.wait_all_tasks_blocked()
        assert sent == before
        await proxy.context.no_connections()  # timeouts.response later
        assert trio.current_time() == pytest.approx(60, abs=1)
        assert proxy.endings == {"client response stalled": 1}


@pytest.mark.rule("limits")
async def test_an_upstream_that_does_not_read_stops_the_client_and_gets_504_in_the_end(autojump_clock):
    async def deaf(http):
        await http.head()
        await trio.sleep_forever()

    async with proxying(deaf) as proxy, trio.open_nursery() as nursery:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 9000000", method="POST"))
        sent = 0

        async def send():
            nonlocal sent
            for _ in range(90):
                await http.send(b"x" * 100_000)
                sent += 100_000

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent < 2_000_000
        assert (await http.answer()).status == 504
        assert trio.current_time() == pytest.approx(60, abs=1)
        nursery.cancel_scope.cancel()


@pytest.mark.rule("silent-upstream")
async def test_a_silent_upstream_is_504_after_timeouts_response(autojump_clock):
    async def silent(http):
        await http.head()
        await trio.sleep_forever()

    async with proxying(silent, timeouts={"response": 7}) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        answer = await http.answer()
        assert (answer.status, trio.current_time()) == (504, 7)
        assert answer.get(b"connection") is None
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response timeout": 1, "client head done": 1}


@pytest.mark.rule("slow", "limits")
async def test_a_client_silent_inside_its_body_gets_408(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(HALF_POST)
        answer = await http.answer()
        assert (answer.status, answer.get(b"connection"), trio.current_time()) == (408, b"close", 60)
        await proxy.hang_up(http)
        assert proxy.endings == {"client request timeout": 1}


async def test_the_upstreams_time_does_not_run_while_the_client_is_waited_for(autojump_clock):
    upstream = answers()
    async with proxying(upstream, timeouts={"response": 10}) as proxy:
        http = proxy.connect()
        await http.send(HALF_POST)
        await trio.sleep(9)
        await http.send(b"d")
        await trio.sleep(9)
        await http.send(b"ef")
        assert (await http.answer()).status == 200
        assert upstream.bodies == [b"abcdef"]


@pytest.mark.rule("incomplete")
async def test_a_client_that_ends_inside_its_body_gets_400_and_the_upstream_sees_no_whole_request():
    rest = []

    async def upstream(http):
        await http.head()
        rest.append(await http.rest())

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(HALF_POST)
        await http.stream.send_eof()
        assert (await http.answer()).status == 400
        await proxy.hang_up(http)
        await trio.testing.wait_all_tasks_blocked()
        assert rest == [b"abc"]
        assert proxy.endings == {"client request closed": 1}


@pytest.mark.parametrize("end", ["reset", "fin"])
async def test_a_body_that_ends_too_early_ends_in_a_reset_of_the_upstream(end):
    """A FIN is the end of the body to a server that does not count: gunicorn hands a short one to its application."""
    ended = trio.Event()

    async def upstream(http):
        await http.head()
        await http.take(3)
        if end == "reset":
            reset(client.stream)
        else:
            await client.stream.send_eof()
        with pytest.raises(ConnectionResetError):
            await http.rest()
        ended.set()

    async with proxying(upstream, tcp=True) as proxy:
        client = proxy.connect()
        await client.send(HALF_POST)
        if end == "fin":
            assert (await client.answer()).status == 400
            await proxy.hang_up(client)
        await proxy.context.no_connections()
        await ended.wait()
        assert proxy.endings == {f"client request {'reset' if end == 'reset' else 'closed'}": 1}
        assert proxy.codes == ({"other": 1} if end == "reset" else {"400": 1})


async def test_a_bad_chunk_in_the_body_is_400_where_nothing_was_answered():
    async with proxying(answers()) as proxy:
        answer = await proxy.ask(CHUNKED_POST + b"3\r\nabc\r\nzz\r\n")
        assert (answer.status, answer.get(b"connection")) == (400, b"close")
        assert proxy.endings == {"client request invalid": 1}


@pytest.mark.rule("limits")
async def test_a_body_announced_above_the_limit_is_413_without_an_upstream():
    upstream = answers()
    async with proxying(upstream, limits={"max_body_bytes": 2}) as proxy:
        answer = await proxy.ask(POST)
        assert (answer.status, answer.get(b"connection")) == (413, b"close")
        assert proxy.peers[0].accepted == 0
        assert proxy.endings == {"client request too_large": 1}


@pytest.mark.rule("limits")
async def test_a_chunked_body_above_the_limit_is_413_once_it_is():
    async with proxying(answers(), limits={"max_body_bytes": 4}) as proxy:
        assert (await proxy.ask(CHUNKED_POST + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).status == 413


SLOW = {"limits": {"min_body_rate": 100}, "timeouts": {"body": 10, "response": 600}}


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_comes_too_slowly_is_408_however_regularly_it_comes(chunked, autojump_clock):
    async with proxying(answers(), **SLOW) as proxy:
        http = proxy.connect()
        start = CHUNKED_POST if chunked else get_request("/", "Content-Length: 9999", method="POST") + bytes(5000)
        await http.send(start)
        async with trio.open_nursery() as nursery:

            async def dribble():
                with suppress(trio.BrokenResourceError):
                    while True:
                        await trio.sleep(1)
                        await http.send(b"1\r\nx\r\n" if chunked else b"x")

            nursery.start_soon(dribble)
            answer = await http.answer()
            nursery.cancel_scope.cancel()
        assert (answer.status, answer.get(b"connection")) == (408, b"close")
        assert trio.current_time() == pytest.approx(10, abs=1)
        await proxy.hang_up(http)
        assert proxy.endings == {"client request timeout": 1}
        assert "below 100 bytes a second" in proxy.log[-1]["detail"]


async def test_at_the_least_rate_a_body_takes_as_long_as_it_takes(autojump_clock):
    async with proxying(answers(), **SLOW) as proxy:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 30000", method="POST"))
        for _ in range(60):
            await trio.sleep(5)
            await http.send(bytes(500))
        assert (await http.answer()).status == 200
        assert trio.current_time() == 300


async def test_a_client_is_not_blamed_for_an_upstream_that_is_slow(autojump_clock):
    async def slow(http):
        head = await http.head()
        for _ in range(40):
            await trio.sleep(15)
            await http.take(int(head.get(b"content-length")) // 40)
        await http.send(reply(b"fine"))

    async with proxying(slow, **SLOW) as proxy, trio.open_nursery() as nursery:
        http = proxy.connect()
        nursery.start_soon(http.send, get_request("/", "Content-Length: 4000000", method="POST") + bytes(4_000_000))
        assert (await http.answer()).status == 200
        assert trio.current_time() == 600


async def test_a_client_that_takes_an_answer_too_slowly_is_cut(autojump_clock):
    async def endless(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await http.send(bytes(65536))

    how = {"limits": {"min_body_rate": 50_000}, "timeouts": {"body": 10, "response": 600}}
    async with proxying(endless, **how) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        with suppress(trio.BrokenResourceError, ConnectionError):
            while True:
                await trio.sleep(1)
                await http.take(20_000)
        await proxy.context.no_connections()
        assert trio.current_time() < 60
        assert proxy.endings == {"client response stalled": 1}


async def test_a_body_at_the_limit_passes():
    async with proxying(answers(), limits={"max_body_bytes": 3}) as proxy:
        assert (await proxy.ask(POST)).status == 200
        assert (await proxy.ask(CHUNKED_POST + b"3\r\nabc\r\n0\r\n\r\n")).status == 200


# Expect, early answers


@pytest.mark.rule("expect")
async def test_expect_is_passed_on_and_the_100_passed_back():
    async def upstream(http):
        assert (await http.head()).get(b"expect") == b"100-continue"
        await http.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await http.send(reply(await http.take(3)))

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert (await http.head()).start == b"HTTP/1.1 100 Continue"
        await http.send(b"abc")
        assert (await http.answer()).body == b"abc"


@pytest.mark.rule("expect")
async def test_a_final_answer_to_an_expectation_ends_the_connection():
    ended = trio.Event()

    async def upstream(http):
        await http.head()
        await http.send(reply(b"no", "403 Forbidden"))
        assert await http.rest() == b""
        ended.set()

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        answer = await http.answer()
        assert (answer.status, answer.body, answer.get(b"connection")) == (403, b"no", b"close")
        await ended.wait()  # never reused: it waits for a body
        assert await http.at_end()
        assert len(proxy.idle) == 0


@pytest.mark.rule("early-answer")
async def test_an_early_answer_is_passed_on_and_the_rest_of_the_body_discarded():
    async def upstream(http):
        await http.head()
        await http.send(reply(b"enough"))
        await http.rest()

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(HALF_POST)
        answer = await http.answer()
        assert (answer.body, answer.get(b"connection")) == (b"enough", b"close")
        await http.send(b"def" + get_request("/smuggled"))
        assert await http.at_end()
        assert proxy.codes == {"200": 1}


@pytest.mark.parametrize("rest", [b"", b"zz\r\n"], ids=["FIN", "a bad chunk"])
async def test_a_client_that_stops_sending_because_of_an_early_answer_gets_all_of_it(rest):
    more = trio.Event()

    async def upstream(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await more.wait()
        await http.send(b"def")
        await http.rest()

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(CHUNKED_POST + b"3\r\nabc\r\n")
        head = await http.head()
        assert head.get(b"connection") == b"close"
        await (http.send(rest) if rest else http.stream.send_eof())
        await trio.testing.wait_all_tasks_blocked()
        more.set()
        assert await http.take(6) == b"abcdef"
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response done": 1}


async def test_an_upstream_that_answers_and_closes_under_a_large_body_is_heard():
    async def upstream(http):
        await http.head()
        await http.send(reply(b"too much", "413 Content Too Large", "Connection: close"))

    async with proxying(upstream) as proxy, trio.open_nursery() as nursery:
        http = proxy.connect()
        await http.send(get_request("/", "Content-Length: 9000000", method="POST"))
        answer = await http.answer()
        assert (answer.status, answer.body) == (413, b"too much")
        nursery.cancel_scope.cancel()


# Upstream connections that are kept


@pytest.mark.rule("keep-alive")
async def test_a_connection_is_used_again():
    upstream = answers()
    async with proxying(upstream) as proxy:
        for _ in range(3):
            assert (await proxy.ask(get_request())).status == 200
        assert (await proxy.ask(POST)).status == 200
        assert (await proxy.ask(CHUNKED_POST + b"3\r\nabc\r\n0\r\n\r\n")).status == 200
        assert (upstream.connections, len(proxy.idle)) == (1, 1)


@pytest.mark.rule("keep-alive", "version")
async def test_never_with_a_1_0_client():
    upstream = answers()
    async with proxying(upstream) as proxy:
        await proxy.ask(get_request())
        for _ in range(2):
            await proxy.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (upstream.connections, len(proxy.idle)) == (3, 1)


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"x", "200 OK", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        reply(b"x") + reply(b"poison"),
        reply(b"x") + b"\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nxxxxx",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nxxxxx",
    ],
    ids=["close", "1.0", "two answers", "a stray line", "a body behind 204", "a body behind 304"],
)
@pytest.mark.rule("extra-bytes", "two-answers")
async def test_extra_octets_or_close_end_an_upstream_connection_and_are_no_other_answer(answer):
    upstream = answers(answer, reply(b"next"))
    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await http.answer()
        await trio.testing.wait_all_tasks_blocked()
        assert len(proxy.idle) == 0
        await http.send(get_request())
        assert (await http.answer()).body == b"next"
        assert upstream.connections == 2


@pytest.mark.rule("extra-bytes", "two-answers")
async def test_octets_that_come_behind_an_answer_later_end_the_connection_too():
    poison = trio.Event()

    async def upstream(http):
        head = await http.head()
        await http.send(reply(head.start))
        if b"first" in head.start:
            await poison.wait()
            await http.send(reply(b"poison"))
        await http.rest()

    async with proxying(upstream) as proxy:
        await proxy.ask(get_request("/first"))
        poison.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(proxy.idle) == 1
        assert (await proxy.ask(get_request("/second"))).body == b"GET /second HTTP/1.1"
        assert proxy.peers[0].accepted == 2


@pytest.mark.rule("keep-alive", "retry")
async def test_a_kept_connection_that_ended_is_noticed_before_it_is_used():
    upstream = answers(keep=False)
    async with proxying(upstream) as proxy:
        for _ in range(2):
            assert (await proxy.ask(POST)).status == 200
            await trio.testing.wait_all_tasks_blocked()
        assert upstream.connections == 2
        assert proxy.counted(m.RETRIES) == {}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.rule("retry")
async def test_a_kept_connection_that_ends_on_use_gives_an_idempotent_request_a_fresh_one(method):
    upstream = answers(reply(), None, reply())
    async with proxying(upstream, pool={"attempts": 1}) as proxy:
        await proxy.ask(get_request())
        assert (await proxy.ask(get_request(method=method))).status == 200
        assert upstream.connections == 2
        assert proxy.counted(m.RETRIES) == {}  # it says nothing of the upstream


@pytest.mark.parametrize(
    "request_",
    [POST, get_request(method="POST"), *[POST.replace(b"POST", method) for method in (b"GET", b"PUT", b"DELETE")]],
    ids=["POST with a body", "POST without", "GET with a body", "PUT with a body", "DELETE with a body"],
)
@pytest.mark.rule("retry")
async def test_a_post_or_a_body_is_not_repeated_when_its_kept_connection_ends(request_):
    upstream = answers(reply(), None)
    async with proxying(upstream) as proxy:
        await proxy.ask(get_request())
        assert (await proxy.ask(request_)).status == 502
        assert upstream.connections == 1
        assert proxy.endings["upstream response closed"] == 1


async def test_a_post_gets_a_kept_connection_only_within_a_second(autojump_clock):
    upstream = answers()
    async with proxying(upstream) as proxy:
        await proxy.ask(get_request())
        await trio.sleep(0.9)
        await proxy.ask(POST)
        assert upstream.connections == 1
        await trio.sleep(1.1)
        await proxy.ask(POST)
        assert upstream.connections == 2
        await trio.sleep(1.1)
        await proxy.ask(get_request())
        assert upstream.connections == 2


# Retries


@pytest.mark.parametrize("request_", [get_request(), POST, CHUNKED_POST + b"0\r\n\r\n"])
@pytest.mark.rule("retry")
async def test_any_method_goes_to_another_upstream_where_no_connection_came_about(request_):
    async with proxying(REFUSED, answers()) as proxy:
        assert (await proxy.ask(request_)).status == 200
        assert proxy.counted(m.RETRIES) == {"backend connect": 1}
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {REFUSED} refused": 1}
        assert [each["attempts"] for each in proxy.log] == [2]


@pytest.mark.rule("no-upstream")
async def test_503_with_retry_after_where_every_connect_failed():
    async with proxying(REFUSED, REFUSED + "/2", REFUSED + "/3") as proxy:
        answer = await proxy.ask(get_request())
        assert (answer.status, answer.get(b"retry-after")) == (503, b"1")
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {REFUSED} refused": 1, f"backend {REFUSED}/2 refused": 1}
        assert proxy.endings == {"upstream connect refused": 1, "client head done": 1}


@pytest.mark.rule("no-upstream")
async def test_503_with_retry_after_where_no_upstream_is_eligible():
    async with proxying(answers()) as proxy:
        proxy.upstreams[0].draining = True
        answer = await proxy.ask(get_request())
        assert (answer.status, answer.get(b"retry-after")) == (503, b"1")
        assert proxy.endings == {"proxy connect no_upstream": 1, "client head done": 1}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.rule("retry")
async def test_an_upstream_that_closes_without_a_byte_is_followed_by_another(method):
    first, second = answers(None), answers()
    async with proxying(first, second) as proxy:
        assert (await proxy.ask(get_request(method=method))).status == 200
        assert (len(first.heads), len(second.heads)) == (1, 1)
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}


async def test_an_upstream_that_resets_without_a_byte_is_followed_by_another():
    async def resetting(http):
        await http.head()
        reset(http.stream)

    async with proxying(resetting, answers(), tcp=True) as proxy:
        assert (await proxy.ask(get_request())).status == 200
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}


@pytest.mark.parametrize(
    "request_",
    [
        *[get_request(method=method) for method in ("POST", "PUT", "DELETE", "OPTIONS")],
        *[POST.replace(b"POST", method) for method in (b"POST", b"GET", b"HEAD")],
        CHUNKED_POST.replace(b"POST", b"GET") + b"0\r\n\r\n",
    ],
)
@pytest.mark.rule("retry")
async def test_other_requests_are_not_repeated_on_a_fresh_connection(request_):
    second = answers()
    async with proxying(answers(None), second) as proxy:
        assert (await proxy.ask(request_)).status == 502
        assert not second.heads
        assert proxy.counted(m.RETRIES) == {}


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.rule("retry")
async def test_nothing_is_repeated_once_an_answer_byte_came(start):
    second = answers()
    async with proxying(answers(start, keep=False), second) as proxy:
        assert (await proxy.ask(get_request())).status == 502
        assert not second.heads


async def test_retry_on_can_be_turned_off():
    async with proxying(answers(None), answers(), pool={"retry_on": ()}) as proxy:
        assert (await proxy.ask(get_request())).status == 502
    async with proxying(REFUSED, answers(), pool={"retry_on": ("closed",)}) as proxy:
        assert (await proxy.ask(get_request())).status == 503


async def test_no_more_attempts_than_configured_and_the_last_failure_is_told():
    third = answers()
    async with proxying(answers(None), answers(None), third) as proxy:
        assert (await proxy.ask(get_request())).status == 502
        assert not third.heads
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}
        assert proxy.endings["upstream response closed"] == 1


@pytest.mark.rule("invalid-answer")
async def test_an_invalid_answer_is_502_and_not_repeated():
    second = answers()
    async with proxying(answers(b"SSH-2.0-x\r\n"), second) as proxy:
        assert (await proxy.ask(get_request())).status == 502
        assert not second.heads
        assert proxy.endings == {"upstream response invalid": 1, "client head done": 1}


@pytest.mark.rule("upgrade-unasked")
async def test_a_101_nobody_asked_for_is_502():
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    async with proxying(answers(switching)) as proxy:
        for request in (get_request(), POST, get_request("/", "Upgrade: h2c", "Connection: Upgrade")):
            assert (await proxy.ask(request)).status == 502
        assert len(proxy.idle) == 0


async def test_a_5xx_is_passed_on_where_retry_on_does_not_say_5xx():
    second = answers()
    async with proxying(answers(ERROR), second) as proxy:
        assert (await proxy.ask(get_request())).body == b"oh"
        assert not second.heads


RETRY_5XX = {"retry_on": ("5xx",)}


async def test_5xx_is_opt_in_and_the_last_one_is_passed_on():
    async with proxying(answers(ERROR), answers(), pool=RETRY_5XX) as proxy:
        assert (await proxy.ask(get_request())).body == b"fine"
        assert proxy.counted(m.RETRIES) == {"backend 5xx": 1}
    async with proxying(answers(ERROR), answers(ERROR), pool=RETRY_5XX) as proxy:
        assert (await proxy.ask(get_request())).body == b"oh"
        assert proxy.counted(m.RETRIES) == {"backend 5xx": 1}


async def test_a_5xx_is_passed_on_where_the_other_upstream_went_before_it_came():
    second = answers()

    async def first(http):
        await http.head()
        proxy.upstreams[1].draining = True
        await http.send(ERROR)

    async with proxying(first, second, pool=RETRY_5XX) as proxy:
        assert (await proxy.ask(get_request())).body == b"oh"
        assert proxy.counted(m.RETRIES) == {}
    assert not second.heads


async def test_a_5xx_is_answered_by_an_upstream_that_came_before_it():
    async def first(http):
        await http.head()
        proxy.upstreams[1].draining = False
        await http.send(ERROR)

    async with proxying(first, answers(), pool=RETRY_5XX) as proxy:
        proxy.upstreams[1].draining = True
        assert (await proxy.ask(get_request())).body == b"fine"


async def test_a_5xx_over_a_kept_connection_is_no_stale_one():
    first = answers(reply(), ERROR, ERROR)
    async with proxying(first, answers(reply(b"second")), pool=RETRY_5XX) as proxy:
        proxy.upstreams[1].draining = True
        await proxy.ask(get_request())
        proxy.upstreams[1].draining = False
        bodies = {(await proxy.ask(get_request())).body for _ in range(2)}
        assert bodies == {b"second"}
        assert proxy.counted(m.RETRIES) == {"backend 5xx": 1}
        assert len(first.heads) == 2


async def test_a_5xx_to_a_post_or_behind_an_interim_answer_is_passed_on():
    hinted = b"HTTP/1.1 103 Early Hints\r\n\r\n" + ERROR
    second = answers()
    async with proxying(answers(hinted), second, pool=RETRY_5XX) as proxy:
        assert (await proxy.ask(get_request())).status == 500
    async with proxying(answers(ERROR), second, pool=RETRY_5XX) as proxy:
        assert (await proxy.ask(POST)).status == 500
    assert not second.heads


# Cancellation


@pytest.mark.parametrize("request_", [get_request(), HALF_POST])
async def test_cut_while_it_is_served_a_request_counts_as_cut_and_leaves_nothing(request_):
    arrived = trio.Event()

    async def upstream(http):
        await http.head()
        arrived.set()
        await trio.sleep_forever()

    async with proxying(upstream) as proxy:
        await proxy.connect().send(request_)
        await arrived.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert proxy.upstreams[0].active == 1
        proxy.cut()
    assert proxy.endings == {"proxy response cut": 1}


async def test_a_bug_while_a_body_goes_up_ends_that_connection_alone_and_counts_once():
    async with proxying(answers(), bugs=1) as proxy:
        http = proxy.connect()
        await http.send(HALF_POST)
        await trio.testing.wait_all_tasks_blocked()
        config, proxy.context.config = proxy.context.config, None  # where the limit of the body stands
        await http.send(b"d")
        await proxy.context.no_connections()
        proxy.context.config = config
        assert proxy.endings == {"proxy response internal": 1}
        assert proxy.codes == {"other": 1}
        assert (await proxy.ask(get_request())).status == 200


# Whose answer it is


def marked(dice: random.Random, mark: bytes) -> bytes:
    """An answer that carries its request's mark, in any framing."""
    framing = dice.randrange(3)
    if framing == 0:
        return reply(mark)
    if framing == 1:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(mark), mark)
    return b"HTTP/1.1 103 Early Hints\r\n\r\n" + reply(mark)


def poisoning_upstream(dice: random.Random):
    """An upstream that answers rightly, now and then with an answer too much behind it, or closes.

    One that comes later, when the next request is under way, cannot be told from the answer to that.
    """

    async def script(http):
        while dice.random() < 0.8:
            head = await http.head()
            await http.body(head)
            if dice.random() < 0.1:
                return  # without an answer
            extra = dice.choice([b"", b"", b"", reply(b"poison"), b"HTTP/1.1 200", b"\r\n"])
            await http.send(marked(dice, head.start.split(b" ")[1]) + extra)

    return script


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.rule("two-answers", "extra-bytes")
async def test_an_answer_is_never_anothers_whatever_upstreams_do(seed, autojump_clock):
    dice = random.Random(seed)

    async def ask(name: int) -> None:
        http = proxy.connect()
        bodies = [b"", b"", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"]
        for number in range(10):
            mark, body = b"/%d-%d" % (name, number), dice.choice(bodies)
            method = b"POST" if body else b"GET"
            await http.send(
                b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, mark, len(body)) + body
            )
            answer = await http.answer()
            assert answer.status in {200, 502}
            assert answer.body in {mark, b"502 Bad Gateway\n"}
            if answer.get(b"connection") == b"close":
                assert await http.at_end()
                http = proxy.connect()
            await trio.sleep(dice.choice([0, 0, 0.5, 2]))

    async with proxying(poisoning_upstream(dice), poisoning_upstream(dice)) as proxy, trio.open_nursery() as nursery:
        for name in range(4):
            nursery.start_soon(ask, name)
