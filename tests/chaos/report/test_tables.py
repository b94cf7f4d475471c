"""The tables of a report."""

import math
from xml.etree import ElementTree as ET

from support.chaos_runs import one_killed

from trioproxy.chaos.expectations import Verdict
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.records import Comparison, End, Outcome, Tunnel
from trioproxy.chaos.report import tables


def rows(markup):
    found = ET.fromstring(markup)
    return [["".join(cell.itertext()) for cell in row] for row in found.find("tbody")]


def test_what_was_expected_with_the_failed_ones_first():
    verdicts = [
        Verdict("handshake_success", 1, 1),
        Verdict("max_failover_seconds", 3, 4.25),
        Verdict("min_tunnels", 5, math.nan),
    ]
    found = rows(tables.expectations(verdicts))
    assert [row[:4] for row in found] == [
        ["not met", "failover_seconds", "at most 3 s", "4.25 s"],
        ["not met", "tunnels", "at least 5", "not measured"],
        ["met", "handshake_success", "exactly 1", "1"],
    ]
    assert found[1][4] == MEASURES["tunnels"].meaning
    assert "expects nothing" in tables.expectations([])


def test_every_measure_with_its_unit_and_meaning():
    found = {row[0]: row[1:] for row in rows(tables.measures(one_killed()))}
    assert found.keys() == MEASURES.keys()
    assert found["p50_ms"][0] == "2 ms"
    assert found["failover_seconds"] == ["1 s", MEASURES["failover_seconds"].meaning]
    assert found["handshake_success"][0] == "0.857"


def test_how_tunnels_ended():
    ends = [
        (End.CLIENT, None),
        (End.CLOSED, 1012),
        (End.CLOSED, 4321),
        (End.CLOSED, None),
        (End.CUT, None),
        (None, None),
    ]
    tunnels = [Tunnel(f"{at}-0", at, 0, opened=0.1, end=end, code=code) for at, (end, code) in enumerate(ends)]
    tunnels.append(Tunnel("9-0", 9, 0, opened=0.1, end=End.CLIENT))
    assert rows(tables.endings(Outcome(duration=1.0, tunnels=tunnels))) == [
        ["by the client, politely", "2"],
        ["Close 1012, service restart", "1"],
        ["Close 4321", "1"],
        ["Close without a code", "1"],
        ["cut: the other side was gone without a Close (1006)", "1"],
        ["open to the last", "1"],
    ]
    assert "No tunnel was opened." in tables.endings(Outcome(duration=1.0, tunnels=[]))


def test_why_handshakes_failed():
    why = ["status 503", "status 503", "status 999", "timeout", ""]
    tunnels = [Tunnel(f"{at}-0", at, 0, failure=each) for at, each in enumerate(why)]
    assert rows(tables.failures(Outcome(duration=1.0, tunnels=tunnels))) == [
        ["status 503 Service Unavailable", "2"],
        ["status 999", "1"],
        ["timeout", "1"],
        ["unknown", "1"],
    ]
    assert "None did." in tables.failures(Outcome(duration=1.0, tunnels=[]))


def test_very_many_reasons_are_told_together():
    tunnels = [Tunnel(f"{at}-0", at, 0, failure=f"reason {at} {'x' * 9999}") for at in range(70)]
    found = rows(tables.failures(Outcome(duration=1.0, tunnels=tunnels)))
    assert (len(found), found[-1]) == (51, ["20 others", "20"])
    assert len(found[0][0]) == 300


def test_the_proxy_s_numbers_beside_the_clients():
    found = [
        Comparison(what="tunnels", proxy=1234, least=1234, most=1234),
        Comparison(what="messages_to_client", proxy=9, least=7, most=8),
    ]
    assert rows(tables.comparisons(found)) == [
        ["agree", "tunnels", "1,234", "1,234"],
        ["disagree", "messages to client", "9", "7 to 8"],
    ]
    assert "nothing that could be compared" in tables.comparisons([])
