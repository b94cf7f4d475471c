"""Failures with their consequences."""

import pytest

from trioproxy.errors import Ending, Phase, ProxyError, Reason, Source


def test_a_failure_says_who_when_why_and_the_detail() -> None:
    error = ProxyError(Source.UPSTREAM, Phase.CONNECT, Reason.REFUSED, 503, "127.0.0.1:1: refused", retryable=True)
    assert str(error) == "upstream connect refused: 127.0.0.1:1: refused"
    assert str(ProxyError(Source.CLIENT, Phase.HEAD, Reason.TIMEOUT, 408)) == "client head timeout"


def test_a_failure_is_the_ending_of_its_connection_without_status_and_retry() -> None:
    error = ProxyError(Source.CLIENT, Phase.HEAD, Reason.INVALID, 400, "no colon")
    assert error.ending == Ending(Source.CLIENT, Phase.HEAD, Reason.INVALID, "no colon")


def test_two_equal_failures_are_two_failures() -> None:
    assert ProxyError(Source.CLIENT, Phase.HEAD, Reason.INVALID, 400) != ProxyError(
        Source.CLIENT, Phase.HEAD, Reason.INVALID, 400
    )


def test_a_failure_can_be_raised_with_a_cause() -> None:
    cause = ConnectionResetError()
    with pytest.raises(ProxyError) as caught:
        raise ProxyError(Source.UPSTREAM, Phase.RESPONSE, Reason.RESET, 502) from cause
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("names", [Source, Phase, Reason])
def test_the_closed_sets_are_fit_for_labels(names: type[Source] | type[Phase] | type[Reason]) -> None:
    assert all(member.value.replace("_", "").isalpha() and member.value.islower() for member in names)


def test_what_was_injected_is_told_as_the_proxys_doing() -> None:
    real = Ending(Source.UPSTREAM, Phase.TUNNEL, Reason.TIMEOUT, "no Pong")
    assert real.told is real
    error = ProxyError(Source.UPSTREAM, Phase.HANDSHAKE, Reason.RESET, 502, injected=True)
    assert error.ending == Ending(Source.UPSTREAM, Phase.HANDSHAKE, Reason.RESET, injected=True)
    assert error.ending.told == Ending(Source.PROXY, Phase.HANDSHAKE, Reason.CHAOS, "as by upstream: reset")
    silent = Ending(Source.UPSTREAM, Phase.TUNNEL, Reason.TIMEOUT, "no Pong", injected=True)
    assert silent.told == Ending(Source.PROXY, Phase.TUNNEL, Reason.CHAOS, "as by upstream: timeout, no Pong")
