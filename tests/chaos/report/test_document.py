"""A run as JSON."""

import json

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.records import Comparison, End, Outcome, Sample, Tunnel
from trioproxy.chaos.report import document
from trioproxy.chaos.timeline import Span

TUNNEL = Tunnel("0-0", 0, 0.0, opened=0.25, ended=9.0, end=End.CLOSED, code=1011, sent=4, echoed=3, harmed=True)
TUNNEL.round_trips.append((1.23456789, 0.00123456))
OUTCOME = Outcome(
    duration=10.0,
    tunnels=[TUNNEL, Tunnel("1-0", 1, 0.0, failure="timeout")],
    spans=[Span(1.0, 2.0, (0,), FAULTS["kill"](lasts=1.0))],
    happened=[Span(1.0, 2.25, (0,), FAULTS["kill"]())],
    comparisons=[Comparison(what="tunnels", proxy=1, least=1, most=2)],
    samples=[Sample(1.5, 3)],
    exit_status=0,
)


def told(**expect):
    return json.loads(json.dumps(document("Words", 7, OUTCOME, judge(expect, OUTCOME)), allow_nan=False))


def test_everything_that_is_known():
    found = told(max_lost_messages=1)
    assert (found["format"], found["title"], found["seed"], found["passed"], found["duration"]) == (
        1,
        "Words",
        7,
        True,
        10,
    )
    assert found["expectations"] == [{"name": "max_lost_messages", "wanted": 1, "measured": 1, "held": True}]
    assert found["measures"].keys() == MEASURES.keys()
    assert found["measures"]["lost_messages"] == {"value": 1, "unit": ""}
    assert found["faults"] == [{"fault": "kill", "begin": 1, "end": 2, "upstreams": [0]}]
    assert found["happened"] == [{"fault": "kill", "begin": 1, "end": 2.25, "upstreams": [0]}]
    assert found["comparisons"] == [{"what": "tunnels", "proxy": 1, "least": 1, "most": 2, "agree": True}]
    assert found["samples"] == [{"time": 1.5, "open_tunnels": 3}]
    assert found["proxy"] == {"exit_status": 0, "errors": []}
    closed, failed = found["tunnels"]
    assert (closed["end"], closed["code"], closed["harmed"]) == ("closed", 1011, True)
    assert closed["round_trips"] == [[1.234568, 0.001235]]
    assert (failed["end"], failed["code"], failed["failure"]) == (None, None, "timeout")


def test_what_could_not_be_measured_is_null_and_not_met():
    found = told(max_least_share=1)
    assert found["passed"] is False
    assert found["expectations"][0]["measured"] is None
    assert found["measures"]["least_share"]["value"] is None
    assert told(max_return_seconds=1)["expectations"][0]["measured"] is None
