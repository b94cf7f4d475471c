"""Generated clients of a listener with TLS, their octets spoilt at any stage, and garbage: it is what it was meant, or nothing.

What TLS has decrypted is the client's own, whatever happened on the way: a request arrives as it was sent, or not at all.
"""

from __future__ import annotations

import ssl
from collections import Counter
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
from hypothesis import strategies as st
from support.certificates import authority
from support.fuzz import try_each
from support.http_client import get_request
from support.stage import stage
from support.strict_http import read_requests, read_response
from support.tls_octets import KINDS, Clients, garbage, spoilings

from trioproxy.config import ListenerConfig, ListenerTlsConfig
from trioproxy.errors import Phase, Reason, Source
from trioproxy.logs import Log
from trioproxy.metrics import ENDINGS

pytestmark = pytest.mark.fuzz

FLIGHTS = 5  # hello, (key exchange before TLS 1.3,) finished with a request, another, close_notify
REQUEST = get_request("/asked")
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"
SHARE = 0.15  # of the examples that must come to an answer
ARRIVING = {Reason.TLS, Reason.CLOSED, Reason.DONE, Reason.RESET}  # what an arrival that came to nothing may end by


@attrs.frozen
class Example:
    """A kind of client, or none; which of its flights is spoilt how, or what comes in its place; how the octets are cut."""

    client: str
    at: int
    spoilings: tuple[object, ...]
    instead: bytes
    cuts: list[float]
    asked: bool = False  # for a certificate

    @property
    def intact(self):
        return not self.spoilings and not self.instead

    def octets(self, flight, sent):
        """What is sent in a flight, in pieces."""
        if flight == self.at:
            sent = self.instead or sent
            for spoil in self.spoilings:
                sent = spoil(sent)
        places = sorted(int(share * len(sent)) for share in self.cuts)
        return [sent[start:end] for start, end in zip([0, *places], [*places, len(sent)], strict=True) if start < end]


INTACT = Example("", 0, (), b"", [])


def examples(names):
    return st.builds(
        Example,
        client=st.sampled_from(names),
        at=st.integers(0, FLIGHTS - 1),
        spoilings=st.one_of(st.just(()), st.lists(spoilings, min_size=1, max_size=3).map(tuple)),
        instead=st.one_of(st.just(b""), st.just(b""), garbage),
        cuts=st.lists(st.floats(0, 1), max_size=4),
        asked=st.sampled_from((False, False, True)),
    )


@attrs.define(eq=False)
class Talker:
    """A client of OpenSSL's, between what it is given and what it wants sent."""

    context: ssl.SSLContext
    incoming: ssl.MemoryBIO = attrs.Factory(ssl.MemoryBIO)
    outgoing: ssl.MemoryBIO = attrs.Factory(ssl.MemoryBIO)
    session: ssl.SSLObject = attrs.field(init=False)
    heard: bytes = b""
    asked: int = 0
    shaken: bool = False

    @session.default
    def _session(self):
        return self.context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def go_on(self, came, *, leave):
        """What it sends next, having got this; an alert where it does not like that."""
        self.incoming.write(came)
        with suppress(ssl.SSLError):  # mostly as it wants to hear more
            if not self.shaken:
                self.session.do_handshake()
                self.shaken = True
            if leave:
                self.hear()
                self.session.unwrap()
            else:
                self.session.write(REQUEST)
                self.asked += 1
        with suppress(ssl.SSLError):
            self.hear()
        return self.outgoing.read()

    def hear(self):
        while self.shaken and (data := self.session.read(65536)):
            self.heard += data


class Player:
    """The upstream, which answers each whole request, and has got nothing else."""

    def __init__(self):
        self.arrived = 0

    def __call__(self, end):
        found, _ = read_requests(end.received)
        assert all((request.method, request.target, request.body) == (b"GET", b"/asked", b"") for request in found)
        for _ in found[end.answered :]:
            self.arrived += 1
            end.send(FINE)
        end.answered = len(found)


async def deliver(running, talker, example):
    """How many requests arrived, and all that came back."""
    player, end, seen = Player(), running.client(), 0
    try:
        for flight in range(FLIGHTS):
            end.look()
            sent = talker.go_on(end.received[seen:], leave=flight == FLIGHTS - 1)
            seen = len(end.received)
            for piece in example.octets(flight, sent):
                end.send(piece)
                await running.settle(player)
        end.look()
        talker.go_on(end.received[seen:], leave=True)
        end.finish()
        await running.settle(player)
        end.look()
        assert end.ended
    finally:
        running.clear(lambda _: True)
        await running.settle(player)
    return player.arrived, end.received


def answers(heard):
    """How many whole ones that is, of the upstream's and no others."""
    count = 0
    while heard:
        answer, _, heard = read_response(heard, b"GET", ended=False)
        assert (answer.status, answer.body) == (200, b"fine")
        count += 1
    return count


def judge(example, willing, talker, arrived, came):
    assert arrived <= talker.asked
    heard = answers(talker.heard)
    assert heard <= arrived
    if example.intact and example.client in willing:
        assert heard == arrived == talker.asked > 0
    if came.startswith(b"HTTP/1.1 "):  # in the clear, to whom spoke so
        assert came.startswith(b"HTTP/1.1 400 ") and example.at == 0 and not arrived
    else:
        assert came[:1] in {b"", *(bytes([kind]) for kind in KINDS)}


def open_sockets():
    """How many this process has. It may open a file now and then."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the folder itself
            found.add(str(descriptor.readlink()))
    return len([name for name in found if name.startswith("socket:")])


def endings(board):
    """How many connections have come to no request, for each reason."""
    counted = {reason: sum(int(board.value(ENDINGS, (by, Phase.ACCEPT, reason))) for by in Source) for reason in Reason}
    return Counter(counted)


@asynccontextmanager
async def secured(signing, known, log, client_ca=""):
    """A proxy with TLS; the first to come opens what stays open, a connection to the upstream."""
    files = signing.issue("localhost")
    settings = ListenerTlsConfig(certificate=files.certificate, key=files.key, client_ca=client_ca)
    async with stage(listener=ListenerConfig(address="127.0.0.1:0", tls=settings), log=log) as running:
        assert (await deliver(running, Talker(known), INTACT))[0]
        yield running


async def test_what_comes_by_tls_is_what_was_sent_or_nothing_comes_of_it(tmp_path):
    signing = authority(tmp_path)
    clients = Clients.of(signing)
    contexts = {**clients.willing, **clients.others}
    willing = {False: clients.willing.keys(), True: {"known"}}
    counts, log = Counter(), Log.memory()
    known = contexts["known"]
    async with secured(signing, known, log) as open_to_all, secured(signing, known, log, signing.file) as asking:
        before = open_sockets()

        async def exercise(example):
            running = asking if example.asked else open_to_all
            board = running.proxy.context.metrics
            talker, counted = Talker(contexts[example.client]), endings(board)
            arrived, came = await deliver(running, talker, example)
            judge(example, willing[example.asked], talker, arrived, came)
            ended = endings(board) - counted
            assert ended.keys() <= ARRIVING and ended.total() <= 1
            counts.update(f"ended: {reason}" for reason in ended)
            counts["examples"] += 1
            counts["answered"] += bool(arrived)
            assert open_sockets() <= before

        await try_each(examples(sorted(contexts)), 150, exercise)
    print(dict(counts))  # noqa: T201 -- for who runs it deep, with -s
    assert counts["answered"] >= SHARE * counts["examples"]
    assert not [event for event in log.events if event["event"] == "internal_error"]
