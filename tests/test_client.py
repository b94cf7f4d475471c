"""A client's connection: what is read from it, answers of our own, and when it is given up."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
import trio
from support.http_client import parse_head
from support.scripted import socket_pair
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from trioproxy.client import Client, Entrance, own_answer
from trioproxy.config import ListenerConfig
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.readiness import Readiness
from trioproxy.waits import Wait, Waits
from trioproxy.wire.http1 import EndOfMessage, RequestHead, RequestParser


def client_and_peer() -> tuple[Client, trio.testing.MemorySendStream]:
    ours, theirs = memory_stream_pair()
    return client_on(ours), theirs


def client_on(stream: trio.abc.HalfCloseableStream) -> Client:
    parser = RequestParser(max_head_bytes=1000, max_headers=10)
    entrance = Entrance(ListenerConfig(name="public", address="127.0.0.1:0"))
    return Client(stream, parser, "192.0.2.7", entrance, False, Wait(stream, Waits()))


async def test_events_come_as_the_octets_do_and_none_at_the_end():
    client, peer = client_and_peer()
    for octet in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
        await peer.send_all(bytes([octet]))
    await peer.send_eof()
    assert isinstance(await client.next_event(Phase.HEAD), RequestHead)
    assert isinstance(await client.next_event(Phase.REQUEST), EndOfMessage)
    assert await client.next_event(Phase.HEAD) is None
    assert client.ended and not client.cut
    assert not await client.receive(Phase.HEAD)  # without reading again


async def test_a_broken_connection_is_given_up_and_blamed_on_the_client_in_the_phase_it_was_in():
    client, _ = client_and_peer()
    client.stream.receive_stream.close()
    with pytest.raises(ProxyError) as caught:
        await client.receive(Phase.HEAD)
    assert (caught.value.source, caught.value.phase) == (Source.CLIENT, Phase.HEAD)
    assert client.cut and not client.reusable


async def test_a_client_that_is_gone_is_given_up_when_it_is_sent_to():
    client, peer = client_and_peer()
    await peer.aclose()
    with pytest.raises(ProxyError) as caught:
        await client.send(b"x", patience=1)
    assert (caught.value.source, caught.value.phase, caught.value.reason) == (
        Source.CLIENT,
        Phase.RESPONSE,
        Reason.CLOSED,
    )
    assert client.cut and not client.reusable


async def test_a_client_that_takes_nothing_is_given_up_when_patience_ends(autojump_clock):
    client, _ = client_and_peer()
    client.stream.send_stream.send_all_hook = trio.sleep_forever
    with pytest.raises(ProxyError) as caught:
        await client.send(b"x", patience=7)
    assert (caught.value.reason, trio.current_time()) == (Reason.STALLED, 7)
    assert client.cut and not client.reusable


@pytest.mark.parametrize("behind", [b"", b"POST"])
async def test_an_answer_is_put_off_only_where_the_next_request_is_waited_for(behind, nursery):
    readiness = Readiness()
    nursery.start_soon(readiness.serve)
    await wait_all_tasks_blocked()
    ours, theirs = socket_pair()
    async with ours, theirs:
        client = client_on(ours)
        ours.watch_by(readiness)
        theirs.socket.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + behind)
        assert isinstance(await client.next_event(Phase.HEAD), RequestHead)
        assert isinstance(await client.next_event(Phase.REQUEST), EndOfMessage)
        readiness.gathering = True
        assert client.post(b"x") is not bool(behind)


async def test_an_answer_says_close_where_no_other_request_may_follow():
    client, peer = client_and_peer()
    await client.answer(404)
    assert client.answering
    assert b"connection" not in (await peer.receive_some()).lower()
    client.reusable = False
    await client.answer(404)
    assert b"\r\nConnection: close\r\n" in await peer.receive_some()


def head_and_body(data: bytes):
    head, _, body = data.partition(b"\r\n\r\n")
    return parse_head(head), body


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (400, b"400 Bad Request"),
        (404, b"404 Not Found"),
        (408, b"408 Request Timeout"),
        (431, b"431 Request Header Fields Too Large"),
        (502, b"502 Bad Gateway"),
        (504, b"504 Gateway Timeout"),
        (505, b"505 HTTP Version Not Supported"),
    ],
)
def test_an_answer_of_our_own_says_its_status_and_no_more(status, line):
    head, body = head_and_body(own_answer(status, head_only=False, close=False))
    assert (head.start, body) == (b"HTTP/1.1 " + line, line + b"\n")
    assert head.get(b"content-length") == b"%d" % len(body)
    assert head.names == [b"date", b"content-type", b"content-length"]


def test_an_answer_to_head_announces_the_body_it_has_not():
    head, body = head_and_body(own_answer(404, head_only=True, close=False))
    assert (head.get(b"content-length"), body) == (b"14", b"")


def test_an_answer_of_our_own_has_the_id_of_its_request():
    head, _ = head_and_body(own_answer(502, head_only=False, close=True, request_id=b"5f3a9c-1"))
    assert head.get(b"x-request-id") == b"5f3a9c-1"


@pytest.mark.rule("date")
def test_an_answer_of_our_own_says_when_it_was_made_rfc_9110_6_6_1():
    head, _ = head_and_body(own_answer(404, head_only=False, close=True))
    said = parsedate_to_datetime(head.get(b"date").decode())
    assert abs(said.timestamp() - time.time()) < 3600
    assert head.get(b"date").endswith(b" GMT")


def test_204_has_no_body_and_announces_none():
    head, body = head_and_body(own_answer(204, head_only=False, close=True))
    assert (head.names, body) == ([b"date", b"connection"], b"")


@pytest.mark.parametrize(
    ("status", "name", "value"),
    [
        (405, b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        (503, b"Retry-After", b"1"),
        (426, b"Upgrade", b"websocket"),
        (426, b"Sec-WebSocket-Version", b"13"),
        (426, b"Connection", b"upgrade, close"),
    ],
)
def test_a_status_comes_with_what_it_must_say_rfc_9110_15(status, name, value):
    head, _ = head_and_body(own_answer(status, head_only=False, close=True))
    assert head.get(name) == value


async def test_that_a_client_has_left_is_known_without_reading():
    ours, theirs = socket_pair()
    async with ours, theirs:
        client = client_on(ours)
        assert not client.has_left()
        await theirs.send_eof()
        assert client.has_left() and not client.ended
    client, peer = client_and_peer()
    await peer.send_eof()
    assert not client.has_left()
    assert not await client.receive(Phase.HEAD)
    assert client.has_left()
