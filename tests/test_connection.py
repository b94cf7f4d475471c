"""The story of a connection: heads, routes, one exchange after another, how it ends, what is counted and logged."""

from __future__ import annotations

import gc
import random

import pytest
import trio
from support.frames import CLOSE, WebSocket, upgrade_answer, upgrade_request
from support.http_client import get_request, reset
from support.noise import noisy_client, noisy_upstream
from support.scripted import answers, octets_read, proxying
from support.stage import stage
from support.upstream import reply

from trioproxy import metrics as m

POST = get_request("/", "Content-Length: 3", method="POST") + b"abc"


# Waiting for a request


@pytest.mark.rule("silent-clients", "limits")
async def test_a_client_that_says_nothing_is_let_go_without_a_word_after_timeouts_head(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        assert await http.at_end()
        assert trio.current_time() == 10
        assert proxy.endings == {"proxy head idle": 1}
        assert proxy.codes == {}
        assert proxy.log == []


async def test_between_requests_it_may_be_idle_for_timeouts_keep_alive(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await http.answer()
        await trio.sleep(74)
        await http.send(get_request())
        await http.answer()
        assert await http.at_end()
        assert trio.current_time() == 74 + 75
        assert proxy.endings == {"upstream response done": 2, "proxy head idle": 1}


async def test_a_client_that_leaves_between_requests_is_done():
    async with proxying(answers()) as proxy:
        await proxy.hang_up(proxy.connect())
        await proxy.ask(get_request())
        assert proxy.endings == {"client head done": 2, "upstream response done": 1}


async def test_a_reset_between_requests_is_one():
    async with proxying(answers(), tcp=True) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await http.answer()
        reset(http.stream)
        await proxy.context.no_connections()
        assert proxy.endings == {"upstream response done": 1, "client head reset": 1}


@pytest.mark.rule("slow", "limits")
async def test_a_head_that_does_not_end_in_time_gets_408_however_slowly_it_goes_on(autojump_clock):
    async with proxying(answers()) as proxy, trio.open_nursery() as nursery:
        http = proxy.connect()
        await trio.sleep(5)

        async def drip():
            for octet in get_request():
                await http.send(bytes([octet]))
                await trio.sleep(1)

        nursery.start_soon(drip)
        answer = await http.answer()
        assert (answer.status, answer.get(b"connection"), trio.current_time()) == (408, b"close", 15)
        nursery.cancel_scope.cancel()
        await proxy.hang_up(http)
        assert proxy.endings == {"client head timeout": 1}
        assert proxy.counted(m.REQUESTS) == {"none none http 408": 1}


async def test_empty_lines_begin_no_request_rfc_9112_2_2(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(POST + b"\r\n")
        await http.answer()
        await trio.sleep(20)
        await http.send(b"\r\n")
        await trio.sleep(20)
        await http.send(get_request())
        assert (await http.answer()).status == 200
        assert await http.at_end()
        assert trio.current_time() == 40 + 75


async def test_endless_empty_lines_are_no_request():
    async with proxying(answers()) as proxy:
        assert (await proxy.ask(b"\r\n" * 10)).status == 400
        assert proxy.endings == {"client head invalid": 1}


async def test_empty_lines_do_not_prolong_the_wait(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        for _ in range(3):
            await http.send(b"\r\n")
            await trio.sleep(3)
        assert await http.at_end()
        assert trio.current_time() == 10


# Heads that are none


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\nearly", 405),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", 417),
        (get_request("/" + "x" * 9000), 414),
        (get_request("/", "A: " + "x" * 40_000), 431),
    ],
)
@pytest.mark.rule("request-line", "version", "methods", "limits")
async def test_a_bad_head_gets_its_status_and_a_close_and_reaches_nobody(raw, status):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(raw + get_request("/smuggled"))
        answer = await http.answer()
        assert (answer.status, answer.get(b"connection")) == (status, b"close")
        assert (answer.get(b"allow") is not None) == (status == 405)
        assert await http.at_end()
        assert proxy.peers[0].accepted == 0
        await proxy.hang_up(http)
        assert proxy.codes == {str(status): 1}
        assert sum(proxy.endings.values()) == 1


@pytest.mark.rule("no-body")
@pytest.mark.parametrize("refused", [b"HEAD / HTTP/1.1\r\n\r\n", b"\r\nHEAD / HTTP/1.1\r\nHost: a\r\nX:\0"])
async def test_a_head_that_is_refused_gets_no_content_rfc_9110_9_3_2(refused):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(refused)
        assert (await http.answer(b"HEAD")).status == 400
        assert await http.at_end()
        await proxy.hang_up(http)


@pytest.mark.rule("incomplete")
async def test_a_client_that_ends_inside_a_head_gets_400():
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(b"GET / HT")
        await http.stream.send_eof()
        assert (await http.answer()).status == 400
        await proxy.hang_up(http)
        assert proxy.endings == {"client head closed": 1}


async def test_a_reset_inside_a_head_is_told_nothing():
    async with proxying(answers(), tcp=True) as proxy:
        http = proxy.connect()
        await http.send(b"GET / HT")
        await trio.testing.wait_all_tasks_blocked()
        reset(http.stream)
        await proxy.context.no_connections()
        assert proxy.endings == {"client head reset": 1}
        assert proxy.codes == {"other": 1}


@pytest.mark.rule("closing")
async def test_a_400_reaches_a_client_that_is_still_sending_rfc_9112_9_6():
    async with proxying(answers(), tcp=True) as proxy:
        http = proxy.connect()
        await http.send(b"nonsense\r\n\r\n" + b"x" * 50_000)
        assert (await http.answer()).status == 400
        assert await http.at_end()


@pytest.mark.rule("closing")
async def test_a_client_that_never_ends_is_closed_two_seconds_behind_its_last_answer(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(b"nonsense\r\n\r\n")
        await http.answer()
        await proxy.context.no_connections()
        assert trio.current_time() == 2


# One exchange after another


@pytest.mark.rule("pipelining")
async def test_pipelined_requests_are_answered_in_order_one_at_a_time():
    running = 0

    async def upstream(http):
        nonlocal running
        while True:
            head = await http.head()
            assert running == 0
            running += 1
            await trio.lowlevel.checkpoint()
            running -= 1
            await http.send(reply(head.start))

    async with proxying(upstream, upstream) as proxy:
        http = proxy.connect()
        await http.send(b"".join(get_request(f"/{number}") for number in range(20)) + POST + get_request("/last"))
        for number in range(20):
            assert (await http.answer()).body == b"GET /%d HTTP/1.1" % number
        assert (await http.answer()).body == b"POST / HTTP/1.1"


@pytest.mark.rule("pipelining")
async def test_no_more_than_64_kib_are_read_ahead_of_the_answer(monkeypatch):
    read = octets_read(monkeypatch)
    asked, go = trio.Event(), trio.Event()

    async def upstream(http):
        while True:
            head = await http.head()
            asked.set()
            await go.wait()
            await http.send(reply(head.start))

    async with proxying(upstream) as proxy, trio.open_nursery() as nursery:
        http = proxy.connect()
        nursery.start_soon(http.send, b"".join(get_request(f"/{n}", "X: " + 900 * "x") for n in range(300)))
        await asked.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert 0 < sum(read) <= 64 * 1024
        go.set()
        for number in range(300):
            assert (await http.answer()).body == b"GET /%d HTTP/1.1" % number


async def test_a_bad_head_behind_good_ones_is_answered_in_its_turn():
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(get_request() + POST + b"nonsense\r\n\r\n")
        assert [(await http.answer()).status for _ in range(3)] == [200, 200, 400]
        assert await http.at_end()
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response done": 2, "client head invalid": 1}


@pytest.mark.rule("half-close")
async def test_a_half_closed_client_gets_all_its_answers():
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(get_request() + get_request())
        await http.stream.send_eof()
        for _ in range(2):
            assert (await http.answer()).body == b"fine"
        assert await http.at_end()


@pytest.mark.parametrize("path", ["/", "/nowhere"])
@pytest.mark.parametrize(
    "raw",
    [
        b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET %b HTTP/1.0\r\n\r\n",
        b"GET %b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ],
)
@pytest.mark.rule("version", "pipelining")
async def test_close_and_1_0_get_one_answer_and_the_end(raw, path):
    async with proxying(answers(), route={"exact": True}) as proxy:
        http = proxy.connect()
        await http.send(raw % path.encode() + get_request("/"))
        answer = await http.answer()
        assert answer.status == (200 if path == "/" else 404)
        assert answer.get(b"connection") == b"close"
        assert await http.at_end()
        assert sum(proxy.codes.values()) == 1


# Where it leads


async def test_no_route_is_404_and_the_connection_goes_on():
    async with proxying(answers(), route={"path": "/app"}) as proxy:
        http = proxy.connect()
        await http.send(get_request("/other") + get_request("/other", method="HEAD") + get_request("/app"))
        answer = await http.answer()
        assert (answer.status, answer.body, answer.get(b"connection")) == (404, b"404 Not Found\n", None)
        assert (await http.answer(b"HEAD")).get(b"content-length") == b"14"
        assert (await http.answer()).status == 200
        await proxy.hang_up(http)
        assert proxy.endings == {"client route no_route": 2, "upstream response done": 1, "client head done": 1}
        assert proxy.counted(m.REQUESTS) == {"none none http 404": 2, "all backend http 200": 1}


@pytest.mark.parametrize("raw", [POST, upgrade_request()])
async def test_no_route_ends_a_connection_whose_request_is_not_all_read(raw):
    async with proxying(answers(), route={"path": "/app"}) as proxy:
        http = proxy.connect()
        await http.send(raw + get_request("/app"))
        answer = await http.answer()
        assert (answer.status, answer.get(b"connection")) == (404, b"close")
        assert await http.at_end()
        assert sum(proxy.codes.values()) == 1


@pytest.mark.rule("target")
async def test_the_path_is_matched_without_dot_segments_and_forwarded_as_it_came():
    upstream = answers()
    async with proxying(upstream, route={"path": "/admin"}) as proxy:
        assert (await proxy.ask(get_request("/public/../%61dmin/x?a=../b"))).status == 200
        assert upstream.heads[0].start == b"GET /public/../%61dmin/x?a=../b HTTP/1.1"
        assert (await proxy.ask(get_request("/admin/../public"))).status == 404


@pytest.mark.parametrize(
    ("trusted", "lines", "status"),
    [
        (False, (), 403),  # 192.0.2.7
        (False, ("X-Forwarded-For: 198.51.100.1",), 403),
        (True, ("X-Forwarded-For: 198.51.100.1",), 200),
        (True, ("X-Forwarded-For: 198.51.100.1, 192.0.2.8",), 200),
        (True, ("X-Forwarded-For: 198.51.100.1, 203.0.113.1",), 403),
        (True, ("X-Forwarded-For: 198.51.100.66",), 403),
        (True, ('Forwarded: for="198.51.100.1:4711"',), 200),
        (True, ("X-Forwarded-For: 198.51.100.1, unknown",), 403),
    ],
)
async def test_who_is_denied_by_the_route_gets_403_and_the_upstream_nothing(trusted, lines, status):
    route = {"allow": ("198.51.100.0/24",), "deny": ("198.51.100.66",)}
    async with proxying(answers(), route=route, listener={"trusted_proxies": ("192.0.2.0/24",)}) as proxy:
        http = proxy.connect(trusted=trusted)
        for _ in range(2):  # it is no reason to end the connection
            await http.send(get_request("/", *lines))
            assert (await http.answer()).status == status
        await proxy.hang_up(http)
        assert proxy.peers[0].accepted == (status == 200)
        ended = {"client route forbidden": 2} if status == 403 else {"upstream response done": 2}
        assert proxy.endings == ended | {"client head done": 1}


async def test_a_trusted_proxys_client_is_x_real_ip():
    script = answers()
    async with proxying(script, listener={"trusted_proxies": ("192.0.2.0/24",)}) as proxy:
        await proxy.ask(get_request("/", "X-Forwarded-For: 6.6.6.6, 198.51.100.1"), trusted=True)
        assert script.heads[0].get(b"x-real-ip") == b"198.51.100.1"
        assert script.heads[0].get(b"x-forwarded-for") == b"6.6.6.6, 198.51.100.1, 192.0.2.7"


@pytest.mark.rule("options-star")
async def test_options_of_the_server_itself_is_answered_without_a_route():
    async with proxying(answers(), route={"host": ("other.test",), "path": "/app"}) as proxy:
        http = proxy.connect()
        await http.send(get_request("*", method="OPTIONS") * 2)
        for _ in range(2):
            answer = await http.answer()
            assert (answer.status, answer.get(b"connection"), answer.get(b"content-length")) == (204, None, None)
        await http.send(get_request("*", "Content-Length: 3", method="OPTIONS") + b"abc")
        assert (await http.answer()).get(b"connection") == b"close"
        assert await http.at_end()
        assert proxy.peers[0].accepted == 0
        assert proxy.endings == {"proxy response done": 3}


async def test_trusted_says_whose_forwarded_fields_are_believed():
    upstream = answers()
    said = get_request("/", "X-Forwarded-For: 198.51.100.1")
    async with proxying(upstream) as proxy:
        await proxy.ask(said)
        await proxy.ask(said, trusted=True)
        values = [head.get(b"x-forwarded-for") for head in upstream.heads]
        assert values == [b"192.0.2.7", b"198.51.100.1, 192.0.2.7"]


# What is told


async def test_a_request_is_logged_with_what_is_known_of_it():
    async with proxying(answers()) as proxy:
        await proxy.ask(get_request("/x?secret=1", "User-Agent: test", "Origin: https://a.test", "Cookie: secret"))
        (line,) = proxy.log
        assert line["event"] == "request"
        assert (line["client"], line["listener"], line["route"]) == ("192.0.2.7", "public", "all")
        assert (line["pool"], line["upstream"]) == ("backend", proxy.peers[0].address)
        assert (line["method"], line["path"], line["host"]) == ("GET", "/x", "a.test")
        assert (line["user_agent"], line["origin"], line["status"]) == ("test", "https://a.test", 200)
        assert (line["ended_by"], line["phase"], line["reason"]) == ("upstream", "response", "done")
        assert "secret" not in str(line)


async def test_every_request_has_an_id_of_its_own():
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(get_request() * 2)
        for _ in range(2):
            await http.answer()
        await proxy.hang_up(http)
        assert len({line["id"] for line in proxy.log}) == 2


async def test_a_requests_time_is_measured(autojump_clock):
    async def slow(http):
        await http.head()
        await trio.sleep(3)
        await http.send(reply())

    async with proxying(slow) as proxy:
        http = proxy.connect()
        await http.send(b"GET / HTTP/1.1\r\n")
        await trio.sleep(2)
        await http.send(b"Host: a\r\n\r\n")
        await http.answer()
        await trio.testing.wait_all_tasks_blocked()
        (line,) = proxy.log
        assert (line["head_s"], line["duration_s"]) == (2, 3)
        assert proxy.counted(m.REQUEST_DURATION) == {"all backend": 1}


# Draining


async def test_an_answer_says_close_while_draining():
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        assert (await http.answer()).get(b"connection") is None
        proxy.context.draining = True
        await http.send(get_request() + get_request())
        assert (await http.answer()).get(b"connection") == b"close"
        assert await http.at_end()
        assert proxy.codes == {"200": 2}


@pytest.mark.parametrize("target", ["/nowhere", "/app"])
async def test_answers_of_our_own_say_so_too(target, autojump_clock):
    async def silent(http):
        await http.head()
        await trio.sleep_forever()

    async with proxying(silent, route={"path": "/app"}) as proxy:
        http = proxy.connect()
        await http.send(get_request(target))
        if target == "/nowhere":
            assert (await http.answer()).get(b"connection") is None
            proxy.context.draining = True
            await http.send(get_request(target))
        else:
            await trio.sleep(1)
            proxy.context.draining = True
        answer = await http.answer()
        assert answer.get(b"connection") == b"close"
        assert await http.at_end()


async def test_a_connection_without_a_request_has_a_second_once_a_drain_began(autojump_clock):
    async with proxying(answers()) as proxy:
        proxy.context.draining = True
        http = proxy.connect()
        assert await http.at_end()
        assert trio.current_time() == 1
        assert proxy.endings == {"proxy head draining": 1}


async def test_a_drain_can_end_the_wait_of_an_idle_connection(autojump_clock):
    async with proxying(answers()) as proxy:
        http = proxy.connect()
        await trio.testing.wait_all_tasks_blocked()
        proxy.context.draining = True
        for wait in proxy.context.waiting:
            wait.end_by(trio.current_time())
        assert await http.at_end()
        assert proxy.endings == {"proxy head draining": 1}


@pytest.mark.parametrize("said", [b"", b"GET / HT"])
async def test_cut_before_a_request_it_is_no_request(said):
    async with proxying(answers()) as proxy:
        await proxy.connect().send(said or b"\r\n")
        await trio.testing.wait_all_tasks_blocked()
        proxy.cut()
    assert proxy.endings == {"proxy head cut": 1}
    assert proxy.log == []


async def test_cut_inside_an_answer_that_only_the_end_would_end_it_is_reset():
    async def endless(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await trio.sleep_forever()

    async with proxying(endless, tcp=True) as proxy:
        http = proxy.connect()
        await http.send(b"GET / HTTP/1.0\r\n\r\n")
        await http.head()
        await http.take(3)
        await trio.testing.wait_all_tasks_blocked()
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            await http.take(1)


# Bugs


async def test_a_bug_ends_one_connection_is_logged_and_counted_once():
    async with proxying(answers(), bugs=1) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        await http.answer()
        router, proxy.context.router = proxy.context.router, None
        await http.send(get_request())
        assert await http.at_end()
        proxy.context.router = router
        assert (await proxy.ask(get_request())).status == 200
        assert proxy.endings == {"upstream response done": 2, "proxy response internal": 1, "client head done": 1}
        assert [line["reason"] for line in proxy.log if line["event"] == "request"] == ["done", "internal", "done"]


async def test_a_bug_before_a_request_is_one_too():
    async with proxying(answers(), bugs=1) as proxy:
        http = proxy.connect()
        proxy.context.waiting = None  # no mapping to be put in
        assert await http.at_end()
        proxy.context.waiting = {}
        assert proxy.endings == {"proxy head internal": 1}


async def test_a_tunnel_is_the_end_of_the_requests():
    async def upstream(http):
        head = await http.head()
        await http.send(upgrade_answer(head))
        socket = WebSocket(http, head, mask=None)
        message = await socket.receive()
        await socket.send(message.opcode, message.payload)

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request())
        socket = WebSocket(http, await http.head())
        await socket.send(CLOSE, b"\x03\xe8")
        assert (await socket.receive()).close_code == 1000
        assert await http.at_end()


@pytest.mark.parametrize("seed", range(40))
async def test_whatever_both_sides_do_nothing_is_left_and_everything_is_counted_once(seed, autojump_clock):
    dice = random.Random(seed)
    pool = {"retry_on": ("connect", "closed", "5xx"), "attempts": dice.choice([1, 2])}
    limits = {"max_body_bytes": dice.choice([0, 100_000])}
    async with proxying(noisy_upstream(dice), noisy_upstream(dice), pool=pool, limits=limits) as proxy:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(noisy_client, dice, proxy)
        await proxy.context.no_connections()
    ended = [line for line in proxy.log if line["event"] in {"request", "tunnel_end"}]
    assert all(line["ended_by"] for line in ended)
    outside = sum(proxy.endings.values()) - len(ended)
    assert 0 <= outside <= 5
    assert sum(proxy.codes.values()) == len(ended)


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /\0 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a.test\r\nno field\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nno size\r\n",
        b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhe",
    ],
)
async def test_what_was_answered_with_an_error_does_not_wait_for_the_cyclic_collector(raw):
    async with stage() as running:
        gc.collect()
        gc.disable()
        try:
            end = running.client()
            end.send(raw)
            await running.settle()
            end.finish()
            await running.settle()
            end.look()
            assert end.received.startswith(b"HTTP/1.1 400 ") and end.ended
            running.clear(lambda _: True)
            await running.settle()
            assert not [each for each in gc.get_objects() if type(each).__name__ in {"Client", "RequestParser"}]
        finally:
            gc.enable()
