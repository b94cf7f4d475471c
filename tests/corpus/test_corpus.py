"""Every case of the corpus, given to the request parser in every way it can be cut."""

from __future__ import annotations

import pytest
from support.corpus import CORPUS, Case, Reading, load_cases, parse_case
from support.http_parsing import Outcome, bytewise, read_requests

from trioproxy.wire.http1 import Data, RequestHead

CASES = load_cases()

FEW_CUTS = 40


def readings(outcome: Outcome) -> list[Reading]:
    """The requests read to their end; of an upgrade that is its head."""
    complete: list[Reading] = []
    head, body = None, b""
    for event in outcome.events:
        if isinstance(event, RequestHead):
            head, body = event, b""
        elif isinstance(event, Data):
            body = event.data
        if head is not None and (event is head) == head.upgrade and not isinstance(event, Data):
            complete.append(Reading(head.method, head.target, body))
    return complete


def cuts(raw: bytes) -> range:
    return range(1, len(raw), max(1, len(raw) // FEW_CUTS) if len(raw) > 1000 else 1)


def judge(case: Case, outcome: Outcome) -> None:
    read = readings(outcome)
    if case.expect == "forward":
        assert read == list(case.readings)
        assert (outcome.status is not None) == case.rejected_after
        forwarded = iter([(field.name, field.value) for field in outcome.heads[0].headers.end_to_end()])
        for field in case.fields:
            assert field in forwarded  # consumes up to it: the order counts
    elif case.expect == "reject400":
        assert read == list(case.readings)
        assert case.half_close or outcome.status in range(400, 600)
    for head in outcome.heads:
        assert not any(octet in value for _, value in head.headers for octet in b"\r\n\0")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_meets_its_reaction_however_it_is_delivered(case):
    whole = read_requests([case.raw])
    judge(case, whole)
    assert read_requests(bytewise(case.raw)) == whole
    for cut in cuts(case.raw):
        assert read_requests([case.raw[:cut], case.raw[cut:]]) == whole


def test_every_file_of_the_corpus_is_a_case():
    assert len(CASES) == len(list((CORPUS / "http").iterdir()))


def test_every_case_to_forward_says_what_it_must_be_read_as():
    assert not [case.name for case in CASES if case.expect == "forward" and not case.readings]


def test_the_bytes_of_a_case_are_its_lines_without_their_ends():
    case = parse_case("x", b"expect: either\nwhy: because\n\nGET /\\x20\\r\n\\n\n\\\\")
    assert case.raw == b"GET / \r\n\\"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"expect: either\nwhy: x\n", "x: no blank line"),
        (b"expect: maybe\nwhy: x\n\n", "x: expect: maybe is none of"),
        (b"why: x\n\n", "x: 0 lines of expect:"),
        (b"expect: either\nexpect: forward\nwhy: x\n\n", "x: 2 lines of expect:"),
        (b"colour: red\n\n", "x: 'colour: red' is no key"),
        (b"then: forward\n\n", "x: then: can only be reject400"),
        (b"expect: forward\nwhy: x\nreads: GET\n\n", "x: reads: 'GET' is not"),
        (b"expect: forward\nwhy: x\nfield: X\n\n", "x: field: 'X' is not"),
        (b"expect: forward\nwhy: x\n\n\\q", "unknown escape"),
    ],
)
def test_a_file_that_is_no_case_is_named_with_its_fault(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_case("x", text)
