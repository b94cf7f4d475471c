"""Which lines a record makes, and what is never in them."""

from __future__ import annotations

import pytest
from support.counts import FakeTunnel

from trioproxy.access_log import log_end, log_tunnel_open
from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.logs import Log
from trioproxy.record import Record

HIDDEN = {"event", "level", "timestamp"}


def fields(log):
    (event,) = log.events
    return {key: value for key, value in event.items() if key not in HIDDEN}


@pytest.fixture
def log():
    return Log.memory()


@pytest.fixture
def record():
    return Record(
        id="7",
        client="192.0.2.1",
        listener="public",
        route="chat",
        pool="backend",
        upstream="192.0.2.9:3000",
        kind="websocket",
        method="GET",
        path="/ws",
        host="example.com",
        user_agent="curl/8",
        origin="https://example.com",
        status=101,
        subprotocol="chat.v1",
        attempts=1,
        head_s=0.00012345678,
        connect_s=0.001,
        handshake_s=0.002,
    )


OPENED = {
    "id": "7",
    "client": "192.0.2.1",
    "listener": "public",
    "route": "chat",
    "pool": "backend",
    "upstream": "192.0.2.9:3000",
    "method": "GET",
    "path": "/ws",
    "host": "example.com",
    "user_agent": "curl/8",
    "origin": "https://example.com",
    "status": 101,
    "subprotocol": "chat.v1",
    "attempts": 1,
    "head_s": 0.000123,
    "connect_s": 0.001,
    "handshake_s": 0.002,
}


def test_a_tunnel_that_opens_says_who_leads_where(log, record):
    log_tunnel_open(log, record)
    assert log.events[0]["event"] == "tunnel_open"
    assert fields(log) == OPENED


def test_a_tunnel_that_ends_says_what_passed_and_why_it_ended(log, record):
    record.tunnel = tunnel = FakeTunnel()
    tunnel.to_upstream.frames = 4
    tunnel.to_upstream.messages, tunnel.to_upstream.bytes, tunnel.to_upstream.close_code = 3, 70, 4001
    record.duration_s = 12.3456789
    record.ending = Ending(Source.CLIENT, Phase.CLOSE, Reason.DONE)
    log_end(log, record)
    assert log.events[0]["event"] == "tunnel_end"
    assert fields(log) == OPENED | {
        "duration_s": 12.345679,
        "frames_to_upstream": 4,
        "messages_to_upstream": 3,
        "bytes_to_upstream": 70,
        "frames_to_client": 0,
        "messages_to_client": 0,
        "bytes_to_client": 0,
        "close_code": 4001,
        "ended_by": "client",
        "phase": "close",
        "reason": "done",
    }


def test_a_tunnel_that_was_cut_has_no_close_code(log, record):
    record.tunnel = FakeTunnel()
    record.ending = Ending(Source.UPSTREAM, Phase.TUNNEL, Reason.RESET)
    log_end(log, record)
    assert "close_code" not in log.events[0]


def test_a_request_that_came_to_nothing_has_only_what_is_known(log):
    ending = Ending(Source.CLIENT, Phase.HEAD, Reason.INVALID, "no Host")
    log_end(log, Record(id="8", client="192.0.2.1", listener="public", status=400, duration_s=0.5, ending=ending))
    assert log.events[0]["event"] == "request"
    assert fields(log) == {
        "id": "8",
        "client": "192.0.2.1",
        "listener": "public",
        "status": 400,
        "duration_s": 0.5,
        "ended_by": "client",
        "phase": "head",
        "reason": "invalid",
        "detail": "no Host",
    }


def test_a_record_without_an_ending_still_has_a_line(log, record):
    log_end(log, record)
    record.tunnel = FakeTunnel()
    log_end(log, record)
    assert [event["event"] for event in log.events] == ["request", "tunnel_end"]


def test_nothing_is_logged_where_access_is_off(log, record):
    log.access = False
    log_tunnel_open(log, record)
    log_end(log, record)
    assert log.events == []


def test_a_client_cannot_make_a_line_as_long_as_its_head(log, record):
    record.user_agent = record.path = "x" * 30_000
    log_end(log, record)
    assert len(log.events[0]["user_agent"]) == len(log.events[0]["path"]) == 1025
