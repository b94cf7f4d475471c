"""The upgrade: every row of PROTOCOL.md §2, and the attacks of §4 that concern it."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
import trio
from support.frames import BINARY, CLOSE, TEXT, WebSocket, close_payload, frame, upgrade_answer, upgrade_request
from support.http_client import get_request, reset
from support.scripted import REFUSED, answers, octets_read, proxying, socket_pair
from support.upstream import reply
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.client import Entrance
from trioproxy.connection import handle_connection

MASK = b"\x01\x02\x03\x04"


def accepts(*lines: str, behind: bytes = b""):
    """An upstream that accepts upgrades and then echoes messages until the Close."""

    async def script(http):
        head = await http.head()
        script.heads.append(head)
        await http.send(upgrade_answer(head, *lines) + behind)
        socket = WebSocket(http, head, mask=None)
        while True:
            message = await socket.receive()
            await socket.send(message.opcode, message.payload)
            if message.opcode == CLOSE:
                return

    script.heads = []
    return script


async def silent(http):
    await http.head()
    await trio.sleep_forever()


async def open_websocket(proxy, *lines: str) -> WebSocket:
    http = proxy.connect()
    await http.send(upgrade_request("/", *lines))
    head = await http.head()
    assert head.start == b"HTTP/1.1 101 Switching Protocols", head
    await wait_all_tasks_blocked()  # until it is relayed
    return WebSocket(http, head)


def handshakes(proxy) -> dict[str, int]:
    """By upstream's number and result."""
    counted = {}
    for labels, value in proxy.counted(m.HANDSHAKES).items():
        _, _, upstream, result = labels.split(" ")
        number = [each.address for each in proxy.upstreams].index(upstream) if upstream != "none" else upstream
        counted[f"{number} {result}"] = value
    return counted


# What goes through


async def test_a_tunnel_carries_messages_both_ways_and_ends_with_both_closes():
    async with proxying(accepts()) as proxy:
        socket = await open_websocket(proxy)
        assert await socket.echo(b"hello") == b"hello"
        assert proxy.upstreams[0].active == 1 and len(proxy.context.tunnels) == 1
        await socket.close()
        await proxy.hang_up(socket.http)
        assert handshakes(proxy) == {"0 accepted": 1}
        assert proxy.counted(m.REQUESTS) == {"all backend websocket 101": 1}
        assert proxy.endings == {"client close done": 1}
        assert [line["event"] for line in proxy.log] == ["tunnel_open", "tunnel_end"]


@pytest.mark.rule("upgrade-upstream")
async def test_the_upstream_gets_the_nginx_recipe():
    upstream = accepts()
    lines = ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: x; y=1", "Cookie: a", "Keep-Alive: 5", "TE: x"]
    async with proxying(upstream) as proxy:
        socket = await open_websocket(proxy, *lines)
        (head,) = upstream.heads
        assert head.start == b"GET / HTTP/1.1"
        assert head.get(b"host") == b"a.test"
        assert head.get(b"upgrade") == b"websocket" and head.get(b"connection") == b"Upgrade"
        assert head.get(b"sec-websocket-version") == b"13"
        assert head.get(b"sec-websocket-key") and head.get(b"cookie") == b"a"
        assert head.get(b"sec-websocket-protocol") == b"chat"
        assert head.get(b"sec-websocket-extensions") == b"x; y=1"
        assert head.get(b"x-forwarded-for") == b"192.0.2.7"
        assert not {b"keep-alive", b"te"} & set(head.names)
        await socket.close()


@pytest.mark.rule("upgrade-upstream", "nominated")
async def test_a_connection_token_never_removes_the_proxys_fields_on_an_upgrade_cve_2024_45410():
    upstream = accepts()
    request = upgrade_request().replace(
        b"Connection: Upgrade", b"Connection: upgrade, X-Forwarded-For, X-Real-IP, Cookie"
    )
    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(request.replace(b"\r\n\r\n", b"\r\nCookie: a\r\n\r\n"))
        await http.head()
        assert upstream.heads[0].get(b"x-forwarded-for") == upstream.heads[0].get(b"x-real-ip") == b"192.0.2.7"
        assert upstream.heads[0].get(b"cookie") is None


@pytest.mark.rule("upgrade-request")
async def test_tokens_are_found_in_any_case_over_all_lines():
    request = (
        upgrade_request()
        .replace(b"Upgrade: websocket", b"Upgrade: x\r\nUpgrade: WebSocket")
        .replace(b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: uPgRaDe")
    )
    async with proxying(accepts()) as proxy:
        http = proxy.connect()
        await http.send(request)
        assert (await http.head()).start.startswith(b"HTTP/1.1 101")


async def test_the_clients_101_has_the_upstreams_fields_without_its_hop_by_hop_ones():
    lines = ["X-A: 1", "Keep-Alive: 5", "Content-Length: 9", "Sec-WebSocket-Protocol: chat"]
    async with proxying(accepts(*lines)) as proxy:
        socket = await open_websocket(proxy, "Sec-WebSocket-Protocol: chat, other")
        assert socket.head.get(b"x-a") == b"1"
        assert socket.head.get(b"upgrade") == b"websocket" and socket.head.get(b"connection") == b"Upgrade"
        assert socket.head.get(b"sec-websocket-accept") and socket.head.get(b"sec-websocket-protocol") == b"chat"
        assert not {b"keep-alive", b"content-length"} & set(socket.head.names)
        assert proxy.log[0]["subprotocol"] == "chat"


@pytest.mark.rule("upgrade-upstream")
async def test_an_upgrade_never_goes_over_a_kept_connection():
    async def upstream(http):
        while (head := await http.head()).get(b"upgrade") is None:
            await http.send(reply())
        await http.send(upgrade_answer(head))
        await http.rest()

    async with proxying(upstream) as proxy:
        await proxy.ask(get_request())
        await open_websocket(proxy)
        assert (proxy.peers[0].accepted, len(proxy.idle)) == (2, 1)


@pytest.mark.rule("first-frames")
async def test_octets_behind_the_101_follow_it_to_the_client():
    async with proxying(accepts(behind=frame(TEXT, b"first"))) as proxy:
        socket = await open_websocket(proxy)
        assert (await socket.receive()).payload == b"first"
        assert await socket.echo(b"x") == b"x"


@pytest.mark.rule("early-data")
async def test_early_octets_are_held_until_the_101_and_follow_it_cve_2026_2833(autojump_clock):
    early = []
    answer = trio.Event()

    async def upstream(http):
        head = await http.head()
        early.append(bytes(http.buffer))
        with trio.move_on_after(1):
            await http.take(1)
            early.append(b"!")
        await http.send(upgrade_answer(head))
        early.append((await WebSocket(http, head, mask=None).receive()).payload)
        answer.set()

    async with proxying(upstream) as proxy:
        await proxy.connect().send(upgrade_request() + frame(BINARY, b"early", mask=MASK))
        await answer.wait()
        assert early == [b"", b"early"]


@pytest.mark.rule("early-data")
async def test_no_more_than_64_kib_are_read_before_the_101(monkeypatch):
    read = octets_read(monkeypatch)
    asked, go, came = trio.Event(), trio.Event(), trio.Event()
    payload = bytes(300_000)

    async def upstream(http):
        head = await http.head()
        asked.set()
        await go.wait()
        await http.send(upgrade_answer(head))
        assert (await WebSocket(http, head, mask=None).receive()).payload == payload
        came.set()

    async with proxying(upstream) as proxy, trio.open_nursery() as nursery:
        nursery.start_soon(proxy.connect().send, upgrade_request() + frame(BINARY, payload, mask=MASK))
        await asked.wait()
        await wait_all_tasks_blocked()
        assert 0 < sum(read) <= 64 * 1024
        go.set()
        await came.wait()


async def test_an_open_tunnel_holds_no_parser_and_no_head():
    import gc

    from trioproxy.answer import Answer
    from trioproxy.client import Client
    from trioproxy.exchange import Exchange
    from trioproxy.wire.http1 import RequestHead, RequestParser, ResponseHead, ResponseParser

    kinds = (Answer, Client, Exchange, RequestHead, RequestParser, ResponseHead, ResponseParser)
    gc.collect()  # also what other tests left, before descriptors are counted
    async with proxying(accepts()) as proxy:
        gc.collect()
        before = sum(isinstance(each, kinds) for each in gc.get_objects())
        socket = await open_websocket(proxy)
        await socket.echo(b"x")
        assert sum(isinstance(each, kinds) for each in gc.get_objects()) == before


async def test_what_a_head_says_is_held_only_in_part():
    async with proxying(accepts()) as proxy:
        await open_websocket(proxy, "User-Agent: " + "x" * 20_000)
        (opened,) = proxy.context.tunnels.values()
        assert len(opened.record.user_agent) == 2048


# What the client must not ask


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"GET / ", b"POST / ", 400),
        (b"Version: 13", b"Version: 777", 426),
        (b"Version: 13", b"Version: 13\r\nSec-WebSocket-Version: 13", 400),
        (b"Sec-WebSocket-Version: 13\r\n", b"", 400),
        (b"Key: dGhl", b"Key: ", 400),
        (b"Sec-WebSocket-Key", b"X-Key", 400),
        (b"Host: a.test", b"Host: a.test\r\nContent-Length: 5", 400),  # CVE-2026-58055
        (b"Host: a.test", b"Host: a.test\r\nTransfer-Encoding: chunked", 400),
    ],
)
@pytest.mark.rule("upgrade-request", "upgrade-body", "early-data", "fake-upgrade")
async def test_an_invalid_upgrade_is_refused_without_an_upstream_and_nothing_behind_it_is_read(old, new, status):
    request = upgrade_request().replace(old, new)
    assert old not in request or old in new
    async with proxying(accepts()) as proxy:
        http = proxy.connect()
        await http.send(request + get_request("/smuggled"))
        answer = await http.answer()
        assert answer.status == status
        assert b"close" in answer.get(b"connection")
        if status == 426:
            assert answer.get(b"sec-websocket-version") == b"13" and answer.get(b"upgrade") == b"websocket"
        assert await http.at_end()
        assert proxy.peers[0].accepted == 0
        await proxy.hang_up(http)
        assert proxy.codes == {str(status): 1}
        assert proxy.endings == {"client handshake invalid": 1}
        assert handshakes(proxy) == {}


@pytest.mark.parametrize(
    "lines",
    [
        ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: x"],
        ["Upgrade: foo, h2c", "Connection: Upgrade"],
        ["Upgrade: foo", "Upgrade: h2c", "Connection: Upgrade"],
        ["Upgrade: x", "Connection: close", "Connection: Upgrade"],
        ["Upgrade: websocket"],
    ],
)
@pytest.mark.rule("upgrade-other", "smuggled-behind-upgrade")
async def test_any_other_upgrade_is_a_plain_request_and_what_follows_a_request_of_its_own(lines):
    upstream = answers()
    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(get_request("/one", *lines) + get_request("/two"))
        assert (await http.answer()).body == b"fine"
        names = upstream.heads[0].names
        assert not {b"upgrade", b"http2-settings", b"connection"} & set(names)
        if "Connection: close" in lines:
            assert await http.at_end()
        else:
            assert (await http.answer()).body == b"fine"
            assert upstream.heads[1].start == b"GET /two HTTP/1.1"
        assert handshakes(proxy) == {}


@pytest.mark.rule("upgrade-request")
async def test_a_1_0_client_cannot_upgrade():
    upstream = answers()
    async with proxying(upstream) as proxy:
        assert (await proxy.ask(upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0"))).body == b"fine"
        assert upstream.heads[0].get(b"upgrade") is None


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://a.test", 101),
        ("HTTPS://A.test", 101),
        ("https://a.test:443", 101),
        ("https://x.b.test", 101),
        ("https://evil.test", 403),
        ("https://a.test\r\nOrigin: https://evil.test", 403),
        ("https://a.test\r\nOrigin: https://a.test", 403),
        ("", 403),
        ("null", 403),
        (None, 101),
    ],
)
@pytest.mark.rule("origin")
async def test_only_allowed_origins_get_a_tunnel(origin, status):
    async with proxying(accepts(), route={"allowed_origins": ("https://A.test", "https://*.b.test")}) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request("/", *([f"Origin: {origin}"] if origin is not None else [])))
        assert (await http.answer()).status == status
        if status == 403:
            assert await http.at_end()
            assert proxy.peers[0].accepted == 0
            await proxy.hang_up(http)
            assert proxy.endings == {"client route forbidden": 1}


async def test_upgrades_above_the_listeners_rate_are_told_when_to_come_again():
    async with proxying(accepts(), listener={"handshake_rate": 0.05}) as proxy:
        await open_websocket(proxy)
        for seconds in (b"20", b"40"):
            http = proxy.connect()
            await http.send(upgrade_request("/"))
            answer = await http.answer()
            assert (answer.status, answer.get(b"retry-after")) == (503, seconds)
            assert await http.at_end()
        assert proxy.peers[0].accepted == 1
        assert proxy.endings == {"proxy route too_many": 2}
        assert proxy.codes == {"101": 1, "503": 2}


async def test_the_rate_of_upgrades_is_no_concern_of_plain_requests():
    async with proxying(answers(), listener={"handshake_rate": 0.001}) as proxy:
        assert [(await proxy.ask(upgrade_request("/"))).status for _ in range(2)] == [200, 503]
        assert [(await proxy.ask(get_request("/"))).status for _ in range(2)] == [200, 200]


async def test_no_upgrade_that_is_refused_anyway_takes_from_the_rate():
    async with proxying(accepts(), listener={"handshake_rate": 0.001}, route={"allowed_origins": ("null",)}) as proxy:
        for _ in range(3):
            assert (await proxy.ask(upgrade_request("/", "Origin: https://evil.test"))).status == 403
        await open_websocket(proxy)


async def test_no_origin_is_checked_where_none_is_listed():
    async with proxying(accepts()) as proxy:
        await open_websocket(proxy, "Origin: https://evil.test")


# What the upstream answers


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "503 Busy"])
@pytest.mark.rule("upgrade-refused")
async def test_any_other_status_goes_to_the_client_unchanged_then_the_connection_closes(status):
    answer = reply(b"because", status, "X-A: 1", "WWW-Authenticate: Basic", "Location: /x")
    async with proxying(answers(answer)) as proxy:
        http = proxy.connect()
        early = frame(TEXT, get_request("/smuggled"), mask=MASK)
        await http.send(upgrade_request() + early + get_request("/smuggled"))
        got = await http.answer()
        assert (got.start, got.body) == (f"HTTP/1.1 {status}".encode(), b"because")
        assert got.get(b"x-a") == b"1" and got.get(b"connection") == b"close"
        assert await http.at_end()
        await proxy.hang_up(http)
        assert handshakes(proxy) == {"0 refused": 1}
        assert proxy.endings == {"upstream handshake refused": 1}
        assert proxy.codes == {status[:3]: 1}
        assert len(proxy.idle) == 0


async def test_a_426_keeps_saying_what_is_wanted():
    answer = reply(b"", "426 Upgrade Required", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 8")
    async with proxying(answers(answer)) as proxy:
        got = await proxy.ask(upgrade_request())
        assert got.get(b"sec-websocket-version") == b"8" and got.get(b"upgrade") == b"websocket"
        assert got.get(b"connection") == b"upgrade, close"


@pytest.mark.rule("upgrade-unasked")
async def test_a_200_with_upgrade_is_no_upgrade_cve_2024_23326():
    answer = reply(b"x", "200 OK", "Upgrade: websocket", "Connection: Upgrade")
    async with proxying(answers(answer)) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request() + frame(TEXT, b"early", mask=MASK))
        got = await http.answer()
        assert (got.status, got.get(b"upgrade")) == (200, None)
        assert await http.at_end()


ERROR = b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh"
RETRY_5XX = {"retry_on": ("5xx",)}


async def test_a_5xx_is_answered_by_another_upstream_where_retry_on_says_so():
    async with proxying(answers(ERROR), accepts(), pool=RETRY_5XX) as proxy:
        socket = await open_websocket(proxy)
        assert await socket.echo(b"hello") == b"hello"
        assert handshakes(proxy) == {"0 refused": 1, "1 accepted": 1}
        assert proxy.counted(m.RETRIES) == {"backend 5xx": 1}
        assert proxy.upstreams[0].active == 0
        await socket.close()


@pytest.mark.parametrize(
    ("first", "pool"),
    [
        (ERROR, {}),
        (ERROR.replace(b"500", b"403"), RETRY_5XX),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + ERROR, RETRY_5XX),
        (ERROR, {**RETRY_5XX, "attempts": 1}),
    ],
)
async def test_any_other_refusal_is_passed_on(first, pool):
    second = accepts()
    async with proxying(answers(first), second, pool=pool) as proxy:
        answer = await proxy.ask(upgrade_request())
        assert answer.body == b"oh"
        assert handshakes(proxy) == {"0 refused": 1}
        assert not second.heads


async def test_the_last_5xx_is_passed_on():
    async with proxying(answers(ERROR), answers(ERROR.replace(b"oh", b"no")), pool=RETRY_5XX) as proxy:
        assert (await proxy.ask(upgrade_request())).body == b"no"
        assert handshakes(proxy) == {"0 refused": 1, "1 refused": 1}


async def test_a_refusal_without_framing_ends_with_the_upstreams_fin():
    refusal = b"HTTP/1.1 403 No\r\n\r\nbecause"
    async with proxying(answers(refusal, keep=False)) as proxy:
        assert (await proxy.ask(upgrade_request())).body == b"because"


GOOD = upgrade_answer


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Upgrade: websocket\r\n", b""),
        (b"Connection: Upgrade", b"Connection: keep-alive"),
        (b"Sec-WebSocket-Accept", b"X-Accept"),
        (b"Accept: s3pP", b"Accept: S3pP"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: other\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: not-offered\r\n\r\n"),
        (b"HTTP/1.1 101", b"HTTQ/1.1 101"),
    ],
)
@pytest.mark.rule("upgrade-101", "fake-101")
async def test_an_invalid_101_is_502_and_counted(old, new):
    async def upstream(http):
        head = await http.head()
        good = upgrade_answer(head)
        assert old in good
        await http.send(good.replace(old, new) + frame(TEXT, b"secret"))
        assert await http.rest() == b""

    second = accepts()
    async with proxying(upstream, second) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request("/", "Sec-WebSocket-Protocol: chat") + frame(TEXT, b"early", mask=MASK))
        answer = await http.answer()
        assert (answer.status, answer.get(b"connection")) == (502, b"close")
        assert await http.at_end()
        assert handshakes(proxy) == {"0 invalid": 1}
        assert not second.heads


async def test_interim_answers_before_the_101_pass():
    async def upstream(http):
        head = await http.head()
        await http.send(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + upgrade_answer(head))
        await http.rest()

    async with proxying(upstream) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request())
        answer = await http.answer()
        assert [head.start for head in answer.interim] == [b"HTTP/1.1 103 Early Hints"]
        assert answer.status == 101


# No upstream, and another upstream


@pytest.mark.rule("upgrade-no-upstream")
async def test_503_and_never_403_where_there_is_no_upstream():
    async with proxying(accepts()) as proxy:
        proxy.upstreams[0].draining = True
        answer = await proxy.ask(upgrade_request())
        assert (answer.status, answer.get(b"retry-after"), answer.get(b"connection")) == (503, b"1", b"close")
        assert handshakes(proxy) == {"none unreachable": 1}
        assert proxy.endings == {"proxy connect no_upstream": 1}


@pytest.mark.rule("upgrade-no-upstream")
async def test_503_where_none_can_be_reached():
    async with proxying(REFUSED, REFUSED + "2") as proxy:
        assert (await proxy.ask(upgrade_request())).status == 503
        assert sum(handshakes(proxy).values()) == 1
        assert proxy.counted(m.RETRIES) == {"backend connect": 1}


async def test_an_upstream_that_cannot_be_reached_is_followed_by_another():
    async with proxying(REFUSED, accepts()) as proxy:
        await open_websocket(proxy)
        assert proxy.counted(m.RETRIES) == {"backend connect": 1}


async def test_an_upstream_that_closes_unanswered_is_followed_by_another():
    async with proxying(answers(None), accepts()) as proxy:
        socket = await open_websocket(proxy)
        assert await socket.echo(b"x") == b"x"
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}
        assert handshakes(proxy) == {"0 invalid": 1, "1 accepted": 1}


async def test_an_upstream_that_resets_is_followed_by_another():
    async def resetting(http):
        reset(http.stream)

    async with proxying(resetting, accepts(), tcp=True) as proxy:
        await open_websocket(proxy)
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}


@pytest.mark.parametrize("pool", [{"attempts": 1}, {"retry_on": ("connect",)}])
@pytest.mark.rule("invalid-answer")
async def test_502_where_an_upstream_closes_unanswered_and_no_other_may_be_tried(pool):
    async with proxying(answers(None), accepts(), pool=pool) as proxy:
        answer = await proxy.ask(upgrade_request())
        assert answer.status == 502
        assert proxy.endings == {"upstream response closed": 1}


async def test_nothing_is_repeated_once_an_answer_byte_came():
    second = accepts()
    async with proxying(answers(b"HTTP", keep=False), second) as proxy:
        assert (await proxy.ask(upgrade_request())).status == 502
        assert not second.heads


@pytest.mark.rule("silent-upstream")
async def test_a_silent_upstream_is_504_after_timeouts_handshake(autojump_clock):
    second = accepts()
    async with proxying(silent, second, timeouts={"handshake": 4}) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request())
        answer = await http.answer()
        assert (answer.status, trio.current_time()) == (504, 4)
        assert not second.heads
        await proxy.hang_up(http)
        assert handshakes(proxy) == {"0 timeout": 1}
        assert proxy.endings == {"upstream handshake timeout": 1}


async def test_the_time_is_for_the_whole_answers_head(autojump_clock):
    async def dripping(http):
        head = await http.head()
        for octet in upgrade_answer(head):
            await trio.sleep(1)
            await http.send(bytes([octet]))

    async with proxying(dripping) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request())
        assert (await http.answer()).status == 504
        assert trio.current_time() == 10


async def test_an_upstream_that_does_not_read_is_504_too(autojump_clock):
    async def deaf(http):
        await trio.sleep_forever()

    async with proxying(deaf) as proxy:
        assert (await proxy.ask(upgrade_request())).status == 504


async def test_an_upstream_that_goes_down_while_it_is_waited_for_is_followed_by_another(autojump_clock):
    async with proxying(silent, accepts()) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request())
        await trio.sleep(1)
        for _ in range(3):
            proxy.upstreams[0].observe(ok=False)
        assert (await http.head()).start.startswith(b"HTTP/1.1 101")
        assert trio.current_time() == 1
        assert handshakes(proxy) == {"0 timeout": 1, "1 accepted": 1}
        assert proxy.counted(m.RETRIES) == {"backend closed": 1}


async def test_one_that_goes_down_in_the_middle_of_its_answer_is_504(autojump_clock):
    async def half(http):
        await http.head()
        await http.send(b"HTTP/1.1 101 Swi")
        await trio.sleep_forever()

    async with proxying(half, accepts()) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request())
        await trio.sleep(1)
        for _ in range(3):
            proxy.upstreams[0].observe(ok=False)
        assert (await http.answer()).status == 504
        assert trio.current_time() == 1


class GoesDown(tuple):  # noqa: SLOT001
    """Addresses whose upstream goes down when they are dialled."""

    def __iter__(self):
        for _ in range(3):
            self.upstream.observe(ok=False)
        return super().__iter__()


async def test_one_that_went_down_while_it_was_dialled_is_not_waited_for(autojump_clock):
    async with proxying(silent, accepts()) as proxy:
        upstream = proxy.upstreams[0]
        upstream.addresses = GoesDown(upstream.addresses)
        upstream.addresses.upstream = upstream
        http = proxy.connect()
        await http.send(upgrade_request())
        assert (await http.head()).start.startswith(b"HTTP/1.1 101")
        assert trio.current_time() == 0
        assert proxy.peers[0].accepted == 1


# The client goes


async def test_a_client_gone_before_its_101_leaves_nothing():
    async def upstream(http):
        head = await http.head()
        client.stream.close()
        await http.send(upgrade_answer(head))
        await http.rest()

    async with proxying(upstream) as proxy:
        client = proxy.connect()
        await client.send(upgrade_request())
        await proxy.context.no_connections()
        assert handshakes(proxy) == {"0 accepted": 1}
        assert proxy.codes == {"101": 1}
        assert sum(proxy.endings.values()) == 1


async def test_an_upstream_cut_while_the_client_takes_its_101_is_no_bug():
    async with proxying(accepts()) as proxy:
        near, far = socket_pair()
        with suppress(BlockingIOError):
            while True:  # a client that has not read its last answers yet
                near.socket.send(bytes(65536))
        proxy.context.connection_began()
        entrance, ended = Entrance(proxy.context.config.listeners[0]), proxy.context.connection_ended
        async with trio.open_nursery() as nursery, far:
            serve = partial(handle_connection, trusted=False, ended=ended)
            nursery.start_soon(serve, proxy.context, near, entrance, "192.0.2.7")
            await far.send_all(upgrade_request("/"))
            await wait_all_tasks_blocked()
            assert handshakes(proxy) == {"0 accepted": 1} and not proxy.context.tunnels
            for connection in list(proxy.upstreams[0].connections):
                connection.cut()
            while await far.receive_some():
                pass
        assert proxy.endings == {"proxy handshake cut": 1}


async def test_an_upstream_cut_while_it_does_not_take_the_upgrade_is_503(autojump_clock):
    async def deaf(http):
        await trio.sleep_forever()

    async with proxying(deaf, limits={"max_head_bytes": 2**20}) as proxy:
        http = proxy.connect()
        await http.send(upgrade_request("/", "X: " + "x" * 500_000))
        await wait_all_tasks_blocked()
        for connection in list(proxy.upstreams[0].connections):
            connection.cut()
        assert (await http.answer()).status == 503
        await proxy.hang_up(http)
        assert proxy.endings == {"proxy handshake cut": 1}


async def test_cut_while_the_upstream_is_waited_for_an_upgrade_leaves_nothing():
    async with proxying(silent) as proxy:
        await proxy.connect().send(upgrade_request())
        await wait_all_tasks_blocked()
        assert proxy.upstreams[0].active == 1 and proxy.upstreams[0].handshakes
        proxy.cut()
    assert proxy.endings == {"proxy response cut": 1}


async def test_each_kind_of_close_is_passed_on():
    async with proxying(accepts()) as proxy:
        socket = await open_websocket(proxy)
        await socket.send(CLOSE, close_payload(4000))
        assert (await socket.receive()).close_code == 4000
        await proxy.hang_up(socket.http)
        assert proxy.counted(m.CLOSES) == {f"backend {proxy.upstreams[0].address} client 4xxx": 1}
