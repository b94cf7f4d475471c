"""An answer on its way to the client: framing for each version, interim heads, what a cut looks like, back-pressure."""

from __future__ import annotations

import pytest
import trio
from support.frames import upgrade_request
from support.http_client import get_request, reset
from support.scripted import answers, proxying
from support.upstream import reply

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nabcde"
GET_1_0 = b"GET / HTTP/1.0\r\n\r\n"


def sends(data: bytes, *, then_reset: bool = False):
    """An upstream that sends this and then waits, or resets."""

    async def script(http):
        await http.head()
        await http.send(data)
        if then_reset:
            await trio.testing.wait_all_tasks_blocked()
            reset(http.stream)
        await trio.sleep_forever()

    return script


async def test_chunks_are_framed_anew_without_extensions_and_trailers():
    async with proxying(answers(CHUNKED)) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        head = await http.head()
        assert head.all(b"transfer-encoding") == [b"chunked"] and head.get(b"content-length") is None
        assert await http.take_until(b"0\r\n\r\n") in {b"5\r\nabcde\r\n", b"3\r\nabc\r\n2\r\nde\r\n"}
        await proxy.hang_up(http)
        assert len(proxy.idle) == 1


WANTED = ("TE: trailers", "Connection: TE")
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.rule("trailers")
async def test_trailers_go_to_a_client_that_asked_for_them_and_no_other_on_the_same_connections():
    upstream = answers(CHUNKED)
    async with proxying(upstream) as proxy:
        http = proxy.connect()
        for wanted in (True, False, True):
            await http.send(get_request("/", *(WANTED if wanted else ())))
            await http.head()
            end = b"0\r\nX-Trailer: 1\r\n\r\n" if wanted else b"0\r\n\r\n"
            assert (await http.take_until(end)).endswith(b"de\r\n")
        await proxy.hang_up(http)
        assert len(proxy.idle) == upstream.connections == 1
        assert [head.all(b"te") for head in upstream.heads] == [[b"trailers"], [], [b"trailers"]]
        assert [head.all(b"connection") for head in upstream.heads] == [[b"TE"], [], [b"TE"]]


@pytest.mark.rule("trailers", "no-body")
async def test_where_there_is_no_content_there_are_no_trailers():
    async with proxying(answers(CHUNKED_HEAD, b"HTTP/1.1 204 No Content\r\n\r\n", CHUNKED)) as proxy:
        http = proxy.connect()
        for method in (b"HEAD", b"GET"):
            await http.send(get_request("/", *WANTED, method=method.decode()))
            assert (await http.answer(method)).body == b""
        await http.send(get_request("/", *WANTED))
        assert (await http.answer()).body == b"abcde"


@pytest.mark.rule("trailers", "retry")
async def test_another_upstream_is_asked_for_trailers_too():
    second = answers(CHUNKED)
    async with proxying(answers(None), second) as proxy:
        http = proxy.connect()
        for _ in range(2):
            await http.send(get_request("/", *WANTED))
            await http.take_until(b"0\r\nX-Trailer: 1\r\n\r\n")
        assert [head.get(b"te") for head in second.heads] == [b"trailers"] * 2


@pytest.mark.parametrize("part", [b"", b"X-Trailer", b"X-Trailer: 1\r\n", b"X-Trailer: 1\r\n\r"])
@pytest.mark.rule("trailers", "incomplete")
async def test_a_cut_inside_the_trailers_shows_as_one(part):
    async with proxying(answers(CHUNKED_HEAD + b"3\r\nabc\r\n0\r\n" + part, keep=False)) as proxy:
        http = proxy.connect()
        await http.send(get_request("/", *WANTED))
        await http.head()
        assert await http.rest() == b"3\r\nabc\r\n"
        assert proxy.endings == {"upstream response closed": 1}


@pytest.mark.rule("trailers", "upgrade-upstream")
async def test_a_refused_upgrade_has_no_trailers():
    upstream = answers(CHUNKED.replace(b"200 OK", b"403 Forbidden"))
    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request("/", "TE: trailers"))
        await http.head()
        assert await http.take_until(b"0\r\n\r\n") in {b"5\r\nabcde\r\n", b"3\r\nabc\r\n2\r\nde\r\n"}
        assert upstream.heads[0].get(b"te") is None


async def test_what_ends_with_the_upstreams_fin_becomes_chunks_and_the_client_stays():
    async with proxying(answers(UNTIL_CLOSE, keep=False)) as proxy:
        http = proxy.connect()
        for _ in range(2):
            await http.send(get_request())
            answer = await http.answer()
            assert (answer.body, answer.get(b"connection")) == (b"abcde", None)
        assert len(proxy.idle) == 0


@pytest.mark.parametrize("answer", [CHUNKED, UNTIL_CLOSE])
@pytest.mark.rule("version")
async def test_a_1_0_client_gets_no_chunks_but_the_end_of_the_connection(answer):
    async with proxying(answers(answer, keep=False)) as proxy:
        got = await proxy.ask(GET_1_0)
        assert got.body == b"abcde"
        assert got.get(b"connection") == b"close" and got.get(b"transfer-encoding") is None
        assert proxy.endings == {"upstream response done": 1}


async def test_a_1_0_client_gets_a_length_where_there_is_one():
    async with proxying(answers()) as proxy:
        got = await proxy.ask(GET_1_0)
        assert (got.body, got.get(b"content-length")) == (b"fine", b"4")


@pytest.mark.rule("interim")
async def test_interim_answers_pass_in_order_to_a_1_1_client_and_never_to_a_1_0_one():
    hints = b"".join(b"HTTP/1.1 103 Early Hints\r\nLink: %d\r\nConnection: x\r\nX: 1\r\n\r\n" % n for n in range(3))
    async with proxying(answers(hints + reply(b"fine"))) as proxy:
        answer = await proxy.ask(get_request())
        assert [(head.start, head.fields) for head in answer.interim] == [
            (b"HTTP/1.1 103 Early Hints", ((b"Link", b"%d" % n),)) for n in range(3)
        ]
        assert answer.body == b"fine"
        assert (await proxy.ask(GET_1_0)).interim == ()


@pytest.mark.rule("interim")
async def test_endless_interim_answers_are_502():
    async with proxying(answers(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)) as proxy:
        assert (await proxy.ask(get_request())).status == 502


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ],
)
@pytest.mark.rule("no-body")
async def test_no_body_is_waited_for_where_there_is_none(method, answer):
    async with proxying(answers(answer)) as proxy:
        http = proxy.connect()
        for _ in range(2):
            await http.send(get_request(method=method))
            got = await http.answer(method.encode())
            assert got.get(b"transfer-encoding") is None
            assert got.get(b"content-length") == (b"1000" if b"1000" in answer else None)
        await proxy.hang_up(http)
        assert len(proxy.idle) == 1


async def test_a_head_goes_out_before_there_is_a_body():
    more = trio.Event()

    async def events(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await more.wait()
        await http.send(b"data: x\n\n")

    async with proxying(events) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        head = await http.head()
        more.set()
        assert await http.body(head) == b"data: x\n\n"


@pytest.mark.parametrize("start", [b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"])
@pytest.mark.parametrize("request_", [get_request(), GET_1_0])
@pytest.mark.rule("incomplete")
async def test_a_framed_answer_cut_short_ends_with_fin_so_that_all_of_its_part_arrives(start, request_):
    async with proxying(answers(b"HTTP/1.1 200 OK\r\n" + start, keep=False), tcp=True) as proxy:
        http = proxy.connect()
        await http.send(request_)
        head = await http.head()
        if head.get(b"content-length") is None and request_ is GET_1_0:
            with pytest.raises(ConnectionResetError):  # where nothing else would show that it is cut
                await http.rest()
        else:
            assert (await http.rest()).endswith((b"abc", b"abc\r\n"))
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response closed": 1}
        assert proxy.codes == {"200": 1}


@pytest.mark.parametrize("request_", [get_request(), GET_1_0])
@pytest.mark.rule("incomplete")
async def test_an_upstreams_reset_is_no_end_of_the_body(request_):
    async with proxying(sends(UNTIL_CLOSE, then_reset=True), tcp=True) as proxy:
        http = proxy.connect()
        await http.send(request_)
        if request_ is GET_1_0:
            with pytest.raises(ConnectionResetError):
                await http.rest()
        else:
            assert not (await http.rest()).endswith(b"0\r\n\r\n")
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response reset": 1}


@pytest.mark.rule("silent-upstream")
async def test_an_upstream_silent_inside_its_answer_ends_it(autojump_clock):
    async with proxying(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        assert (await http.rest()).endswith(b"abc")
        assert trio.current_time() == 60
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response timeout": 1}


async def test_the_time_is_between_reads(autojump_clock):
    async def slow(http):
        await http.head()
        for octet in reply(b"x"):
            await trio.sleep(50)
            await http.send(bytes([octet]))

    async with proxying(slow) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        assert (await http.answer()).body == b"x"
        assert trio.current_time() == 50 * len(reply(b"x"))


async def test_an_answer_whose_body_is_wrong_from_the_start_is_502():
    async with proxying(answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")) as proxy:
        assert (await proxy.ask(get_request())).status == 502
        assert proxy.endings["upstream response invalid"] == 1


async def test_a_wrong_chunk_later_cuts_the_answer():
    async def upstream(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await http.send(b"zz\r\n")
        await http.rest()

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await http.head()
        assert await http.rest() == b"3\r\nabc\r\n"
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response invalid": 1}


async def test_a_client_gone_inside_the_answer_closes_the_upstream():
    closed = trio.Event()

    async def endless(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await http.send(b"x" * 65536)
        except trio.BrokenResourceError:
            closed.set()

    async with proxying(endless) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await http.head()
        await http.stream.aclose()
        await closed.wait()
        await proxy.context.no_connections()
        (ending,) = proxy.endings
        assert ending in {"client response reset", "client response closed"}


async def test_a_client_gone_when_an_interim_answer_comes_is_told_no_more():
    async def upstream(http):
        await http.head()
        client.stream.close()
        await http.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await http.rest()

    async with proxying(upstream) as proxy:
        client = proxy.connect()
        await client.send(get_request())
        await proxy.context.no_connections()
        assert proxy.codes == {"other": 1}
        (ending,) = proxy.endings
        assert ending in {"client response reset", "client response closed"}


async def test_octets_are_counted_without_framing():
    from trioproxy import metrics as m

    async with proxying(answers(CHUNKED)) as proxy:
        await proxy.ask(get_request())
        assert proxy.counted(m.HTTP_BYTES) == {f"backend {proxy.peers[0].address} to_client": 5}
