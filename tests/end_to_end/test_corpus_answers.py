"""Every answer of the corpus over TCP, through a whole proxy: what its client gets, and what becomes of the connections.

Each comes as a whole, octet by octet, and in two pieces: cut at some places here, at all of them where TRIOPROXY_CORPUS=all.
What the parser alone makes of the same bytes is tested beside the corpus.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import TYPE_CHECKING

import attrs
from support.corpus import AnswerCase, load_answers
from support.deliveries import Delivery, batches, deliveries, proxy_on_stage, send_in_step, undated
from support.frames import upgrade_request
from support.http_client import get_request
from support.upstream import reply

if TYPE_CHECKING:
    from support.stage import End, Stage

CASES = load_answers()
OFFERED = ("Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate")
NEXT = get_request("/next")
NEXT_ANSWER = reply(b"next")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time
SWITCHING = 101
CLOSE = b"\x88"  # the first octet of a Close frame
BODILESS = {SWITCHING, 204, 304}

_TARGET = re.compile(rb"[A-Z]+ /([0-9]+|next) HTTP/1\.1\r\n")


def question(delivery: Delivery) -> bytes:
    """The whole request, with the number of its delivery."""
    asked, path = delivery.case.asked, f"/{delivery.number}"
    if asked == "websocket":
        return upgrade_request(path, *OFFERED)
    if asked == "HTTP/1.0":
        return get_request(path).replace(b"HTTP/1.1", b"HTTP/1.0")
    if asked == "POST":
        return get_request(path, "Content-Length: 5", method="POST") + b"hello"
    if asked == "trailers":
        return get_request(path, "TE: trailers", "Connection: TE")
    return get_request(path, method=asked)


@attrs.frozen
class Outcome:
    """What the client got: interim answers, a final one as far as it came, what stands behind it; and both ends."""

    interim: tuple[int, ...] = ()
    status: int = 0
    fields: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    complete: bool = False
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    behind: bytes = b""
    closed: bool = False
    was_reset: bool = False
    kept: bool = False  # the upstream's connection is still open


def outcome(case: AnswerCase, client: End) -> Outcome:
    """Reads what there is of an answer, by the rules alone that the proxy promises to keep."""
    interim: list[int] = []
    left = undated(client.received)
    ends = {"closed": client.ended, "was_reset": client.reset}
    while b"\r\n\r\n" in left:
        head, _, left = left.partition(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        status = int(start.split(b" ")[1])
        if status < 200 and status != SWITCHING:
            interim.append(status)
            continue
        fields = pairs(lines)
        body, complete, left = content(case, status, dict(fields), left, ended=client.ended and not client.reset)
        trailers: tuple[tuple[bytes, bytes], ...] = ()
        if complete and dict(fields).get(b"Transfer-Encoding") == b"chunked" and case.asked != "HEAD":
            trailers, complete, left = trailer_section(left)
        return Outcome(tuple(interim), status, fields, body, complete, trailers, left, **ends)
    assert left == b""
    return Outcome(tuple(interim), **ends)


def pairs(lines: list[bytes]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, value) for name, _, value in (line.partition(b": ") for line in lines))


def trailer_section(left: bytes) -> tuple[tuple[tuple[bytes, bytes], ...], bool, bytes]:
    """The lines behind the last chunk, whether that is all of them, and what stands behind."""
    lines, end, behind = (b"\r\n" + left).partition(b"\r\n\r\n")
    return pairs(lines.split(b"\r\n")[1:]), bool(end), behind


def content(
    case: AnswerCase, status: int, fields: dict[bytes, bytes], left: bytes, *, ended: bool
) -> tuple[bytes, bool, bytes]:
    """Content as far as it came, whether that is all, and what stands behind it."""
    if case.asked == "HEAD" or status in BODILESS:
        return (left, True, b"") if status == SWITCHING else (b"", True, left)
    if b"Content-Length" in fields:
        length = int(fields[b"Content-Length"])
        return left[:length], len(left) >= length, left[length:]
    if fields.get(b"Transfer-Encoding") != b"chunked":
        return left, ended, b""
    body = b""
    while (line := left.partition(b"\r\n"))[1]:
        size = int(line[0], 16)
        if not size:
            return body, True, line[2]
        assert len(line[2]) >= size + 2  # a chunk goes out whole
        body, left = body + line[2][:size], line[2][size + 2 :]
    return body, False, left


@attrs.define(eq=False)
class Upstreams:
    """Finds out who asks; what is answered to `/next` they know themselves."""

    asked: dict[int, End] = attrs.Factory(dict)
    read: dict[End, int] = attrs.Factory(dict)  # octets of those requests that were seen

    def __call__(self, end: End) -> None:
        new = end.received[self.read.get(end, 0) :]
        if end.ended or not (b"\r\n\r\n" in new and new.startswith((b"POST", b"GET", b"HEAD"))):
            return
        if new.startswith(b"POST") and not new.endswith(b"\r\n\r\nhello"):
            return
        self.read[end] = len(end.received)
        match = _TARGET.match(new)
        assert match is not None
        assert new.count(b" HTTP/1.1\r\n") == 1  # one at a time
        if match[1] == b"next":
            end.send(NEXT_ANSWER)
        else:
            self.asked[int(match[1])] = end


async def deliver(running: Stage, upstreams: Upstreams, batch: list[Delivery]) -> list[Outcome]:
    clients = [running.client() for _ in batch]
    for client, delivery in zip(clients, batch, strict=True):
        client.send(question(delivery))
    await running.settle(upstreams)
    ends = [upstreams.asked.pop(delivery.number) for delivery in batch]
    await send_in_step(running, list(zip(ends, batch, strict=True)), upstreams)
    for end, delivery in zip(ends, batch, strict=True):
        if delivery.case.ends == "reset" and not end.ended:
            end.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            end.socket.close()
            running.upstreams.remove(end)
            end.ended = True
        elif delivery.case.ends == "fin":
            end.finish()
    await running.settle(upstreams)
    for client in clients:
        client.look()
    outcomes = [outcome(delivery.case, client) for client, delivery in zip(clients, batch, strict=True)]
    await ask_again(
        running, upstreams, [client for client, each in zip(clients, batch, strict=True) if asks(client, each)]
    )
    for idle in running.proxy.context.idle.values():
        idle.sweep()  # as every second: what came later than the answer's end is found out now, if not on use
    await running.settle(upstreams)
    outcomes = [attrs.evolve(seen, kept=not end.ended) for seen, end in zip(outcomes, ends, strict=True)]
    running.clear(lambda end: end.ended or end in ends)
    await running.settle(upstreams)
    running.clear(lambda end: end.ended)
    return outcomes


def asks(client: End, delivery: Delivery) -> bool:
    """Whether another request may follow, so that it shows whose answer it gets."""
    return not client.ended and delivery.case.expect in {"pass", "refuse502"}


async def ask_again(running: Stage, upstreams: Upstreams, clients: list[End]) -> None:
    """Whatever an upstream sent: the next request of each client gets its own answer, and nothing else."""
    before = [len(client.received) for client in clients]
    for client in clients:
        client.send(NEXT)
    await running.settle(upstreams)
    for client, length in zip(clients, before, strict=True):
        client.look()
        assert undated(client.received[length:]) == NEXT_ANSWER


def judge(case: AnswerCase, seen: Outcome) -> None:
    assert seen.behind == b""
    if case.expect == "refuse502" or (case.expect == "cut" and seen.status == 502):
        assert seen.interim == case.interim
        assert (seen.status, seen.complete, seen.kept) == (502, True, False)
        return
    assert seen.interim == case.interim
    if case.expect == "wait":
        assert not seen.closed and not seen.complete
        assert seen.status in {case.status, 0} and seen.body == case.body
        return
    assert seen.status == case.status
    if case.expect == "cut":
        assert case.body.startswith(seen.body)
        assert seen.closed and not seen.complete and not seen.kept
        assert seen.was_reset or case.asked != "HTTP/1.0"
    else:
        assert (seen.body, seen.complete, seen.trailers) == (case.body, True, case.trailers)
        opened = case.expect == "tunnel" and not case.body.startswith(CLOSE)
        assert seen.kept == (case.kept or opened)
    judge_fields(case, seen)


def judge_fields(case: AnswerCase, seen: Outcome) -> None:
    remaining = iter(seen.fields)
    for field in case.fields:
        assert field in remaining  # consumes up to it: the order counts
    ours = {b"connection", b"upgrade"} if case.expect == "tunnel" else {b"transfer-encoding"}
    ours |= {b"connection"} if (b"Connection", b"close") in seen.fields else set()
    names = {name.lower() for name, _ in seen.fields} - ours
    assert not {name.lower() for name in case.absent} & names
    if case.asked == "HTTP/1.0":
        assert b"transfer-encoding" not in {name.lower() for name, _ in seen.fields}


async def test_every_case_meets_its_reaction_and_the_same_however_it_is_delivered():
    first: dict[str, Outcome] = {}
    upstreams = Upstreams()
    async with proxy_on_stage() as running:
        for batch in batches(deliveries(CASES)):
            for delivery, seen in zip(batch, await deliver(running, upstreams, batch), strict=True):
                try:
                    judge(delivery.case, seen)
                    whole = first.setdefault(delivery.case.name, seen)
                    assert (
                        whole == seen or delivery.case.expect == "cut"
                    )  # how much goes out before the fault may differ
                except AssertionError as error:
                    error.add_note(str(delivery))
                    raise
    assert len(first) == len(CASES)
