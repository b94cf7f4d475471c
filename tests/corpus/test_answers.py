"""Every answer of the corpus, given to the answer parser in every way it can be cut."""

from __future__ import annotations

import pytest
from support.corpus import CORPUS, AnswerCase, load_answers, parse_answer
from support.frames import upgrade_request
from support.http_parsing import Outcome, bytewise, every_cut, read_answer, read_requests

from trioproxy.errors import ProxyError
from trioproxy.rewriting import client_fields, client_trailers
from trioproxy.wire.http1 import BodyKind, EndOfMessage, ResponseHead
from trioproxy.wire.websocket import check_response

CASES = load_answers()

OFFERED = ("Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Extensions: permessage-deflate")
REQUEST = read_requests([upgrade_request("/", *OFFERED)]).heads[0]
SWITCHING = 101


def read(case: AnswerCase, pieces: list[bytes] | tuple[bytes, ...]) -> Outcome:
    method = b"HEAD" if case.asked == "HEAD" else b"GET"
    return read_answer(pieces, method=method, eof=case.ends == "fin")


def is_refused(case: AnswerCase, outcome: Outcome) -> bool:
    """Whether the parser, or who has asked, takes it for no answer before anything of it is passed on."""
    final = final_head(outcome)
    if final is None or final.status != SWITCHING:
        return final is None and (outcome.status is not None or case.ends == "reset")
    if case.asked != "websocket":
        return True
    try:
        check_response(final, REQUEST)
    except ProxyError:
        return True
    return False


def final_head(outcome: Outcome) -> ResponseHead | None:
    return next((head for head in outcome.heads if not head.interim), None)


def judge(case: AnswerCase, outcome: Outcome) -> None:
    final = final_head(outcome)
    interim = [head.status for head in outcome.heads if head.interim][: len(case.interim)]
    assert case.asked == "HTTP/1.0" or interim == list(case.interim)
    assert is_refused(case, outcome) == (case.expect == "refuse502")
    if case.expect in {"refuse502", "wait"}:
        assert not outcome.complete
        return
    assert final is not None and final.status == case.status
    assert case.expect == "tunnel" or case.body.startswith(outcome.body)
    judge_fields(case, final)
    if case.expect == "cut":
        assert not outcome.complete and (outcome.status is not None or case.ends == "reset")
    elif case.expect == "pass":
        assert outcome.complete and outcome.body == case.body
        if case.asked == "trailers":
            assert passed_trailers(final, outcome) == list(case.trailers)
        reusable = final.keep_alive and final.body is not BodyKind.UNTIL_CLOSE and not outcome.rest
        expected = reusable and case.ends == "open" and case.asked not in {"HTTP/1.0", "websocket"}
        assert case.kept == expected


def passed_trailers(final: ResponseHead, outcome: Outcome) -> list[tuple[bytes, bytes]]:
    end = outcome.events[-1]
    assert isinstance(end, EndOfMessage)
    return [(field.name, field.value) for field in client_trailers(final, end.trailers)]


def judge_fields(case: AnswerCase, final: ResponseHead) -> None:
    passed = [(field.name, field.value) for field in client_fields(final, close=False)]
    remaining = iter(passed)
    for field in case.fields:
        assert field in remaining  # consumes up to it: the order counts
    if final.status not in {SWITCHING, 426}:  # they say Connection and Upgrade, and have their own tests
        assert not {name.lower() for name in case.absent} & {name.lower() for name, _ in passed}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_meets_its_reaction_however_it_is_delivered(case):
    whole = read(case, [case.raw])
    judge(case, whole)
    assert read(case, bytewise(case.raw)) == whole
    for pieces in every_cut(case.raw):
        assert read(case, pieces) == whole


def test_every_file_of_the_corpus_is_a_case():
    assert len(CASES) == len(list((CORPUS / "answers").iterdir()))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"expect: forward\nwhy: x\ngets: 200\n\n", "x: expect: forward is none of"),
        (b"expect: pass\nwhy: x\n\n", "x: gets: what the client gets is said of every answer but"),
        (b"expect: refuse502\nwhy: x\ngets: 502\n\n", "x: gets: what the client gets is said of every answer but"),
        (b"expect: pass\nwhy: x\ngets: 200\nto: PATCH\n\n", "x: to: PATCH is none of"),
        (b"expect: pass\nwhy: x\ngets: 200\nends: soon\n\n", "x: ends: soon is none of"),
        (b"expect: pass\nwhy: x\ngets: 200\nkept: perhaps\n\n", "x: kept: perhaps is none of"),
        (b"expect: pass\nwhy: x\nreads: GET /\n\n", "x: 'reads: GET /' is no key"),
    ],
)
def test_a_file_that_is_no_case_is_named_with_its_fault(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_answer("x", text)
