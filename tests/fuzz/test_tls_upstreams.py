"""Generated upstreams of a pool with TLS, their octets spoilt on the way at any stage, and garbage in their place.

What a client gets is the upstream's answer, a part of it that shows as one, or the proxy's own; what an upstream gets is the
request, or nothing.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import authority
from support.fuzz import exchanges
from support.http_client import get_request
from support.scripted import proxying
from support.tls_middle import passing
from support.tls_octets import garbage, spoilings

from trioproxy import metrics as m
from trioproxy.tls.identity import Identity

pytestmark = pytest.mark.fuzz

PARTS = [bytes([65 + at]) * 900 for at in range(4)]
WHOLE = b"".join(PARTS)
ANSWERS = {
    "counted": [b"HTTP/1.1 200 OK\r\nContent-Length: 3600\r\n\r\n", *PARTS],
    "chunked": [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        *(b"384\r\n" + part + b"\r\n" for part in PARTS),
        b"0\r\n\r\n",
    ],
    "until close": [b"HTTP/1.1 200 OK\r\n\r\n", *PARTS],
}
FLIGHTS = 6  # hello and certificate, (finished,) tickets, the answer's records, close_notify
NEWEST = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@attrs.frozen
class Example:
    """Which flight of an upstream's is spoilt how, or what comes in its place, and whether it is the last to come."""

    version: str
    answer: str
    at: int
    spoilings: tuple[object, ...]
    instead: bytes
    last: bool

    @property
    def intact(self):
        return not (self.spoilings or self.instead or self.last)


upstreams = st.builds(
    Example,
    version=st.sampled_from(list(NEWEST)),
    answer=st.sampled_from(list(ANSWERS)),
    at=st.integers(0, FLIGHTS - 1),
    spoilings=st.one_of(st.just(()), st.lists(spoilings, min_size=1, max_size=3).map(tuple)),
    instead=st.one_of(st.just(b""), st.just(b""), garbage),
    last=st.booleans(),
)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def contexts(trusted):
    made = {name: trusted.server("localhost") for name in NEWEST}
    for name, version in NEWEST.items():
        made[name].maximum_version = version
    return made


@pytest.fixture(scope="module")
def identity(trusted):
    return Identity("localhost", trusted.client())


async def play(example, context, identity):
    """What a client got and what the upstream was asked."""
    asked, flights = [], iter(range(1000))

    async def answer(http):
        asked.append((await http.head()).start)
        for part in ANSWERS[example.answer]:
            await http.send(part)
            await trio.testing.wait_all_tasks_blocked()  # so that each is a flight of its own
        await http.stream.send_eof()

    def upwards(data):
        assert b"GET /asked" not in data
        return data

    def downwards(data):
        flight = next(flights)
        if flight != example.at:
            return b"" if example.last and flight > example.at else data
        data = example.instead or data
        for spoil in example.spoilings:
            data = spoil(data)
        return data

    middle = passing(context, answer, upwards=upwards, downwards=downwards)
    async with proxying(middle, tls=(context, identity)) as proxy:
        proxy.peers[0].tls = None
        http = proxy.connect()
        await http.send(get_request("/asked", "Connection: close"))
        received = b""
        with suppress(trio.BrokenResourceError):
            while data := await http.stream.receive_some():
                received += data
        failures = [labels.rpartition(" ")[2] for labels in proxy.counted(m.CONNECT_FAILURES)]
    return received, asked, failures


@exchanges(80)
@given(example=upstreams)
def test_a_client_gets_what_the_upstream_said_or_sees_that_it_does_not(contexts, identity, example):
    clock = trio.testing.MockClock(autojump_threshold=0)
    received, asked, failures = trio.run(play, example, contexts[example.version], identity, clock=clock)
    assert asked in ([], [b"GET /asked HTTP/1.1"])
    head, _, body = received.partition(b"\r\n\r\n")
    status = head[9:12]
    if example.intact:
        assert status == b"200"
    if status != b"200":
        assert status in {b"502", b"503", b"504"}
        assert (status == b"503") == bool(failures)
        assert set(failures) <= {"tls", "timeout"}
        return
    if example.answer == "counted":
        octets, complete = body, len(body) == len(WHOLE)
    else:
        octets, complete = b"".join(part for part in PARTS if part in body), body.endswith(b"0\r\n\r\n")
    assert WHOLE.startswith(octets)
    assert octets == WHOLE or not complete
    assert complete or not example.intact
