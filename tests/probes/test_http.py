"""What passes the http probe, and what each bad peer is told apart as."""

from __future__ import annotations

import pytest
from support.probing import answers, probe_against, read_head

from trioproxy.config import HealthConfig
from trioproxy.errors import ProxyError
from trioproxy.probes.http import probe_http
from trioproxy.probes.result import ProbeFailed, ProbeResult, judge


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the close",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_an_expected_status_is_a_pass(autojump_clock, answer):
    assert await probe_against(probe_http, HealthConfig(probe="http"), answers(answer))


async def test_the_request_is_as_configured(autojump_clock):
    seen = []

    async def script(stream):
        seen.append(await read_head(stream))
        await stream.send_all(b"HTTP/1.1 401 Unauthorized\r\n\r\n")

    health = HealthConfig(
        probe="http", path="/healthz?deep=1", headers={"X-Probe": "1", "accept": "text/plain"}, expect=(401,)
    )
    assert await probe_against(probe_http, health, script)
    (head,) = seen
    assert head.startswith(b"GET /healthz?deep=1 HTTP/1.1\r\nHost: chat.internal:3000\r\n")
    assert b"\r\nX-Probe: 1\r\n" in head
    assert b"text/plain\r\n" in head
    assert b"*/*" not in head
    assert b"\r\nConnection: close\r\n" in head


async def test_another_status_is_a_failure(autojump_clock):
    with pytest.raises(ProbeFailed, match="answered 500") as raised:
        await probe_against(probe_http, HealthConfig(), answers(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"))
    assert raised.value.result is ProbeResult.STATUS


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"", ProbeResult.CLOSED),
        (b"HTTP/1.1 200 O", ProbeResult.CLOSED),
        (b"220 mail.example ESMTP\r\n", ProbeResult.INVALID),
        (b"\x16\x03\x01\x02\x00\x01\x00", ProbeResult.INVALID),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", ProbeResult.INVALID),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, ProbeResult.INVALID),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, ProbeResult.INVALID),
    ],
)
async def test_a_bad_answer_is_a_failure_of_its_kind(autojump_clock, answer, result):
    with pytest.raises(ProxyError) as raised:
        await probe_against(probe_http, HealthConfig(), answers(answer, then_close=True))
    failure = judge(raised.value)
    assert failure is not None
    assert failure.result is result


async def test_a_silent_peer_is_left_to_the_time_limit(autojump_clock):
    assert not await probe_against(probe_http, HealthConfig(), answers(b""))
