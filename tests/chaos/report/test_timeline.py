"""The charts of a report."""

import re
from xml.etree import ElementTree as ET

from support.chaos_runs import one_killed

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.records import Outcome, Tunnel
from trioproxy.chaos.report.chart import Shape
from trioproxy.chaos.report.markup import element
from trioproxy.chaos.report.timeline import charts, timeline
from trioproxy.chaos.series import series
from trioproxy.chaos.timeline import Span


def charts_of(outcome):
    return {chart.name: chart for chart in charts(series(outcome), outcome)}


def lanes(spans):
    root = ET.fromstring(element("main", timeline(Outcome(duration=10.0, tunnels=[], happened=spans))))
    return [each.find("p") for each in root.iter("div") if each.get("class") == "lane"]


def test_every_question_has_its_chart():
    assert list(charts_of(one_killed())) == [
        "Open tunnels",
        "Handshakes",
        "Handshake time",
        "Messages",
        "Round trip",
        "Messages lost",
        "Tunnels ended by the other side",
        "Handshakes that failed",
    ]


def test_what_never_happened_has_none():
    assert list(charts_of(Outcome(duration=10.0, tunnels=[]))) == [
        "Open tunnels",
        "Handshakes",
        "Handshake time",
        "Messages",
        "Round trip",
    ]


def test_tunnels_of_each_upstream_and_clients_without_with_the_proxy_s_own_count_over_it():
    chart = charts_of(one_killed())["Open tunnels"]
    assert [layer.name for layer in chart.layers] == ["upstream 0", "upstream 1", "without a tunnel"]
    assert [layer.values[45] for layer in chart.layers] == [3, 0, 1]
    assert chart.dashed[1] == (1.0, 4)
    assert chart.shape is Shape.AREAS


def test_rates_are_a_second_and_losses_are_counted():
    found = charts_of(one_killed())
    assert max(found["Messages"].layers[0].values) == 40
    assert sum(found["Messages lost"].layers[0].values) == 1
    assert {layer.name: sum(layer.values) for layer in found["Tunnels ended by the other side"].layers} == {
        "1011": 1,
        "cut": 1,
    }
    assert [layer.name for layer in found["Handshakes that failed"].layers] == ["status 503"]
    assert [layer.name for layer in found["Round trip"].layers] == ["p50", "p99"]


def test_more_kinds_than_colours_are_told_together():
    tunnels = [Tunnel(f"{number}-0", number, 0.0, opened=0.1, upstream=number) for number in range(20)]
    layers = charts_of(Outcome(duration=10.0, tunnels=[*tunnels, Tunnel("x", 21, 0.0, opened=0.1)]))[
        "Open tunnels"
    ].layers
    assert [layer.name for layer in layers][5:] == ["upstream 5", "15 others", "without a tunnel"]
    assert (layers[6].values[50], layers[6].kind) == (15, "s6")


def test_each_fault_has_a_lane_that_says_what_whom_and_when():
    kill, stop = FAULTS["kill"](at=1), FAULTS["stop"](at=7)
    spans = [Span(1.0, 2.0, (0,), kill), Span(3.0, 4.0, (2,), kill), Span(7.0, 9.04, (1,), stop)]
    spans.append(Span(8.0, 8.01, (), FAULTS["reload"](at=8)))
    assert [lane.text for lane in lanes(spans)] == [
        "kill, upstream 0, 2: 1 s to 2 s, 2 times",
        "stop, upstream 1: 7 s to 9 s",
        "reload: at 8 s",
    ]
    assert [re.match(r"[a-z-]+", lane.get("style"))[0] for lane in lanes(spans)] == [
        "margin-left",
        "margin-right",
        "margin-right",
    ]


def test_a_scenario_of_very_many_faults_has_some_of_them_named():
    assert len(lanes([Span(1.0, 2.0, (0,), FAULTS["kill"]()) for _ in range(60)])) == 40
    assert "and 20 more" in timeline(
        Outcome(duration=10.0, tunnels=[], happened=[Span(1.0, 2.0, (0,), FAULTS["kill"]()) for _ in range(60)])
    )


def test_a_run_without_faults_says_so():
    assert "No fault was let loose." in timeline(Outcome(duration=10.0, tunnels=[]))
