"""The comparison itself: what it calls a fault and what not, the tables it writes, and a few cases through our own proxy."""

from __future__ import annotations

import socket

import pytest
from beside.exchange import Between, Outcome
from beside.table import BEGIN, END, put, tables
from beside.verdicts import Verdict, judge_answer, judge_request
from support.corpus import load_answers, load_cases

from bench.peers import PEERS, start

CASES = {case.name: case for case in load_cases()}
ANSWERS = {case.name: case for case in load_answers()}
GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: a\nb\r\n\r\n"


@pytest.mark.parametrize(
    ("case", "upstream", "client", "verdict"),
    [
        ("ok-get", [GET], b"HTTP/1.1 200 OK\r\n", (Verdict.RIGHT, "GET /")),
        ("ok-get", [], b"HTTP/1.1 400 Bad Request\r\n", (Verdict.REFUSED, "400")),
        ("ok-get", [GET.replace(b"/ ", b"/x ")], b"", (Verdict.CHANGED, "GET /x")),
        ("ok-get", [GET, GET], b"", (Verdict.CHANGED, "GET /, GET /")),
        ("ho-missing", [], b"HTTP/1.1 400 Bad Request\r\n", (Verdict.RIGHT, "")),
        ("ho-missing", [GET], b"HTTP/1.1 200 OK\r\n", (Verdict.FORWARDED, "GET /")),
        ("ho-missing", [GET[:-2]], b"", (Verdict.RIGHT, "")),  # begun, never completed
        ("le-bare-lf-one-field", [GET], b"", (Verdict.RIGHT, "GET /")),  # repaired
        ("le-bare-lf-one-field", [BAD], b"", (Verdict.FORWARDED, "what is no request")),
    ],
)
def test_what_an_upstream_got_is_judged_by_what_the_case_says(case, upstream, client, verdict):
    assert judge_request(CASES[case], Outcome(tuple(upstream), client, closed=True)) == verdict


@pytest.mark.parametrize(
    ("case", "client", "verdict"),
    [
        ("ck-data-short", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Verdict.RIGHT),
        ("ck-data-short", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Verdict.RIGHT),
        ("ck-data-short", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell", Verdict.PASSED),
        ("ck-data-short", b"HTTP/1.1 200 OK\r\nX\0: y\r\n\r\n", Verdict.PASSED),
        ("ck-data-holds-last-chunk", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", Verdict.RIGHT),
        ("ck-data-holds-last-chunk", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0", Verdict.CHANGED),
        ("ck-data-holds-last-chunk", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0\r\n\r\n0", Verdict.PASSED),
        ("ck-data-holds-last-chunk", b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", Verdict.REFUSED),
        ("ck-data-holds-last-chunk", b"", Verdict.REFUSED),
    ],
)
def test_what_a_client_got_is_judged_by_what_the_case_says(case, client, verdict):
    assert judge_answer(ANSWERS[case], Outcome((), client, closed=True))[0] is verdict


def test_only_who_is_at_fault_has_a_column_and_only_faults_a_row(tmp_path):
    found = {
        "ours": {"a": (Verdict.RIGHT, ""), "b": (Verdict.RIGHT, "")},
        "theirs": {"a": (Verdict.FORWARDED, "GET |"), "b": (Verdict.RIGHT, "")},
    }
    text = tables({"ours": "1", "theirs": "2"}, found, {"ours": {}, "theirs": {}}, {"a": "because"})
    assert "| requests forwarded, or changed, that must be refused (of 2) | 0 | 1 |\n" in text
    assert "| case | rule | theirs |\n|---|---|---|\n| `a` | because | forwards: GET \\| |\n\n" in text
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}behind\n")
    put(page, text)
    put(page, text)
    assert page.read_text() == f"before\n{BEGIN}\n{text}\n{END}behind\n"


def test_a_few_cases_through_a_running_proxy(tmp_path):
    peer = next(peer for peer in PEERS if peer.name == "trioproxy")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = start(peer, upstream=listener.getsockname()[1], folder=tmp_path, cpus=None, access_log="without")
        try:
            between = Between(listener, ("127.0.0.1", running.port))
            for name in ("ok-get", "ok-post-chunked", "ho-missing", "eof-mid-request-line"):
                case = CASES[name]
                outcome = between.send_request(case.raw, expected=len(case.readings), half_close=case.half_close)
                assert judge_request(case, outcome)[0] is Verdict.RIGHT, (name, outcome)
                assert outcome.client
            for name, verdict in (("ck-data-short", Verdict.RIGHT), ("ck-data-holds-last-chunk", Verdict.RIGHT)):
                outcome = between.send_answer(GET, ANSWERS[name].raw, ends=ANSWERS[name].ends)
                assert judge_answer(ANSWERS[name], outcome)[0] is verdict, (name, outcome)
        finally:
            running.process.stop()
