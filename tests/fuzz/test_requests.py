"""Generated and mutated requests through a whole proxy, judged by h11, llhttp and a strict reading of the RFC.

What may differ between two careful readers is left to the proxy, but whatever it forwards all three must read alike.
"""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from hypothesis import strategies as st
from support.corpus import load_cases
from support.fuzz import try_each
from support.http_messages import Message, cut, mutated, requests
from support.second_opinions import h11_requests, llhttp_requests
from support.stage import End, Stage, stage
from support.strict_http import Request, Rest, end_to_end, read_requests, read_response, split_requests

pytestmark = pytest.mark.fuzz

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SEEDS = [case.raw for case in load_cases() if len(case.raw) < 2000]
SHARE = 0.3  # of the examples that must be valid by construction
OURS = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded"}
HOP_OF_AN_UPGRADE = {b"connection", b"upgrade"}
TE = [(b"TE", b"trailers"), (b"Connection", b"TE")]  # what goes on of a request for trailers


@attrs.frozen
class Example:
    """Bytes in pieces; with `messages` they are valid by construction, and this is what they mean."""

    pieces: list[bytes]
    messages: tuple[Message, ...] = ()

    @property
    def raw(self) -> bytes:
        return b"".join(self.pieces)


@st.composite
def valid_examples(draw) -> Example:
    messages = draw(st.lists(requests(), min_size=1, max_size=3))
    raw = b"".join(message.raw for message in messages)
    return Example(draw(cut(raw)), tuple(messages))


@st.composite
def mutated_examples(draw) -> Example:
    fresh = requests().map(lambda message: message.raw)
    raw = draw(mutated(st.one_of(st.sampled_from(SEEDS), fresh)))
    if draw(st.integers(0, 3)) == 0:
        raw += draw(st.sampled_from(SEEDS))
    return Example(draw(cut(raw)))


EXAMPLES = st.one_of(valid_examples(), valid_examples(), mutated_examples(), mutated_examples())


@attrs.define(eq=False)
class Seen:
    """What both sides of the proxy saw of one example."""

    arrived: list[Request] = attrs.Factory(list)  # whole at the upstream, in order
    answers: bytes = b""  # all that came before the client's FIN
    closed: bool = False  # and whether the proxy had closed by then
    last_words: bytes = b""  # what came behind it
    unfinished: list[bytes] = attrs.Factory(list)  # what upstreams have got of requests that never became whole


class Player:
    """The upstream: it answers each whole request at once, and has h11 and llhttp read along."""

    def __init__(self) -> None:
        self.arrived: list[Request] = []

    def __call__(self, end: End) -> None:
        found, rest = read_requests(end.received)
        keys = [request.key for request in found]
        if found and found[-1].upgrade:
            assert end.received.endswith(b"\r\n\r\n")  # nothing follows before a 101
        else:
            assert rest in {Rest.NOTHING, Rest.CUT}
        assert h11_requests(end.received) == keys
        assert llhttp_requests(end.received) == keys
        for request in found[end.answered :]:
            self.arrived.append(request)
            end.send(FINE)
        end.answered = len(found)


async def deliver(stage: Stage, pieces: list[bytes]) -> Seen:
    """Send the pieces one by one, each when the one before has gone as far as it goes; then FIN."""
    player, client, seen = Player(), stage.client(), Seen()
    try:
        for piece in pieces:
            client.send(piece)
            await stage.settle(player)
        client.look()
        seen.answers, seen.closed = client.received, client.ended
        client.finish()
        await stage.settle(player)
        client.look()
        assert client.ended
        assert not client.reset
        seen.last_words = client.received[len(seen.answers) :]
    finally:
        stage.clear(lambda end: end.ended)
        await stage.settle(player)
        seen.arrived = player.arrived
        for end in stage.upstreams:
            _, rest, part = split_requests(end.received)
            if rest is Rest.CUT:
                seen.unfinished.append(part)
                assert end.ended  # it must not be used again
            end.received, end.answered = b"", 0
        stage.clear(lambda end: end.ended)
    return seen


def statuses(answers: bytes, methods: list[bytes]) -> list[int]:
    """The final answers to requests of these methods, and perhaps one to something else."""
    found = []
    methods = [*methods, b"GET"]
    while answers:
        method = methods[len(found)]
        answer, rest, behind = read_response(answers, method, ended=False)
        if answer is None and len(found) == len(methods) - 1:  # a HEAD that was refused
            answer, rest, behind = read_response(answers, b"HEAD", ended=False)
        assert answer is not None, (rest, answers)
        found.append(answer.status)
        answers = behind
    return found


def judge(raw: bytes, seen: Seen) -> None:
    meant, rest, part = split_requests(raw)
    for number, request in enumerate(meant, 1):
        if request.target == b"*" and (
            request.chunked or request.body
        ):  # the proxy's to answer, and it reads no content
            meant, rest = meant[:number], Rest.UNREAD
            break
    forwardable = [request for request in meant if request.target != b"*"]
    count = len(seen.arrived)
    assert [request.key for request in seen.arrived] == [request.key for request in forwardable[:count]]
    for request, own in zip(forwardable, seen.arrived, strict=False):
        judge_fields(request, own)
    for part in seen.unfinished:
        judge_octets(raw, part)

    all_answers = statuses(seen.answers + seen.last_words, [request.method for request in meant])
    if len(all_answers) > len(meant) and all_answers[-1] == 204 and part.lstrip(b"\r\n").startswith(b"OPTIONS "):
        all_answers.pop()  # the same, and the content is not all there
        rest = Rest.UNREAD
    good = [status for status in all_answers if status < 400]
    error = all_answers[len(good) :]
    served = meant[: len(good)]
    assert [status < 300 for status in good] == [True] * len(good)
    assert len(error) <= 1
    assert len([request for request in served if request.target != b"*"]) == count
    assert all(not request.sure for request in meant[len(good) : len(good) + 1])
    if len(good) < len(meant) or rest in {Rest.WRONG, Rest.CUT}:
        assert error
    elif rest is not Rest.EMPTY:
        assert not error
        assert not seen.last_words
    if error and not seen.last_words:
        assert seen.closed
    if rest is Rest.UNREAD:
        assert seen.closed


def judge_fields(request: Request, arrived: Request) -> None:
    """Nothing gets lost but what is hop-by-hop, and nothing comes in but what the proxy says of itself."""
    dropped = (
        OURS
        | {b"host"}
        | {name.lower() for name, _ in request.fields if is_ours(name)}
        | ({b"expect"} if request.version == b"1.0" else set())
    )
    wanted = [pair for pair in end_to_end(request.fields) if pair[0].lower() not in dropped]
    if request.upgrade:
        dropped = dropped | HOP_OF_AN_UPGRADE
    came = [pair for pair in arrived.fields if pair[0].lower() not in dropped | {b"transfer-encoding"}]
    if request.wants_trailers:
        assert came[-2:] == TE
        del came[-2:]
    assert not arrived.trailers
    assert came.pop() == (b"Via", request.version + b" trioproxy")
    assert came == wanted
    assert arrived.chunked == request.chunked
    hosts = [value for name, value in arrived.fields if name.lower() == b"host"]
    assert len(hosts) == 1
    assert not request.host or hosts == [request.host]
    ours = {name.lower(): value for name, value in arrived.fields if is_ours(name)}
    assert ours.pop(b"x-forwarded-for") == ours.pop(b"x-real-ip") == b"127.0.0.1"
    assert ours.pop(b"x-forwarded-proto") == b"http"
    assert ours.pop(b"x-forwarded-host", b"") == request.host
    assert not ours


def is_ours(name: bytes) -> bool:
    """Whether it says who asked, to servers that know no `_` from `-` too."""
    return name.lower().replace(b"_", b"-") in OURS


def judge_octets(raw: bytes, part: bytes) -> None:
    """Of a request that never became whole the upstream has got no line the client did not send."""
    start, *lines = part.partition(b"\r\n\r\n")[0].split(b"\r\n")
    method, target, _ = start.split(b" ")
    assert method in raw
    assert target.removeprefix(b"/") in raw  # which an absolute target may lack
    for line in lines:
        name, _, value = line.partition(b": ")
        known = name.lower() in OURS | {b"via", b"host", b"transfer-encoding"} or (name, value) in TE
        assert known or (name in raw and value in raw)


def judge_meaning(example: Example, seen: Seen) -> None:
    """What is valid by construction arrives as it was meant."""
    assert len(seen.arrived) == len(example.messages)
    for message, request in zip(example.messages, seen.arrived, strict=True):
        assert (request.method, request.target) == message.start
        assert request.body == message.body
        ours = OURS | {b"via", b"transfer-encoding"}
        came = [pair for pair in request.fields if pair[0].lower() not in ours and pair not in TE]
        assert came == list(message.fields)


async def test_one_request_that_all_read_alike_is_forwarded_or_an_error_answered():
    counts: Counter[str] = Counter()
    async with stage() as running:

        async def exercise(example: Example) -> None:
            seen = await deliver(running, example.pieces)
            judge(example.raw, seen)
            if example.messages:
                judge_meaning(example, seen)
            counts["examples"] += 1
            counts["valid"] += bool(example.messages)
            counts["requests"] += len(seen.arrived)

        await try_each(EXAMPLES, 1000, exercise)
    print(dict(counts))  # noqa: T201 -- for who runs it deep, with -s
    assert counts["valid"] >= SHARE * counts["examples"]


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
async def test_the_judges_agree_about_the_corpus(case):
    async with stage() as running:
        judge(case.raw, await deliver(running, [case.raw]))
