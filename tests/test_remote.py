"""Asking an admin over HTTP: what is sent, page after page, and what is made of answers that are none."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from support.upstream import http_upstream, reply, scripted_upstream

from trioproxy.remote import PAGE, Remote, RemoteError, reachable


@pytest.mark.parametrize(
    ("bound", "address"),
    [
        ("127.0.0.1:9464", "127.0.0.1:9464"),
        ("0.0.0.0:9464", "127.0.0.1:9464"),
        ("[::]:9464", "[::1]:9464"),
        ("[::1]:9464", "[::1]:9464"),
        ("admin.internal:9464", "admin.internal:9464"),
    ],
)
def test_a_wildcard_is_reached_on_loopback(bound, address):
    assert reachable(bound) == address


@attrs.frozen
class Asked:
    """An admin that answers everything alike, and what it was asked."""

    remote: Remote
    requests: list


@asynccontextmanager
async def admin(answer=b"{}", status="200 OK", **how):
    requests = []

    def take(head, body):
        requests.append((head, body))
        return answer(head) if callable(answer) else reply(answer, status)

    async with http_upstream(take) as upstream:
        yield Asked(Remote(upstream.address, **how), requests)


async def ask(method, *args):
    return await trio.to_thread.run_sync(method, *args)


@pytest.mark.parametrize(
    ("call", "start", "body"),
    [
        (("status",), "GET /api/status", None),
        (
            ("drain", "backend", "10.0.0.1:80", {"spread": 1.5}),
            "POST /api/pools/backend/upstreams/10.0.0.1%3A80/drain",
            {"spread": 1.5},
        ),
        (("drain", "b", "unix:/run/a b", {}), "POST /api/pools/b/upstreams/unix%3A%2Frun%2Fa%20b/drain", {}),
        (("resume", "b", "[::1]:80"), "POST /api/pools/b/upstreams/%5B%3A%3A1%5D%3A80/resume", {}),
        (
            ("inject", "close", "b", "10.0.0.1:80", {"share": 1}),
            "POST /api/chaos/pools/b/upstreams/10.0.0.1%3A80/close",
            {"share": 1},
        ),
        (("faults",), "GET /api/chaos", None),
        (("stop_faults",), "DELETE /api/chaos", None),
        (("close", "5f/x?", 4000), "POST /api/tunnels/5f%2Fx%3F/close", {"code": 4000}),
    ],
)
async def test_each_question_is_the_request_the_api_has_for_it(call, start, body):
    async with admin(b'{"fine": 1}', token=b"secret") as asked:
        assert await ask(getattr(asked.remote, call[0]), *call[1:]) == {"fine": 1}
    ((head, content),) = asked.requests
    assert head.start.decode() == f"{start} HTTP/1.1"
    assert head.get(b"host").decode() == asked.remote.address
    assert head.get(b"authorization") == b"Bearer secret"
    if body is None:
        assert content == b"" and head.get(b"content-type") is None
    else:
        assert json.loads(content) == body and head.get(b"content-type") == b"application/json"


async def test_without_a_token_none_is_sent():
    async with admin() as asked:
        await ask(asked.remote.status)
    assert asked.requests[0][0].get(b"authorization") is None


def paged(count):
    """Answers for that many tunnels, which are numbered."""

    def answer(head):
        query = dict(pair.split("=") for pair in head.start.decode().split(" ")[1].partition("?")[2].split("&"))
        first = int(query.get("after", -1)) + 1
        rows = [{"id": str(number)} for number in range(first, min(first + int(query["limit"]), count))]
        return reply(json.dumps(rows).encode(), "200 OK", f"X-Total-Count: {count}")

    return answer


@pytest.mark.parametrize(
    ("count", "most", "pages"),
    [
        (0, None, [0]),
        (3, None, [3]),
        (PAGE, None, [PAGE, 0]),
        (2 * PAGE + 5, None, [PAGE, PAGE, 5]),
        (3, 2, [2]),
        (2 * PAGE, PAGE + 1, [PAGE, 1]),
        (PAGE, PAGE, [PAGE]),
    ],
)
async def test_tunnels_come_page_by_page_until_there_are_enough(count, most, pages):
    async with admin(paged(count)) as asked:
        got = await ask(lambda: list(asked.remote.tunnels(most, {"pool": "b"})))
    assert [len(rows) for _, rows in got] == pages
    assert {total for total, _ in got} == {count}
    assert [row["id"] for _, rows in got for row in rows] == [str(number) for number in range(sum(pages))]
    assert all("pool=b" in head.start.decode() for head, _ in asked.requests)


async def failed(remote):
    with pytest.raises(RemoteError) as caught:
        await ask(remote.status)
    return str(caught.value), caught.value.status


@pytest.mark.parametrize(
    ("status", "hint"),
    [("404 Not Found", ""), ("403 Forbidden", ""), ("401 Unauthorized", "; --token-file says where it is")],
)
async def test_what_the_admin_refuses_is_told_in_its_words(status, hint):
    async with admin(b'{"error": "this is why"}', status) as asked:
        assert await failed(asked.remote) == (f"this is why{hint}", int(status[:3]))


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"<html>", "200 OK"), (b"", "200 OK"), (b"{}", "404 Not Found"), (b"[]", "500 Oops"), (b"\xff", "200 OK")],
)
async def test_who_answers_something_else_is_no_admin(answer, status):
    async with admin(answer, status) as asked:
        assert await failed(asked.remote) == (f"what answers at {asked.remote.address} is no admin of a trioproxy", 0)


async def test_who_speaks_no_http_is_no_admin_either():
    async def talk(http):
        await http.send(b"220 mail.example ESMTP\r\n")

    async with scripted_upstream(talk) as upstream:
        told, _ = await failed(Remote(upstream.address))
    assert told == f"what answers at {upstream.address} is no admin of a trioproxy"


async def test_who_hangs_up_could_not_be_reached():
    async def talk(http):
        await http.head()

    async with scripted_upstream(talk) as upstream:
        told, _ = await failed(Remote(upstream.address))
    assert told.startswith(f"cannot reach the admin at {upstream.address}: ")


async def test_a_token_that_no_header_can_carry_is_told():
    async with admin(token=b"two\nlines") as asked:
        told, _ = await failed(asked.remote)
    assert "token" in told and asked.requests == []


async def test_a_stream_is_told_block_by_block_until_it_ends():
    blocks = b'retry: 1000\nevent: history\ndata: {"samples": []}\n\n:\n\nevent: sample\ndata: {"tunnels": 1}\n\n'
    async with admin(blocks, token=b"secret") as asked:
        told = await ask(lambda: list(asked.remote.live()))
    assert told == [("history", {"samples": []}), ("sample", {"tunnels": 1})]
    ((head, _),) = asked.requests
    assert head.start == b"GET /api/live HTTP/1.1" and head.get(b"authorization") == b"Bearer secret"


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b'{"error": "token required"}', "401 Unauthorized", "token required; --token-file says where it is"),
        (b'{"error": "as many as there may be"}', "503 Service Unavailable", "as many as there may be"),
        (b"event: sample\ndata: nothing\n\n", "200 OK", "no admin of a trioproxy"),
        (b"event: sample\ndata: \xff\n\n", "200 OK", "no admin of a trioproxy"),
    ],
)
async def test_a_stream_that_is_none_is_told_in_one_line(answer, status, said):
    async with admin(answer, status) as asked:
        with pytest.raises(RemoteError, match=said):
            await ask(lambda: list(asked.remote.live()))


async def test_a_stream_that_breaks_off_is_told_in_one_line():
    async def talk(http):
        await http.head()
        await http.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\nevent: sample\n")

    async with scripted_upstream(talk) as upstream:
        with pytest.raises(RemoteError, match=upstream.address):
            await ask(lambda: list(Remote(upstream.address).live()))
