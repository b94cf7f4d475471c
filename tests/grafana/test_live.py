"""A real Prometheus scrapes real proxies under a known load: what dashboard and alerts ask for is there, and is right."""

from __future__ import annotations

import re
import subprocess
from collections import Counter

import pytest
from support.dashboards import annotation_queries, chosen, dashboard, panel_queries
from support.ledger import Ledger
from support.live_run import FIRING, live_run
from support.panel_values import EXPECTED, upstreams_of
from support.prometheus import program
from support.rules import rules, selectors, sides

from trioproxy.metrics import ALL_METRICS, Kind

pytestmark = pytest.mark.slow
QUERIES = list(panel_queries())
RULES = list(rules())
ANNOTATIONS = list(annotation_queries())
each_query = pytest.mark.parametrize("asked", QUERIES, ids=[asked.where for asked in QUERIES])
each_annotation = pytest.mark.parametrize("asked", ANNOTATIONS, ids=[asked.where for asked in ANNOTATIONS])
each_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
each_part = pytest.mark.parametrize("name", ["one", "two", "again"])
each_proxy = pytest.mark.parametrize("name", ["one", "two"])
# Counters whose steps nobody but the proxy can count; what they show is bounded by `panel_values`.
OF_ITS_OWN = {"accept_failures_total", "log_lines_dropped_total", "probes_total", "worker_cpu_seconds_total"}
# What this load brings about in the course of it, besides what it waits for.
ALSO_FIRING = {
    "TrioproxyNoHandshakeSucceeds",
    "TrioproxyServerErrors",
    "TrioproxyUpstreamEjected",
    "TrioproxyUpstreamsFull",
}
# What it does not, or not always. That they fire when they should is tested by promtool.
QUIET = {
    "TrioproxyRestarting": "no process is started twice",
    "TrioproxyPoolDegraded": "of two upstreams one is half",
    "TrioproxyUpstreamFlapping": "an upstream goes down once",
    "TrioproxyProbesFailing": "how many probes there are depends on how long it takes",
    "TrioproxyHandshakesFailing": "too few in five minutes",
    "TrioproxyHandshakeSlow": "upstreams answer at once",
    "TrioproxyConnectsFailing": "too few in five minutes",
    "TrioproxyTunnelsCut": "never more than usual: there is no day before",
    "TrioproxyTunnelsLost": "it depends on the moments of the scrapes",
    "TrioproxyPingsSlow": "upstreams answer at once",
    "TrioproxyBug": "there should be none",
    "TrioproxyAcceptFailing": "too few in two minutes",
    "TrioproxyNearDescriptorLimit": "the limit is far",
    "TrioproxyEventLoopLag": "it depends on the machine",
    "TrioproxyWorkerBusy": "workers do not have much to do",
    "TrioproxyWorkerCrashLoop": "one worker is killed once",
    "TrioproxyCertificateExpires": "the certificate was made for longer than that",
    "TrioproxyVersionsDiffer": "there is one version",
    "TrioproxyLogLinesDropped": "the log is read",
    "TrioproxySeriesDropped": "there are few series",
}
NEVER = {"TrioproxyBug", "TrioproxyLogLinesDropped", "TrioproxyRestarting", "TrioproxySeriesDropped"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with live_run(tmp_path_factory.mktemp("live")) as running:
        yield running


def variables(measured):
    window = f"{round(measured.seconds * 1000)}ms"
    some = {"instance": chosen(measured.instance), "pool": ".*", "upstream": ".*"}
    return {**some, "interval": window, "__rate_interval": window, "__range": window}


def whole(run):
    """The span of all of it."""
    return run.one.start - 60, run.ended


# The dashboard


def test_every_panel_has_its_expectation():
    shown = Counter((asked.row, asked.panel) for asked in QUERIES)
    assert shown == {(row, panel): len(each) for row, panels in EXPECTED.items() for panel, each in panels.items()}


@each_proxy
@each_query
def test_a_panel_shows_what_the_clients_counted(run, asked, name):
    measured = getattr(run, name)
    found = run.prometheus.query(asked.filled(variables(measured)), measured.end)
    expectation = EXPECTED[asked.row][asked.panel][asked.number]
    assert expectation.check(found, measured) == []
    assert found or expectation.nothing_from(measured)


@each_query
def test_a_panel_of_all_proxies_has_data(run, asked):
    """As it opens, every variable at All; with all of them chosen one by one it is the same."""

    def shown(instance):
        found = run.prometheus.query(asked.filled({**variables(run.two), "instance": instance}), run.two.end)
        return {frozenset(series.labels.items()): series.value for series in found}

    everything = shown(".*")
    assert everything
    assert shown(chosen(run.one.instance, run.two.instance)) == pytest.approx(everything)


@each_query
def test_a_panel_is_empty_where_nothing_is_chosen(run, asked):
    """Each of its selectors obeys the variables: what is left out is not counted."""
    for name in {"instance", "pool", "upstream"} & set(re.findall(r"\$(\w+)", asked.expr)):
        found = run.prometheus.query(asked.filled({**variables(run.one), name: "nobody"}), run.one.end)
        assert not any(series.value for series in found), name


@each_annotation
def test_an_annotation_marks_what_happened(run, asked):
    start, end = whole(run)
    expr = re.sub(r"\boffset \w+", "offset 3s", asked.filled({**variables(run.one), "instance": ".*"}))
    found = run.prometheus.query_range(expr, start, end, 0.5)
    assert any(value != 0 for series in found for _, value in series.points)


def test_the_variables_offer_what_there_is(run):
    offered = {}
    for variable in dashboard()["templating"]["list"]:
        query = variable.get("definition") or ""
        if values := re.fullmatch(r"label_values\((.*), (\w+)\)", query):
            selector, label = values[1].replace("$pool", ".*"), values[2]
            found = run.prometheus.query(f"group by ({label}) ({selector})", run.one.end)
            offered[label] = {series.labels[label] for series in found}
    both = [upstreams_of(measured) for measured in (run.one, run.two)]
    assert offered["instance"] == {run.one.instance, run.two.instance}
    assert offered["pool"] == {pool for pool, _ in both[0]}
    assert offered["upstream"] == {upstream for each in both for _, upstream in each}


# Rules


def test_every_alert_is_brought_about_or_has_a_reason_not_to():
    provoked = {name for names in FIRING.values() for name in names} | ALSO_FIRING
    alerts = {rule.name for rule in RULES if ":" not in rule.name}
    assert provoked | set(QUIET) == alerts
    assert not provoked & set(QUIET)


@each_rule
def test_a_rule_selects_series_that_are_there(run, rule):
    start, end = whole(run)
    for selector in selectors(rule.expr):
        assert run.prometheus.raw(selector, start, end), selector


@each_rule
def test_what_a_rule_compares_has_values(run, rule):
    start, end = whole(run)
    for side in sides(rule.expr):
        assert run.prometheus.query_range(re.sub(r"\boffset \w+", "offset 3s", side), start, end, 1), side


@pytest.mark.parametrize("name", sorted({name for names in FIRING.values() for name in names} | ALSO_FIRING))
def test_an_alert_fires_where_its_condition_is_brought_about(run, name):
    assert run.prometheus.raw(f'ALERTS{{alertname="{name}", alertstate="firing"}}', *whole(run))


@pytest.mark.parametrize("name", sorted(NEVER))
def test_an_alert_of_what_should_never_be_stays_quiet(run, name):
    assert not run.prometheus.raw(f'ALERTS{{alertname="{name}"}}', *whole(run))


# The counters behind


def grown(run, measured):
    """Of every counter and of every histogram's count: how much it grew, by its name and labels, where it did."""
    series = run.prometheus.raw(f'{{instance="{measured.instance}"}}', measured.start, measured.end)
    kinds = {metric.name.removesuffix("_total"): metric.kind for metric in ALL_METRICS}
    found = Ledger()
    for one in series:
        labels = dict(one.labels)
        name = labels.pop("__name__")
        del labels["instance"], labels["job"]
        if kinds.get(re.sub("_(total|count)$", "", name)) in {Kind.COUNTER, Kind.HISTOGRAM}:
            found.add(name.removeprefix("trioproxy_"), one.growth, **labels)
    return {key: amount for key, amount in found.amounts.items() if amount}


@each_part
def test_every_counter_grew_by_what_was_counted(run, name):
    """Also in the time in which a worker was killed: what it had published stays."""
    measured = getattr(run, name)
    expected = {key: amount for key, amount in measured.ledger.amounts.items() if amount}
    expected |= {(f"{metric}_count", labels): len(spans) for (metric, labels), spans in measured.ledger.spans.items()}
    found = {key: amount for key, amount in grown(run, measured).items() if key[0] not in OF_ITS_OWN}
    unseen = {"event_loop_lag_seconds_count", "probe_duration_seconds_count"}
    found = {key: amount for key, amount in found.items() if key[0] not in unseen}
    if name == "again":
        expected["worker_restarts_total", frozenset({("reason", "killed")})] = 1
    assert found == expected


@each_part
def test_no_series_begins_while_it_is_measured(run, name):
    """Of one that does rate() and increase() do not see the first event."""
    measured = getattr(run, name)
    counters = [metric.name for metric in ALL_METRICS if metric.kind is Kind.COUNTER]
    for series in run.prometheus.raw(f'{{instance="{measured.instance}"}}', measured.start, measured.end):
        if series.labels["__name__"] in counters:
            assert series.points[0][0] == pytest.approx(measured.start, abs=0.01), series.labels


@pytest.mark.parametrize(
    "metric", [pytest.param(each, id=each.name) for each in ALL_METRICS if each.kind is not Kind.GAUGE]
)
def test_nothing_falls_when_a_worker_is_killed(run, metric):
    window = f"{round((run.again.end - run.two.start) * 1000)}ms"
    suffixes = [""] if metric.kind is Kind.COUNTER else ["_bucket", "_count", "_sum"]
    for suffix in suffixes:
        selector = f'{metric.name}{suffix}{{instance="{run.two.instance}"}}'
        for series in run.prometheus.query(f"resets({selector}[{window}])", run.again.end):
            assert series.value == 0, series.labels


# The exposition


def test_promtool_finds_nothing_wrong_with_what_a_proxy_says(run):
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"], input=run.exposition, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_prometheus_scrapes_openmetrics_and_knows_help_types_and_units(run):
    """The text format has no units."""
    told = {name: each[0] for name, each in run.metadata.items() if name.startswith("trioproxy_")}
    for metric in ALL_METRICS:
        known = told[metric.name.removesuffix("_total")]
        assert (known["type"], known["help"]) == (metric.kind.value, metric.help), metric.name
    assert told["trioproxy_handshake_duration_seconds"]["unit"] == "seconds"
