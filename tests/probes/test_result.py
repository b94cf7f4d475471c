"""Exceptions become verdicts."""

from __future__ import annotations

import pytest
import trio

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.probes.result import MAX_DETAIL_CHARS, ProbeFailed, ProbeResult, judge
from trioproxy.tls.layer import TlsError


@pytest.mark.parametrize(
    ("reason", "result"),
    [
        (Reason.REFUSED, "refused"),
        (Reason.UNREACHABLE, "unreachable"),
        (Reason.TIMEOUT, "timeout"),
        (Reason.RESET, "reset"),
        (Reason.CLOSED, "closed"),
        (Reason.INVALID, "invalid"),
        (Reason.TOO_LARGE, "invalid"),
        (Reason.TLS, "tls"),
    ],
)
def test_what_an_upstream_did_is_its_failure(reason, result):
    failure = judge(ProxyError(Source.UPSTREAM, Phase.CONNECT, reason, 502, "why"))
    assert failure is not None
    assert (failure.result, failure.detail) == (result, "why")


def test_what_this_machine_lacks_is_no_failure_of_the_upstream():
    failure = judge(ProxyError(Source.PROXY, Phase.CONNECT, Reason.OVERLOADED, 503))
    assert failure is not None
    assert failure.result is ProbeResult.SKIPPED


def test_a_broken_connection_is_a_reset():
    failure = judge(trio.BrokenResourceError())
    assert failure is not None
    assert failure.result is ProbeResult.RESET


def test_a_connection_that_tls_breaks_is_told_in_its_words():
    error = trio.BrokenResourceError()
    error.__cause__ = TlsError("tlsv13 alert certificate required")
    failure = judge(error)
    assert failure is not None
    assert str(failure) == "tls: tlsv13 alert certificate required"


def test_a_probe_s_own_verdict_stands():
    failure = ProbeFailed(ProbeResult.STATUS, "answered 500")
    assert judge(failure) is failure
    assert str(failure) == "status: answered 500"


def test_anything_else_is_a_bug():
    assert judge(KeyError("x")) is None


def test_a_detail_has_a_bound():
    failure = judge(ProxyError(Source.UPSTREAM, Phase.RESPONSE, Reason.INVALID, 502, "x" * 10_000))
    assert failure is not None
    assert len(failure.detail) == MAX_DETAIL_CHARS
