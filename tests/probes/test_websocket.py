"""What passes the websocket probe, and what each bad peer is told apart as."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples
from support.probing import (
    PATIENCE,
    answers,
    echo_pongs,
    pongs,
    probe_against,
    read_head,
    switching_protocols,
    upgrades,
)

from trioproxy.config import HealthConfig
from trioproxy.probes.result import ProbeFailed, ProbeResult
from trioproxy.probes.websocket import MAX_BYTES, probe_websocket

HEALTH = HealthConfig(probe="websocket")
TEXT_FRAME = b"\x81\x05hello"


async def result_of(script, health=HEALTH) -> tuple[ProbeResult, str]:
    with pytest.raises(ProbeFailed) as raised:
        await probe_against(probe_websocket, health, script)
    return raised.value.result, raised.value.detail


async def test_upgrade_pong_and_close_are_a_pass(autojump_clock):
    start = trio.current_time()
    assert await probe_against(probe_websocket, HEALTH, echo_pongs)
    assert trio.current_time() == start


async def test_the_request_is_as_configured(autojump_clock):
    seen = []

    async def script(stream):
        seen.append(await read_head(stream))
        await stream.send_all(switching_protocols(seen[0], b"Sec-WebSocket-Protocol: chat.v2\r\n"))
        await pongs(stream)

    health = HealthConfig(
        probe="websocket", path="/ws?probe=1", subprotocol="chat.v2", headers={"Origin": "https://a.example"}
    )
    assert await probe_against(probe_websocket, health, script)
    assert seen[0].startswith(b"GET /ws?probe=1 HTTP/1.1\r\nHost: chat.internal:3000\r\n")
    assert b"\r\nSec-WebSocket-Protocol: chat.v2\r\n" in seen[0]
    assert b"\r\nOrigin: https://a.example\r\n" in seen[0]


async def test_a_peer_that_greets_with_many_messages_passes(autojump_clock):
    async def script(stream):
        await stream.send_all(switching_protocols(await read_head(stream)) + TEXT_FRAME * 500)
        await pongs(stream)

    assert await probe_against(probe_websocket, HEALTH, script)


@pytest.mark.parametrize("goodbye", ["silence", "end", "nonsense", "flood", "reset"])
async def test_once_the_pong_has_come_a_bad_close_fails_nothing(autojump_clock, goodbye):
    async def script(stream):
        await stream.send_all(switching_protocols(await read_head(stream)))
        ping = await stream.receive_some()
        plain = bytes(octet ^ ping[2 + index % 4] for index, octet in enumerate(ping[6:]))
        await stream.send_all(bytes((0x8A, len(plain))) + plain)
        if goodbye == "nonsense":
            await stream.send_all(b"\xff\xff\xff\xff")
        while goodbye == "flood":
            await stream.send_all(b"\x82\x7e\x40\x00" + bytes(0x4000))
        if goodbye == "reset":
            await stream.receive_some()
            stream.receive_stream.close()
            stream.send_stream.close()
        if goodbye == "end":
            await stream.aclose()
        await trio.sleep_forever()

    start = trio.current_time()
    assert await probe_against(probe_websocket, HEALTH, script)
    assert trio.current_time() - start <= PATIENCE / 2


@pytest.mark.parametrize("then_close", [False, True])
@pytest.mark.parametrize(
    ("answer", "result", "detail"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ProbeResult.STATUS, "answered 404"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", ProbeResult.STATUS, "answered 200"),
        (b"HTTP/1.0 503 Later\r\nContent-Length: 9999999\r\n\r\n", ProbeResult.STATUS, "answered 503"),
        (b"220 mail.example ESMTP\r\n\r\n", ProbeResult.INVALID, "Bad HTTP message"),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", ProbeResult.INVALID, "Bad HTTP message"),
        (b"HTTP/1.1 101 x\r\nX: " + b"x" * 100_000, ProbeResult.INVALID, "Bad HTTP message"),
        (
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
            ProbeResult.INVALID,
            "Bad accept token",
        ),
        (b"HTTP/1.1 101 x\r\n\r\n", ProbeResult.INVALID, "Missing header, 'Connection: Upgrade'"),
    ],
)
async def test_a_bad_answer_is_a_failure_of_its_kind(autojump_clock, answer, result, detail, then_close):
    assert await result_of(answers(answer, then_close=then_close)) == (result, detail)


async def test_a_status_that_comes_octet_by_octet_is_still_a_status(autojump_clock):
    async def script(stream):
        await read_head(stream)
        for octet in b"HTTP/1.1 403 Forbidden\r\n":
            await stream.send_all(bytes((octet,)))

    assert await result_of(script) == (ProbeResult.STATUS, "answered 403")


@pytest.mark.parametrize(
    ("extra", "detail"),
    [
        (b"Sec-WebSocket-Protocol: chat\r\n", "unrecognized subprotocol"),
        (b"Sec-WebSocket-Protocol: \xff\r\n", "UnicodeDecodeError"),
        (b"Sec-WebSocket-Extensions: permessage-deflate\r\n", "unrecognized extension"),
        (b"Connection: \xff\xff\r\n", ""),
    ],
)
async def test_a_101_that_agrees_to_what_nobody_offered_is_invalid(autojump_clock, extra, detail):
    result, why = await result_of(upgrades(b"", extra=extra))
    assert result is ProbeResult.INVALID
    assert detail in why and "chat" not in why and "deflate" not in why


async def test_a_subprotocol_that_is_not_agreed_to_is_invalid(autojump_clock):
    health = HealthConfig(probe="websocket", subprotocol="chat.v2")
    assert await result_of(echo_pongs, health) == (ProbeResult.INVALID, "did not agree to the subprotocol chat.v2")


async def test_a_peer_that_closes_at_once_has_not_answered(autojump_clock):
    async def script(stream):
        await stream.aclose()

    result, detail = await result_of(script)
    assert result in {ProbeResult.CLOSED, ProbeResult.RESET}
    assert detail in {"closed without an answer", "the connection broke before its pong"}


@pytest.mark.parametrize("then_close", [False, True])
@pytest.mark.parametrize(
    ("frames", "result", "detail"),
    [
        (b"\x88\x00", ProbeResult.CLOSED, "closed with 1005 before its pong"),
        (b"\x88\x02\x03\xf3", ProbeResult.CLOSED, "closed with 1011 before its pong"),
        (b"\xff\xff\xff\xff", ProbeResult.INVALID, "1002 "),
        (b"\x81\x02\xff\xff", ProbeResult.INVALID, "1007 "),
    ],
)
async def test_a_bad_frame_instead_of_a_pong_is_a_failure_at_once(autojump_clock, frames, result, detail, then_close):
    async def script(stream):
        await stream.send_all(switching_protocols(await read_head(stream)))
        await stream.receive_some()
        await stream.send_all(frames)
        if then_close:
            await stream.send_eof()
        await trio.sleep_forever()

    failure = await result_of(script)
    assert failure[0] is result
    assert failure[1].startswith(detail)


async def test_a_close_right_behind_the_101_is_a_failure(autojump_clock):
    assert await result_of(upgrades(b"\x88\x00")) == (ProbeResult.CLOSED, "closed with 1005 before its pong")


async def test_an_end_instead_of_a_pong_is_a_failure(autojump_clock):
    async def script(stream):
        await stream.send_all(switching_protocols(await read_head(stream)))
        await stream.receive_some()
        await stream.send_eof()

    assert await result_of(script) == (ProbeResult.CLOSED, "closed before its pong")


async def test_more_bytes_than_anybody_greets_with_are_invalid(autojump_clock):
    async def script(stream):
        await stream.send_all(switching_protocols(await read_head(stream)))
        while True:
            await stream.send_all(b"\x82\x7e\x40\x00" + bytes(0x4000))

    assert await result_of(script) == (ProbeResult.INVALID, f"sent more than {MAX_BYTES} bytes")


@pytest.mark.parametrize("script", [answers(b""), upgrades(b""), answers(b"HTTP/1.1 101 "), upgrades(b"\x8a\x04nope")])
async def test_a_peer_that_stays_silent_is_left_to_the_time_limit(autojump_clock, script):
    assert not await probe_against(probe_websocket, HEALTH, script)


async def test_a_bug_of_ours_is_not_blamed_on_the_upstream(autojump_clock):
    health = HealthConfig(probe="websocket", path=1)
    with pytest.raises(ExceptionGroup) as raised:
        await probe_against(probe_websocket, health, echo_pongs)
    assert raised.group_contains(AttributeError)


@given(garbage=st.binary(max_size=300), upgraded=st.booleans(), then_close=st.booleans())
@examples(150)
def test_no_garbage_gets_anything_but_a_verdict_out_of_the_probe(garbage, upgraded, then_close):
    async def run() -> ProbeFailed | None:
        peer = upgrades if upgraded else answers
        try:
            await probe_against(probe_websocket, HEALTH, peer(garbage, then_close=then_close))
        except ProbeFailed as failure:
            return failure
        return None

    failure = trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))
    if failure:
        assert failure.result in {ProbeResult.INVALID, ProbeResult.CLOSED, ProbeResult.RESET, ProbeResult.STATUS}
        assert failure.detail
