"""Every request of the corpus, given to the request parser in every way it can be cut."""

from __future__ import annotations

import pytest
from support.corpus import CORPUS, Case, Reading, load_cases, parse_case
from support.http_parsing import Outcome, bytewise, every_cut, read_requests

from trioproxy.config import RouteConfig
from trioproxy.errors import ProxyError
from trioproxy.rewriting import upstream_fields
from trioproxy.upgrade import UPGRADE_FIELDS
from trioproxy.wire.http1 import Data, RequestHead
from trioproxy.wire.websocket import check_request

CASES = load_cases()
ROUTE = RouteConfig(path="/", pool="all")


def served(outcome: Outcome) -> tuple[list[Reading], int | None]:
    """The requests read to their end, up to the last of the connection, and the status of what is refused behind them."""
    complete: list[Reading] = []
    head, body = None, b""
    for event in outcome.events:
        if isinstance(event, RequestHead):
            head, body = event, b""
            if head.upgrade:
                try:
                    check_request(head)
                except ProxyError as error:
                    return complete, error.status
        elif isinstance(event, Data):
            body = event.data
        if head is not None and (event is head) == head.upgrade and not isinstance(event, Data):
            complete.append(Reading(head.method, head.target, body))
            if head.version == b"1.0":
                return complete, None
    return complete, outcome.status


def forwarded(head: RequestHead) -> list[tuple[bytes, bytes]]:
    framing = UPGRADE_FIELDS if head.upgrade else ()
    how = {"client": "192.0.2.1", "scheme": "http", "trusted": False, "via": "trioproxy", "upstream": "10.0.0.1:80"}
    return [(field.name, field.value) for field in upstream_fields(head, ROUTE, framing=framing, **how)]


def judge(case: Case, outcome: Outcome) -> None:
    read, status = served(outcome)
    assert case.expect == "either" or read == list(case.readings)
    if case.expect == "forward":
        assert (status is not None) == (case.rejected_after and not case.half_close)
        fields = iter(forwarded(outcome.heads[0]))
        for field in case.fields:
            assert field in fields  # consumes up to it: the order counts
    elif case.expect == "reject400":
        assert case.half_close or status in range(400, 600)
        assert case.status in {None, status}
    for head in outcome.heads:
        fields = forwarded(head)
        assert not {name.lower() for name in case.absent} & {name.lower() for name, _ in fields}
        assert not any(octet in value for _, value in fields for octet in b"\r\n\0")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_meets_its_reaction_however_it_is_delivered(case):
    whole = read_requests([case.raw])
    judge(case, whole)
    assert read_requests(bytewise(case.raw)) == whole
    for pieces in every_cut(case.raw):
        assert read_requests(pieces) == whole


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
        (b"expect: forward\nwhy: x\nthen: forward\n\n", "x: then: forward is none of reject400"),
        (b"expect: forward\nwhy: x\nreads: GET\n\n", "x: reads: 'GET' is not"),
        (b"expect: forward\nwhy: x\nfield: X\n\n", "x: field: 'X' is not"),
        (b"expect: forward\nwhy: x\n\n\\q", "unknown escape"),
    ],
)
def test_a_file_that_is_no_case_is_named_with_its_fault(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_case("x", text)
