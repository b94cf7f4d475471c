"""What a proxy did with a case, in a word: it did what it should, or forwarded, changed or refused what it should not.

Pure. The upstream's and the client's bytes are read by the strict reading alone.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs
from support.strict_http import Fields, Response, Rest, read_requests, read_response

if TYPE_CHECKING:
    from beside.exchange import Outcome
    from support.corpus import AnswerCase, Case

GATEWAY_ERRORS = frozenset({500, 502, 503, 504})
MOST_SHOWN = 24  # octets of a target or body


class Verdict(Enum):
    """How a case ended."""

    RIGHT = "right"
    FORWARDED = "forwarded"  # the upstream got a whole request that must be refused, or one that is none
    CHANGED = "changed"  # another request or answer than was meant
    REFUSED = "refused"  # though it is valid
    PASSED = "passed"  # the client got as a whole answer what is none


FAULTS = frozenset({Verdict.FORWARDED, Verdict.CHANGED, Verdict.PASSED})


@attrs.define
class Arrived:
    """All that upstreams got."""

    requests: list[tuple[bytes, bytes, bytes]] = attrs.Factory(list)
    fields: list[Fields] = attrs.Factory(list)
    unclean: bool = False

    @classmethod
    def of(cls, outcome: Outcome) -> Arrived:
        arrived = cls()
        for raw in outcome.upstream:
            found, rest = read_requests(raw)
            arrived.requests += [request.key for request in found]
            arrived.fields += [request.fields for request in found]
            arrived.unclean = arrived.unclean or rest is Rest.WRONG
        return arrived

    def describe(self) -> str:
        shown = [_request(*key) for key in self.requests] + ["what is no request"] * self.unclean
        return ", ".join(shown)


def judge_request(case: Case, outcome: Outcome) -> tuple[Verdict, str]:
    """The verdict, and what the upstream has seen."""
    arrived = Arrived.of(outcome)
    seen = arrived.describe()
    meant = [(r.method, r.target, r.body) for r in case.readings if r.target != b"*"]
    if arrived.unclean:
        verdict = Verdict.FORWARDED
    elif case.expect == "either":
        verdict = Verdict.RIGHT
    elif len(arrived.requests) > len(meant):
        refusable = case.expect == "reject400" or case.rejected_after
        verdict = Verdict.FORWARDED if refusable else Verdict.CHANGED
    elif case.expect == "reject400":
        verdict = Verdict.RIGHT
    elif len(arrived.requests) < len(meant):
        verdict, seen = Verdict.REFUSED, _status(outcome.client)
    elif arrived.requests != meant:
        verdict = Verdict.CHANGED
    else:
        stayed = [name.decode() for name in case.absent if _has(arrived.fields, name)]
        verdict = Verdict.FORWARDED if stayed else Verdict.RIGHT
        seen += " with " + ", ".join(stayed) if stayed else ""
    return verdict, seen


def judge_answer(case: AnswerCase, outcome: Outcome) -> tuple[Verdict, str]:
    """The same for an answer: what the client has seen."""
    method = b"HEAD" if case.asked == "HEAD" else b"GET"
    answer, rest, behind = read_response(outcome.client, method, ended=outcome.closed)
    if rest is Rest.WRONG:
        return Verdict.PASSED, "what is no answer"
    if answer is None:
        complete = case.expect in {"pass", "tunnel"}
        return Verdict.REFUSED if complete else Verdict.RIGHT, "a part" if outcome.client else "nothing"
    seen = f"{answer.status} {_text(answer.body)}" + (" and more behind it" if behind and answer.status != 101 else "")
    if case.expect == "tunnel":
        return Verdict.RIGHT if answer.status == 101 else Verdict.REFUSED, seen
    if case.expect == "pass":
        return _judge_valid(case, answer, behind), seen
    return Verdict.RIGHT if answer.status in GATEWAY_ERRORS else Verdict.PASSED, seen


def _judge_valid(case: AnswerCase, answer: Response, behind: bytes) -> Verdict:
    if behind:
        return Verdict.PASSED
    if (answer.status, answer.body) == (case.status, case.body):
        return Verdict.RIGHT
    return Verdict.REFUSED if answer.status in GATEWAY_ERRORS else Verdict.CHANGED


def _has(requests: list[Fields], name: bytes) -> bool:
    return any(name.lower() == field.lower() for fields in requests for field, _ in fields)


def _request(method: bytes, target: bytes, body: bytes) -> str:
    return f"{_text(method)} {_text(target)}" + (f" with {_text(body)}" if body else "")


def _text(raw: bytes) -> str:
    text = raw[:MOST_SHOWN].decode("latin-1").encode("unicode_escape").decode("ascii")
    return text + ("…" if len(raw) > MOST_SHOWN else "")


def _status(client: bytes) -> str:
    return client[9:12].decode("latin-1") if client.startswith(b"HTTP/1.") else "no answer"
