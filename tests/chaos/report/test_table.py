"""Proxies side by side, for people."""

from trioproxy.chaos.beside import Entry, Row, Table
from trioproxy.chaos.command import Result
from trioproxy.chaos.expectations import judge
from trioproxy.chaos.records import End, Outcome, Tunnel
from trioproxy.chaos.report.table import lines, markdown, overview
from trioproxy.chaos.scenario import Scenario


def entry(proxy, *tunnels, **more):
    outcome = Outcome(duration=10.0, tunnels=tunnels)
    verdicts = judge({"handshake_success": 1, "cut_without_close": 0}, outcome)
    return Entry(proxy, Result(Scenario(), 1, outcome, verdicts), **more)


GOOD = Tunnel("0-0", 0, 0.0, opened=0.25, ended=9.0, end=End.CLIENT, sent=4, echoed=4)
CUT = Tunnel("1-0", 1, 0.0, opened=0.25, ended=3.0, end=End.CUT, sent=4, echoed=1)
FAILED = Tunnel("1-1", 1, 3.0, failure="status 503", ended=3.1)
ROW = Row(
    "kill-one",
    "One is killed",
    [
        entry("trioproxy", GOOD),
        entry("nginx", GOOD, CUT, FAILED, remarks=("health: has no probes",)),
        Entry("envoy", lacks="threads of one process"),
        Entry("other", failed="it does not start"),
    ],
)
TABLE = Table(0.5, dict.fromkeys(("trioproxy", "nginx", "envoy", "other"), "1.0"), "a machine", [ROW])


def test_one_scenario_has_a_line_for_everything_that_somebody_lost():
    found = list(lines(ROW))
    assert found[0] == "One is killed"
    words = [" ".join(line.split()) for line in found]
    assert words[1] == "trioproxy nginx envoy other"
    assert "handshakes failed 0 1 - -" in words
    assert "handshakes, p99 250 ms 250 ms - -" in words
    assert "longest without a tunnel 0 s 7 s - -" in words
    assert "messages lost 0 3 - -" in words
    assert "tunnels cut without a Close 0 1 - -" in words
    assert "expectations met 2 of 2 0 of 2 no such thing failed" in words
    assert not any(line.startswith("broken messages") for line in words)


def test_below_stands_what_was_not_met_not_done_as_asked_or_not_done_at_all():
    assert list(lines(ROW))[-5:] == [
        "nginx: NOT MET: handshake_success = 1, measured 0.6667 share",
        "nginx: NOT MET: cut_without_close = 0, measured 1",
        "nginx: health: has no probes",
        "envoy: no such thing: threads of one process",
        "other: it does not start",
    ]


def test_the_columns_of_all_scenarios_stand_below_each_other():
    head, row = overview(TABLE)
    assert head.split() == ["trioproxy", "nginx", "envoy", "other"]
    assert row.split("  ")[0] == "kill-one"
    assert len(head) == len(row)


def test_markdown_has_the_table_of_all_and_one_of_each_with_what_was_lost():
    text = markdown(TABLE)
    assert text.startswith("trioproxy 1.0, nginx 1.0, envoy 1.0, other 1.0; a machine; times of the scenarios")
    assert (
        "| [`kill-one`](#kill-one) | 2 of 2 | **0 of 2**<br>1 handshakes failed<br>3 messages lost<br>"
        "1 unharmed tunnels ended<br>1 cut | no such thing | failed |" in text
    )
    assert "### kill-one\n\nOne is killed.\n" in text
    assert "| tunnels cut without a Close | 0 | 1 | - | - |" in text
    assert "- nginx: NOT MET: cut_without_close = 0, measured 1\n" in text
    assert text.endswith("- other: it does not start\n")


def test_what_never_came_back_is_said_in_words():
    vanished = Tunnel("0-0", 0, 0.0, opened=float("inf"), ended=9.0, end=End.CLIENT)
    row = Row("a", "A", [entry("x", vanished)])
    assert any(line.split()[-1] == "never" for line in lines(row))
