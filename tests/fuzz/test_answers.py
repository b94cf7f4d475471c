"""Generated and mutated answers of an upstream through a whole proxy, to two clients that share its kept connections.

Each answer carries a token of the request it was sent for. Whatever an upstream sends, no client may see another's token,
and what it sees h11, llhttp and a strict reading of the RFC take for one answer: the upstream's, a 502, or one that is
visibly cut short.
"""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import strategies as st
from support.fuzz import try_each
from support.http_messages import Message, answers, cut, mutated
from support.second_opinions import h11_response, llhttp_responses
from support.stage import End, Stage, stage
from support.strict_http import Fields, Response, Rest, end_to_end, passing_trailers, read_requests, read_response

pytestmark = pytest.mark.fuzz

SHARE = 0.3  # of the examples that must be valid by construction
TOKENS = [b"tok-%08x-" % (number * 0x9E3779B1 % 2**32) for number in range(1, 4)]  # no mutation makes one of another
REQUESTS = {
    b"GET": b"GET /%b HTTP/1.1\r\nHost: a.test\r\n%b\r\n",
    b"HEAD": b"HEAD /%b HTTP/1.1\r\nHost: a.test\r\n%b\r\n",
    b"POST": b"POST /%b HTTP/1.1\r\nHost: a.test\r\n%bContent-Length: 3\r\n\r\nabc",
}
TE = b"TE: trailers\r\nConnection: TE\r\n"
SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n@@@@@hello",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX-Token: @\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: @\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: @\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello @",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n\x81\x00@",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\nETag: @\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nX-Token: @\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: X-A, close\r\nX-A: @\r\n\r\n!",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n@",
]


@attrs.frozen
class Turn:
    """One exchange: which client asks, how, and what the upstream sends; with `message` that is valid by construction."""

    client: int
    method: bytes
    wanted: bool  # the trailers
    token: bytes
    pieces: list[bytes]
    message: Message | None

    @property
    def raw(self) -> bytes:
        return b"".join(self.pieces)


@st.composite
def turns(draw, token: bytes, *, valid: bool) -> Turn:
    method = draw(st.sampled_from((b"GET", b"GET", b"HEAD", b"POST")))
    message = draw(answers(method, token)) if valid else None
    if message is not None:
        raw = message.raw
    else:
        seeds = st.one_of(st.sampled_from(SEEDS), answers(method, b"@").map(lambda answer: answer.raw))
        raw = draw(mutated(seeds)).replace(b"@", token)
    return Turn(draw(st.integers(0, 1)), method, draw(st.booleans()), token, draw(cut(raw)), message)


@st.composite
def conversations(draw) -> list[Turn]:
    """Up to three exchanges; in half of the conversations all answers are valid."""
    valid = draw(st.booleans())
    count = draw(st.integers(2, 3))
    return [draw(turns(token, valid=valid or draw(st.booleans()))) for token in TOKENS[:count]]


@attrs.define(eq=False)
class Upstream:
    """Answers each whole request with the pieces of the turn; a connection that sent too much must get no other."""

    turn: Turn
    waiting: list[End] = attrs.Factory(list)
    spoilt: set[End] = attrs.Factory(set)

    def __call__(self, end: End) -> None:
        found, _ = read_requests(end.received)
        assert not (end in self.spoilt and len(found) > end.answered)
        for request in found[end.answered :]:
            assert (request.target, request.wants_trailers) == (b"/" + self.turn.token, self.turn.wanted)
            self.waiting.append(end)
        end.answered = len(found)

    async def play(self, stage: Stage) -> None:
        """Answer until nobody asks any more, and end what is still open then."""
        await stage.settle(self)
        for _ in range(5):
            if not self.waiting:
                return
            end = self.waiting.pop()
            for piece in self.turn.pieces:
                end.send(piece)
                await stage.settle(self)
            answer, rest, _ = read_response(self.turn.raw, self.turn.method, ended=False)
            if answer is None:
                end.finish()
            if answer is None or rest is Rest.UNREAD:
                self.spoilt.add(end)
            await stage.settle(self)
        raise AssertionError("asked again and again")


async def converse(stage: Stage, conversation: list[Turn]) -> None:
    clients: list[End | None] = [None, None]
    upstream = Upstream(conversation[0])
    try:
        for turn in conversation:
            client = clients[turn.client]
            if client is None or client.ended:
                client = clients[turn.client] = stage.client()
            client.received = b""
            client.send(REQUESTS[turn.method] % (turn.token, TE if turn.wanted else b""))
            upstream.turn = turn
            await upstream.play(stage)
            client.look()
            judge(turn, client)
    finally:
        stage.clear(lambda _: True)
        await stage.settle()


def judge(turn: Turn, client: End) -> None:
    got = client.received
    assert not [token for token in TOKENS if token != turn.token and token in got]
    meant, _, _ = read_response(turn.raw, turn.method, ended=True)
    seen, rest, behind = read_response(got, turn.method, ended=False)
    assert not behind
    if seen is None:  # cut short, and the client can see that
        assert rest is Rest.CUT
        assert client.ended
        assert meant is None or not meant.sure
        assert got
        return
    assert seen.sure
    assert turn.wanted or not seen.trailers
    assert h11_response(got, turn.method) == seen.key
    if turn.method != b"HEAD":
        assert llhttp_responses(got)[-1] == seen.key
    refused = seen.status == 502 and seen.body in {b"502 Bad Gateway\n", b""} and not token_in(seen, turn)
    if meant is None or meant.status == 101:
        assert refused
    elif not refused or meant.sure:
        judge_answer(meant, seen)
        assert seen.trailers == (without_forwarded(passing_trailers(meant)) if turn.wanted else ())
        if turn.message is not None:
            judge_meaning(turn.message, seen)
            assert seen.trailers == (turn.message.trailers if turn.wanted else ())


def token_in(seen: Response, turn: Turn) -> bool:
    return turn.token in seen.body or any(turn.token in value for _, value in (*seen.fields, *seen.trailers))


def without_forwarded(trailers: Fields) -> Fields:
    """Who asked is nothing that an upstream has to tell."""
    ours = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded"}
    return tuple(pair for pair in trailers if pair[0].lower().replace(b"_", b"-") not in ours)


def judge_answer(meant: Response, seen: Response) -> None:
    """Nothing gets lost but what is hop-by-hop, and nothing comes in but framing."""
    assert (seen.status, seen.reason, seen.body, seen.interim) == (
        meant.status,
        meant.reason,
        meant.body,
        meant.interim,
    )
    wanted = [pair for pair in end_to_end(meant.fields) if meant.status != 204 or pair[0].lower() != b"content-length"]
    came = [pair for pair in seen.fields if pair not in {(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked")}]
    if not [name for name, _ in meant.fields if name.lower() == b"date"]:
        came = [pair for pair in came if pair[0] != b"Date"]  # which the proxy must say then (RFC 9110 §6.6.1)
    if meant.status == 426:
        came = [pair for pair in came if pair[0].lower() not in {b"connection", b"upgrade"}]
    assert came == wanted


def judge_meaning(message: Message, seen: Response) -> None:
    """What is valid by construction arrives as it was meant."""
    assert (b"%d" % seen.status, seen.reason, seen.body) == (*message.start, message.body)
    assert [pair for pair in seen.fields if pair[0] not in {b"Connection", b"Transfer-Encoding", b"Date"}] == list(
        message.fields
    )


async def test_no_client_sees_anything_but_its_own_answer():
    counts: Counter[str] = Counter()
    async with stage() as running:

        async def exercise(conversation: list[Turn]) -> None:
            await converse(running, conversation)
            counts["examples"] += 1
            counts["valid"] += all(turn.message is not None for turn in conversation)
            counts["answers"] += len(conversation)

        await try_each(conversations(), 500, exercise)
    print(dict(counts))  # noqa: T201 -- for who runs it deep, with -s
    assert counts["valid"] >= SHARE * counts["examples"]
