"""Generated and mutated PROXY headers with a request behind them through a whole proxy, beside a second reading of them.

Whatever comes, it is a header and its request arrives as the named client's, or nothing at all comes of it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter

import pytest
from hypothesis import strategies as st
from support.fuzz import try_each
from support.http_client import get_request
from support.http_messages import cut, mutated
from support.proxy_headers import LOCAL, SIGNATURE, UNKNOWN, addresses, binary, from_client, line, meaning, vector
from support.stage import stage
from support.strict_http import read_requests

from trioproxy.config import ListenerConfig
from trioproxy.logs import Log

pytestmark = pytest.mark.fuzz

PEER = "127.0.0.1"
LISTENER = ListenerConfig(address=f"{PEER}:0", proxy_protocol=True, trusted_proxies=(PEER,))
REQUEST = get_request("/asked")
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SHARE = 0.3  # of the examples that must be headers by construction

clients = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
vectors = st.lists(st.builds(vector, st.integers(4, 255), st.binary(max_size=20)), max_size=3).map(b"".join)
ports = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map("{0[0]} {0[1]}".format)


@st.composite
def headers(draw) -> bytes:
    """Whole ones of every kind."""
    client = draw(clients)
    other = "::1" if ":" in client else PEER
    family = 0x21 if ":" in client else 0x11
    return draw(
        st.one_of(
            st.builds(line, st.just(client), st.just(other), ports),
            st.just(binary(addresses(client, other) + draw(vectors), family=family)),
            st.just(binary(addresses(client, other) + draw(vectors), family=family + 1)),
            st.just(binary(draw(st.binary(max_size=30)), command=0x20, family=draw(st.integers(0, 255)))),
            st.just(binary(draw(st.binary(max_size=30)), family=draw(st.sampled_from((0, 1, 0x10))))),
            st.just(binary(bytes(216) + draw(vectors), family=0x31)),
            st.sampled_from((UNKNOWN, LOCAL, b"PROXY UNKNOWN whatever\r\n")),
        )
    )


@st.composite
def wrong_lengths(draw) -> bytes:
    """Version 2 whose length is not that of what follows."""
    payload = addresses() + draw(vectors)
    length = draw(st.one_of(st.integers(0, 60), st.sampled_from((len(payload) + len(REQUEST), 4080, 4081, 0xFFFF))))
    return binary(payload, length=length)


@st.composite
def examples(draw) -> tuple[bool, list[bytes]]:
    """Whether it is a header by construction, and the pieces."""
    valid = draw(st.booleans())
    other = st.one_of(mutated(headers()), wrong_lengths(), st.binary(max_size=60), st.just(SIGNATURE))
    raw = draw(headers() if valid else other)
    return valid, draw(cut(raw + REQUEST))


class Player:
    """The upstream, which answers each whole request."""

    def __init__(self):
        self.arrived = []

    def __call__(self, end):
        found, _ = read_requests(end.received)
        for request in found[end.answered :]:
            self.arrived.append(request)
            end.send(FINE)
        end.answered = len(found)


async def deliver(running, pieces):
    """The requests that arrived, what was answered, and whether the connection had ended before FIN."""
    player, client = Player(), running.client()
    try:
        for piece in pieces:
            client.send(piece)
            await running.settle(player)
        client.look()
        answers, ended = client.received, client.ended
        client.finish()
        await running.settle(player)
        client.look()
        assert client.ended
    finally:
        running.clear(lambda _: True)
        await running.settle(player)
    return player.arrived, answers, ended


def judge(raw, arrived, answers, ended):
    read = meaning(raw)
    if read is None:
        assert (arrived, answers) == ([], b"")
        return
    if raw[read.size :] != REQUEST:  # a part of it, or what a mutation put there
        assert read_requests(raw[read.size :])[0][: len(arrived)] == [] or answers
        return
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert not ended
    (request,) = arrived
    assert request.target == b"/asked"
    said = dict(request.fields)
    client = (read.client or PEER).encode()
    assert said[b"X-Forwarded-For"] == said[b"X-Real-IP"] == client


async def test_a_header_is_read_as_it_is_meant_or_nothing_comes_of_the_connection():
    counts, log = Counter(), Log.memory()
    async with stage(listener=LISTENER, log=log) as running:

        async def exercise(example):
            valid, pieces = example
            raw = b"".join(pieces)
            outcome = await deliver(running, pieces)
            judge(raw, *outcome)
            assert not valid or meaning(raw).size == len(raw) - len(REQUEST)
            counts["examples"] += 1
            counts["valid"] += valid
            counts["headers"] += meaning(raw) is not None

        await try_each(examples(), 250, exercise)
    print(dict(counts))  # noqa: T201 -- for who runs it deep, with -s
    assert counts["valid"] >= SHARE * counts["examples"]
    assert not [event for event in log.events if event["event"] == "internal_error"]


@pytest.mark.parametrize("client", ["198.51.100.7", "2001:db8::7"])
def test_the_second_reading_knows_whole_headers(client):
    found = [meaning(raw + REQUEST) for raw in (from_client(client), line(client, client))]
    assert [each.client for each in found] == [str(ipaddress.ip_address(client))] * 2
