"""What ties one exchange together over several programs: traceparent passes, and X-Request-Id is the `id` of the log."""

from __future__ import annotations

import pytest
from support.frames import CLOSE, WebSocket, close_payload, upgrade_answer, upgrade_request
from support.http_client import get_request
from support.scripted import REFUSED, answers, proxying
from support.upstream import reply

from trioproxy.tunnel_list import page

TRACE = (
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate: congo=t61rcWkgMzE, rojo=00f067aa0ba902b7",
    "tracestate: other=1",
)
UUID = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"


class Upgrades:
    """An upstream that accepts, answers one Close, and keeps the head; what `lines` has is in its answer."""

    def __init__(self, *lines):
        self.lines, self.heads = lines, []

    async def __call__(self, http):
        head = await http.head()
        self.heads.append(head)
        await http.send(upgrade_answer(head, *self.lines))
        end = WebSocket(http, head, mask=None)
        await end.send(CLOSE, (await end.receive()).payload)


async def upgraded(proxy, *lines):
    """A tunnel's client, opened."""
    http = proxy.connect()
    await http.send(upgrade_request("/", *lines))
    return WebSocket(http, await http.answer())


async def ended(proxy, end):
    await end.send(CLOSE, close_payload(1000))
    await end.receive()
    await proxy.hang_up(end.http)


def logged(proxy, event):
    return [entry for entry in proxy.log if entry["event"] == event]


async def test_trace_context_passes_untouched_with_requests_and_upgrades(autojump_clock):
    plain, upgrades = answers(), Upgrades()
    async with proxying(plain) as proxy:
        await proxy.ask(get_request("/", *TRACE))
    async with proxying(upgrades) as proxy:
        await ended(proxy, await upgraded(proxy, *TRACE))
    sent = [tuple(line.split(": ", 1)) for line in TRACE]
    for head in (*plain.heads, *upgrades.heads):
        passed = [(name.decode(), value.decode()) for name, value in head.fields if name.startswith(b"trace")]
        assert passed == sent


@pytest.mark.parametrize("own", [(), (f"X-Request-Id: {UUID}",)])
async def test_off_leaves_request_ids_to_others(autojump_clock, own):
    upstream = answers(reply(b"", "200 OK", "X-Request-Id: theirs"))
    async with proxying(upstream) as proxy:
        answer = await proxy.ask(get_request("/", *own))
        assert answer.get(b"x-request-id") == b"theirs"
        assert upstream.heads[0].get(b"x-request-id") == (UUID.encode() if own else None)
        assert "request_id" not in logged(proxy, "request")[0]


async def test_set_makes_it_the_id_of_the_log_for_both_sides_whatever_they_say(autojump_clock):
    upstream = answers(reply(b"", "200 OK", "X-Request-Id: theirs", "X-Request-Id: twice"))
    async with proxying(upstream, route={"request_id": "set"}) as proxy:
        http = proxy.connect()
        seen = []
        for _ in range(2):
            await http.send(get_request("/", f"X-Request-Id: {UUID}", "Connection: X-Request-Id"))
            seen.append((await http.answer()).get(b"x-request-id"))
        await proxy.hang_up(http)
        ids = [entry["id"].encode() for entry in logged(proxy, "request")]
        assert seen == ids == [head.get(b"x-request-id") for head in upstream.heads]
        assert len(set(ids)) == 2
        assert "request_id" not in logged(proxy, "request")[0]


async def test_a_tunnel_has_one_id_in_its_handshake_the_log_and_the_api(autojump_clock):
    upstream = Upgrades("X-Request-Id: theirs")
    async with proxying(upstream, route={"request_id": "set"}) as proxy:
        end = await upgraded(proxy)
        (row,) = page(proxy.context.tunnels.values(), after="", limit=9, where={})["tunnels"]
        await ended(proxy, end)
        (opened,), (closed,) = logged(proxy, "tunnel_open"), logged(proxy, "tunnel_end")
        own = end.head.get(b"x-request-id")
        assert own == upstream.heads[0].get(b"x-request-id") == row["id"].encode()
        assert row["id"] == opened["id"] == closed["id"] and "request_id" not in row


async def test_an_answer_of_the_proxys_own_has_it_too(autojump_clock):
    async with proxying(REFUSED, route={"request_id": "set"}) as proxy:
        for raw in (get_request("/"), upgrade_request("/")):
            answer = await proxy.ask(raw)
            assert answer.status == 503
            assert answer.get(b"x-request-id") == logged(proxy, "request")[-1]["id"].encode()


async def test_an_id_is_for_its_own_request_alone(autojump_clock):
    """One that finds no route on the same connection has none."""
    async with proxying(answers(), route={"request_id": "set", "path": "/app"}) as proxy:
        http = proxy.connect()
        for path, status in (("/app", 200), ("/nowhere", 404)):
            await http.send(get_request(path))
            answer = await http.answer()
            assert answer.status == status and (answer.get(b"x-request-id") is None) == (status == 404)
        await proxy.hang_up(http)


async def test_keep_passes_a_clients_own_on_and_tells_it_beside_ours(autojump_clock):
    upstream = Upgrades()
    async with proxying(upstream, route={"request_id": "keep"}) as proxy:
        end = await upgraded(proxy, f"X-Request-Id: {UUID}")
        (row,) = page(proxy.context.tunnels.values(), after="", limit=9, where={})["tunnels"]
        await ended(proxy, end)
        (closed,) = logged(proxy, "tunnel_end")
        assert end.head.get(b"x-request-id") == upstream.heads[0].get(b"x-request-id") == UUID.encode()
        assert row["request_id"] == closed["request_id"] == UUID
        assert row["id"] == closed["id"] != UUID


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("X-Request-Id: a", "X-Request-Id: b"),
        ("X-Request-Id: with blanks",),
        ('X-Request-Id: "quoted"',),
        ("X-Request-Id: " + "x" * 129,),
        ("X-Request-Id:",),
    ],
)
async def test_keep_makes_one_where_the_client_sent_none_that_can_stand_in_a_log(autojump_clock, lines):
    upstream = answers()
    async with proxying(upstream, route={"request_id": "keep"}) as proxy:
        answer = await proxy.ask(get_request("/", *lines))
        (entry,) = logged(proxy, "request")
        assert answer.get(b"x-request-id") == upstream.heads[0].get(b"x-request-id") == entry["id"].encode()
        assert "request_id" not in entry


async def test_set_headers_have_the_last_word_to_the_upstream(autojump_clock):
    upstream = answers()
    async with proxying(upstream, route={"request_id": "set", "set_headers": {"x-request-id": ""}}) as proxy:
        answer = await proxy.ask(get_request("/"))
        assert upstream.heads[0].get(b"x-request-id") is None
        assert answer.get(b"x-request-id") == logged(proxy, "request")[0]["id"].encode()
