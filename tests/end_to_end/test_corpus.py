"""Every request of the corpus over TCP, through a whole proxy; h11 reads what the upstream gets.

Each comes as a whole, octet by octet, and in two pieces: cut at some places here, at all of them where TRIOPROXY_CORPUS=all.
A tenth of them comes over TLS, too.
What the parser alone makes of the same bytes is tested beside the corpus.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs
import h11
from support.certificates import authority
from support.corpus import Case, Reading, load_cases
from support.deliveries import Delivery, batches, deliveries, proxy_on_stage, send_in_step, undated
from support.tls_client import client_context
from support.tls_end import TlsEnd

from trioproxy.config import ListenerConfig, ListenerTlsConfig
from trioproxy.wire.http1 import RequestParser

if TYPE_CHECKING:
    from support.stage import End, Stage

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SERVED = {200, 204}  # 204: what the proxy itself says to OPTIONS *
CASES = load_cases()


@attrs.frozen
class Arrived:
    """A whole request as h11 reads it, without what names its client."""

    reading: Reading
    fields: tuple[tuple[bytes, bytes], ...]


@attrs.frozen
class Outcome:
    """What both sides saw of a delivery."""

    answers: bytes
    closed: bool
    arrived: tuple[Arrived, ...]


@attrs.define(eq=False)
class Reader:
    """The requests of one connection from the proxy."""

    parser: h11.Connection = attrs.Factory(lambda: h11.Connection(h11.SERVER))
    request: h11.Request | None = None
    body: bytes = b""
    read: int = 0  # octets given to the parser

    def take(self, end: End) -> Arrived | None:
        """The next whole request. Raises h11.RemoteProtocolError for what is none."""
        if self.read < len(end.received):
            self.parser.receive_data(end.received[self.read :])
            self.read = len(end.received)
        while True:
            event = self.parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return None
            if isinstance(event, h11.Request):
                self.request, self.body = event, b""
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return self.next_one()

    def next_one(self) -> Arrived:
        """The request that is over; what stands behind it is for another parser."""
        assert self.request is not None
        rest = self.parser.trailing_data[0]
        self.parser = h11.Connection(h11.SERVER)
        if rest:  # none would mean an end
            self.parser.receive_data(rest)
        reading = Reading(self.request.method, self.request.target, self.body)
        return Arrived(reading, tuple(self.request.headers.raw_items()))


@attrs.define(eq=False)
class Upstream:
    """Answers every whole request with an empty 200, and remembers whose it was."""

    arrived: dict[str, list[Arrived]] = attrs.Factory(dict)
    readers: dict[End, Reader] = attrs.Factory(dict)

    def __call__(self, end: End) -> None:
        reader = self.readers.setdefault(end, Reader())
        while (request := reader.take(end)) is not None:
            self.arrived.setdefault(client_of(request), []).append(request)
            end.send(FINE)
        if end.ended:
            del self.readers[end]  # with one that was cut short, perhaps: that was never complete


def client_of(request: Arrived) -> str:
    """Who asked, as the proxy says it in each of the fields for that."""
    said = [value.decode() for name, value in request.fields if name in {b"X-Forwarded-For", b"X-Real-IP"}]
    assert len(said) == 2 and len(set(said)) == 1, request
    assert not any(octet in value for _, value in request.fields for octet in b"\r\n\0")
    return said[0]


def without_client(request: Arrived) -> Arrived:
    kept = [pair for pair in request.fields if pair[0] not in {b"X-Forwarded-For", b"X-Real-IP"}]
    return attrs.evolve(request, fields=tuple(kept))


async def deliver(running: Stage, upstream: Upstream, batch: list[Delivery]) -> list[Outcome]:
    ends = [running.client(each.source) for each in batch]
    await running.settle(upstream)
    while sum(end.look() for end in ends):  # handshakes
        await running.settle(upstream)
    await send_in_step(running, list(zip(ends, batch, strict=True)), upstream)
    for end, delivery in zip(ends, batch, strict=True):
        if delivery.case.half_close:
            end.finish()
    await running.settle(upstream)
    for end in ends:
        end.look()
        assert not end.reset
    running.clear(lambda end: end.ended)
    await running.settle(upstream)
    running.clear(lambda end: end.ended)
    outcomes = [
        Outcome(undated(end.received), end.ended, tuple(map(without_client, upstream.arrived.pop(each.source, []))))
        for end, each in zip(ends, batch, strict=True)
    ]
    assert not upstream.arrived  # whose would it be?
    return outcomes


def statuses(answers: bytes) -> list[int]:
    """Of answers one behind the other, each with all its content (of which those to HEAD have none)."""
    found = []
    before, *parts = answers.split(b"HTTP/1.1 ")
    assert before == b""
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        lengths = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        assert content == b"" or [b"%d" % len(content)] == lengths, answers
        found.append(int(head[:3]))
    return found


def judge(case: Case, outcome: Outcome) -> None:
    found = statuses(outcome.answers)
    good = [status for status in found if status in SERVED]
    errors = found[len(good) :]
    assert len(errors) <= 1 and all(400 <= status < 600 for status in errors)
    assert outcome.closed or not (errors or case.half_close)
    assert not {name.lower() for name in case.absent} & {
        name.lower() for each in outcome.arrived for name, _ in each.fields
    }
    if case.expect == "either":
        assert len(outcome.arrived) <= len(good)
        return
    assert [each.reading for each in outcome.arrived] == [each for each in case.readings if each.target != b"*"]
    assert len(good) == len(case.readings)
    if case.expect == "reject400":
        assert errors or case.half_close
        assert case.status is None or errors == [case.status]
    else:
        assert bool(errors) == case.rejected_after
    if outcome.arrived:
        fields = iter(outcome.arrived[0].fields)
        for field in case.fields:
            assert field in fields  # consumes up to it: the order counts


async def test_every_case_meets_its_reaction_and_the_same_however_it_is_delivered():
    first: dict[str, Outcome] = {}
    upstream = Upstream()
    async with proxy_on_stage() as running:
        for batch in batches(deliveries(CASES)):
            for delivery, outcome in zip(batch, await deliver(running, upstream, batch), strict=True):
                try:
                    judge(delivery.case, outcome)
                    assert first.setdefault(delivery.case.name, outcome) == outcome
                except AssertionError as error:
                    error.add_note(str(delivery))
                    raise
    assert len(first) == len(CASES)


async def test_every_piece_is_read_by_itself(monkeypatch):
    pieces: list[bytes] = []
    receive = RequestParser.receive_data

    def listen(parser: RequestParser, data: bytes) -> None:
        pieces.append(data)
        receive(parser, data)

    monkeypatch.setattr(RequestParser, "receive_data", listen)
    [case] = [case for case in CASES if case.name == "ok-post-chunked"]
    ways = deliveries([case])
    async with proxy_on_stage() as running:
        for delivery in ways:
            pieces.clear()
            await deliver(running, Upstream(), [delivery])
            running.clear(lambda _: True)
            assert pieces == list(delivery.pieces)
    assert [len(delivery.pieces) for delivery in ways] == [1, *[2] * (len(ways) - 2), len(case.raw)]


async def test_a_tenth_of_them_meets_it_over_tls_too(tmp_path):
    trusted = authority(tmp_path)
    files = trusted.issue("localhost")
    tls = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    connected = partial(TlsEnd, context=client_context(trusted.file))
    some = [Delivery(case, (case.raw,), number) for number, case in enumerate(CASES) if not number % 10]
    upstream = Upstream()
    async with proxy_on_stage(listener=ListenerConfig(address="127.0.0.1:0", tls=tls), connected=connected) as running:
        for batch in batches(some):
            for delivery, outcome in zip(batch, await deliver(running, upstream, batch), strict=True):
                try:
                    judge(delivery.case, outcome)
                except AssertionError as error:
                    error.add_note(str(delivery))
                    raise
    assert len(some) > 50
