"""Numbers of what clients saw."""

import math
import re

import pytest

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.measures import MEASURES, gaps, quantile, shares
from trioproxy.chaos.records import Comparison, End, Outcome, Tunnel
from trioproxy.chaos.timeline import Span


def tunnel(client=0, asked=0.0, opened=0.1, ended=10.0, end=End.CLIENT, **more):
    return Tunnel(f"{client}-{asked}", client, asked, opened=opened, ended=ended, end=end, **more)


def failed(client=0, asked=0.0):
    return Tunnel(f"{client}-{asked}", client, asked, failure="status 503", ended=asked + 0.1)


def measured(name, *tunnels, **more):
    return MEASURES[name].of(Outcome(duration=10.0, tunnels=tunnels, **more))


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.51, 3), (0.75, 3), (0.99, 4), (1.0, 4), (0.0, 1)])
def test_a_quantile_is_the_least_value_that_the_share_does_not_exceed(share, value):
    assert quantile([4, 1, 3, 2], share) == value


def test_a_quantile_of_nothing_is_no_number():
    assert math.isnan(quantile([], 0.5))


def test_handshakes_and_how_many_of_them_succeeded():
    seen = (tunnel(), tunnel(1), tunnel(2), failed(3))
    assert [measured(name, *seen) for name in ("handshakes", "handshake_success", "handshakes_failed", "tunnels")] == [
        4,
        0.75,
        1,
        3,
    ]
    assert math.isnan(measured("handshake_success"))


def test_how_long_handshakes_took():
    seen = [tunnel(number, asked=1.0, opened=1.0 + number / 100) for number in range(1, 101)]
    assert measured("handshake_p50_ms", *seen) == pytest.approx(500)
    assert measured("handshake_p99_ms", *seen) == pytest.approx(990)


def test_failover_is_the_longest_that_a_client_was_without_a_tunnel():
    seen = (
        tunnel(0, ended=3.0, end=End.CUT),
        failed(0, 3.1),
        tunnel(0, asked=4.0, opened=4.5),
        tunnel(1, ended=3.0, end=End.CLOSED),
        tunnel(1, asked=3.1, opened=3.2),
    )
    assert gaps(Outcome(duration=10.0, tunnels=seen)) == [(3.0, 4.5), (3.0, 3.2)]
    assert measured("failover_seconds", *seen) == pytest.approx(1.5)


def test_a_client_that_never_comes_back_is_without_a_tunnel_to_the_end():
    assert measured("failover_seconds", tunnel(ended=4.0, end=End.CUT), failed(0, 4.1)) == 6
    assert measured("failover_seconds", failed(0, 1.0), failed(0, 2.0)) == 9


def test_who_ended_a_tunnel_himself_is_not_without_one():
    assert measured("failover_seconds", tunnel(ended=4.0), tunnel(asked=8.0, opened=8.1)) == 0
    assert measured("failover_seconds", tunnel(ended=10.5, end=End.CUT)) == 0  # behind the end of the load


def test_return_is_the_longest_to_the_first_tunnel_over_an_upstream_that_was_concerned():
    spans = [
        Span(1.0, 3.0, (0, 1), FAULTS["kill"](at=1, lasts=2)),
        Span(1.0, 10.0, (2,), FAULTS["kill"](at=1)),  # to the end: nothing returns
    ]
    seen = (
        tunnel(0, asked=2.0, opened=2.5, upstream=0),
        tunnel(1, asked=3.0, opened=3.5, upstream=0),
        tunnel(2, asked=4.0, opened=5.0, upstream=1),
    )
    assert measured("return_seconds", *seen, spans=spans) == 2.0
    assert measured("return_seconds", *seen[:2], spans=spans) == math.inf  # upstream 1: never
    assert measured("return_seconds", *seen) == 0


def test_losses_of_unharmed_tunnels_are_told_apart():
    seen = (
        tunnel(sent=10, echoed=7, harmed=True, corrupted=2, end=End.CUT),
        tunnel(1, sent=10, echoed=9, corrupted=1, end=End.CLOSED),
        tunnel(2, sent=5, echoed=5, end=End.CUT, duplicated=3, reordered=4),
        failed(3),
    )
    counts = [name for name in MEASURES if not re.search("_ms|share|disagreements", name)]
    assert {name: measured(name, *seen) for name in counts} == {
        "handshakes": 4,
        "handshake_success": 0.75,
        "handshakes_failed": 1,
        "failed_handshake_seconds": 0.1,
        "failover_seconds": 10,
        "return_seconds": 0,
        "tunnels": 3,
        "drained_tunnels_kept": 0,
        "tunnels_during_faults": 0,
        "silence_seconds": 0,
        "messages": 21,
        "lost_messages": 4,
        "lost_messages_on_unharmed_tunnels": 1,
        "duplicated_messages": 3,
        "reordered_messages": 4,
        "corrupted_messages": 3,
        "corrupted_messages_on_unharmed_tunnels": 1,
        "cut_without_close": 2,
        "cut_without_close_on_unharmed_tunnels": 1,
        "tunnels_with_invalid_frames": 0,
        "unharmed_tunnels_ended": 2,
        "ended_at_once": 1,
        "proxy_errors": 0,
    }


def test_round_trips_in_milliseconds():
    slow = tunnel(harmed=True, round_trips=[(1.0, 2.0)])
    quick = tunnel(round_trips=[(1.0, number / 1000) for number in range(1, 11)])
    assert measured("p50_ms", slow, quick) == pytest.approx(6)
    assert measured("p99_ms", slow, quick) == pytest.approx(2000)
    assert measured("p99_ms_on_unharmed_tunnels", slow, quick) == pytest.approx(10)


def test_ended_at_once_is_the_most_within_a_second():
    times = (1.0, 1.5, 1.99, 2.0, 5.0)
    seen = [tunnel(number, ended=time, end=End.CLOSED) for number, time in enumerate(times)]
    assert measured("ended_at_once", *seen, tunnel(9, ended=1.2)) == 0.6
    assert measured("ended_at_once", tunnel()) == 0


def test_shares_are_of_the_tunnels_at_the_end():
    seen = [tunnel(number, upstream=0) for number in range(3)]
    seen += [tunnel(3, upstream=1), tunnel(4, upstream=1, ended=5.0), tunnel(5, upstream=2, ended=None)]
    assert shares(Outcome(duration=10.0, tunnels=seen, upstreams=4)) == [0.6, 0.2, 0.2, 0.0]
    assert measured("least_share", *seen, upstreams=4) == 0
    assert measured("largest_share", *seen, upstreams=4) == 0.6
    assert math.isnan(measured("least_share", upstreams=2))


def test_what_the_proxy_says_of_itself():
    same = Comparison(what="tunnels", proxy=3, least=3, most=3)
    other = Comparison(what="messages_to_client", proxy=3, least=4, most=5)
    assert measured("disagreements", comparisons=[same, other]) == 1
    assert measured("disagreements", comparisons=[same]) == 0
    assert math.isnan(measured("disagreements"))  # nothing told is no agreement
    assert measured("proxy_errors", errors=["internal"], exit_status=1) == 2
    assert measured("proxy_errors", exit_status=None) == 0


def test_each_measure_says_what_it_means():
    assert all(measure.meaning.endswith(".") for measure in MEASURES.values())


def test_tunnels_opened_over_an_upstream_while_a_fault_was_on():
    span = Span(2.0, 5.0, (1,), FAULTS["drain-upstream"](lasts=3))
    seen = [tunnel(upstream=1, opened=opened) for opened in (1.0, 2.9, 3.1, 4.9, 5.1)]
    assert measured("tunnels_during_faults", *seen, tunnel(upstream=0, opened=4.0), spans=[span]) == 2


def test_the_longest_silence():
    assert measured("silence_seconds", tunnel(), tunnel(1, silence=1.5), tunnel(2, silence=0.5)) == 1.5
    assert measured("silence_seconds") == 0


def test_drained_tunnels_that_are_kept_are_those_still_open_at_the_end():
    seen = (
        tunnel(0, opened=1.0, ended=10.0, upstream=0),
        tunnel(1, opened=1.0, ended=6.0, upstream=0),
        tunnel(2, opened=1.0, ended=None, end=None, upstream=0),
        tunnel(3, opened=1.0, upstream=1),
        tunnel(4, opened=5.0, upstream=0),
        failed(5),
    )
    drain = Span(4.0, 8.0, (0,), FAULTS["drain-upstream"]())
    assert measured("drained_tunnels_kept", *seen, spans=[drain]) == 2
    assert measured("drained_tunnels_kept", *seen, spans=[Span(4.0, 8.0, (0,), FAULTS["kill"]())]) == 0
