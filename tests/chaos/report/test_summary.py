"""A run in lines for people."""

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.records import Comparison, End, Outcome, Tunnel
from trioproxy.chaos.report import summary

TUNNELS = [
    Tunnel("0-0", 0, 0.0, opened=0.25, ended=9.0, end=End.CLIENT, sent=4, echoed=4),
    Tunnel("1-0", 1, 0.0, opened=0.25, ended=3.0, end=End.CLOSED, code=1011, sent=4, echoed=3),
    Tunnel("1-1", 1, 3.0, opened=3.25, ended=4.0, end=End.CLOSED),
    Tunnel("1-2", 1, 4.0, failure="status 503"),
]


def lines(**more):
    outcome = Outcome(duration=10.0, tunnels=TUNNELS, **more)
    return list(summary(outcome, judge({"max_lost_messages": 0, "tunnels": 3}, outcome)))


def test_measures_come_first_and_those_of_nothing_are_left_out():
    found = lines()
    assert "handshakes                                        4" in found
    assert "handshake_success                              0.75 share" in found
    assert not any(line.startswith("p99_ms") for line in found)


def test_how_tunnels_failed_and_were_closed():
    assert "handshakes that failed: 1 x status 503" in lines()
    assert "Close codes from the other side: 1 x 1011, 1 x none" in lines()


def test_what_the_proxy_says_of_the_same():
    comparisons = [
        Comparison(what="tunnels", proxy=3, least=3, most=3),
        Comparison(what="messages_to_client", proxy=9, least=7, most=8),
    ]
    found = lines(comparisons=comparisons, errors=[f"Traceback {number}" for number in range(9)], exit_status=1)
    assert "proxy and clients: agree on tunnels: 3, by the clients 3" in found
    assert "proxy and clients: DISAGREE on messages_to_client: 9, by the clients 7 to 8" in found
    assert sum(line.startswith("in the proxy's log: Traceback") for line in found) == 5
    assert "the proxy ended with status 1" in found


def test_verdicts_are_the_last_word_and_those_not_met_the_very_last():
    assert lines()[-2:] == ["met: tunnels = 3, measured 3", "NOT MET: lost_messages <= 0, measured 1"]
