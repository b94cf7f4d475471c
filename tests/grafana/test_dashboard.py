"""The committed dashboard: current, valid by Grafana's schema, complete, and its queries are such as stay right."""

from __future__ import annotations

import json
import re
from itertools import combinations

import promql_parser
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.dashboards import PATH, annotation_queries, dashboard, panel_queries, panels

from grafana.dashboard import INPUT, ROWS, UID, text
from trioproxy.metrics import ALL_METRICS, Kind

PANELS = [pytest.param(panel, id=panel["title"]) for panel in panels()]
QUERIES = [pytest.param(query, id=query.where) for query in (*panel_queries(), *annotation_queries())]
UNITS = {unit for name, unit in vars(units).items() if not name.startswith("_")}
# What stands on no panel, and why.
EXCEPTIONS: dict[str, str] = {}


def test_the_file_is_what_the_code_makes():
    assert PATH.read_text() == text(), "run: python -m grafana"


def test_grafanas_own_model_has_every_field():
    """What its classes do not know is lost on the way through them."""
    register_default_plugins()
    made = dashboard()
    assert made.pop("__inputs") == [INPUT]
    kinds = {panel["type"] for panel in panels()}
    assert {each["id"] for each in made.pop("__requires")} == {"grafana", "prometheus"} | kinds
    assert json.loads(json.dumps(Dashboard.from_json(made), cls=JSONEncoder)) == made


def test_an_import_and_provisioning_find_their_data_source():
    """An import puts its answer for ${DS_PROMETHEUS}; provisioned, the variable takes the default data source."""
    source, *_ = dashboard()["templating"]["list"]
    assert (source["type"], source["name"]) == ("datasource", "datasource")
    assert source["current"]["value"] == f"${{{INPUT['name']}}}"
    used = set(re.findall(r'"uid": "([^"]+)"', PATH.read_text()))
    assert used == {UID, "${datasource}"}


def test_the_variables_are_there():
    names = [variable["name"] for variable in dashboard()["templating"]["list"]]
    assert names == ["datasource", "instance", "pool", "upstream", "interval"]


def test_rows_and_panels_have_numbers_of_their_own_and_overlap_nowhere():
    made = dashboard()["panels"]
    assert [panel["title"] for panel in made if panel["type"] == "row"] == list(ROWS)
    assert len({panel["id"] for panel in made}) == len(made)
    for a, b in combinations([panel["gridPos"] for panel in made], 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in made)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_in_which_unit_and_of_whom(panel):
    assert panel["description"].endswith(".") and len(panel["description"]) > 30
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    first, *others = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert first["value"] is None
    assert [each["value"] for each in others] == sorted({each["value"] for each in others})
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        kept = set(re.findall(r"by \(([^)]*)\)", target["expr"])[:1])
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            assert any(label in names.split(", ") for names in kept), (label, target["expr"])


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_promql(query):
    promql_parser.parse(query.filled())


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_and_labels_that_exist(query):
    suffixes = {Kind.HISTOGRAM: ("_bucket", "_sum", "_count"), Kind.COUNTER: ("",), Kind.GAUGE: ("",)}
    known = {metric.name + suffix: metric for metric in ALL_METRICS for suffix in suffixes[metric.kind]}
    for name, matchers in re.findall(r"(trioproxy_\w+)(?:{([^}]*)})?", query.expr):
        labels = set(re.findall(r"(\w+)[=!]", matchers)) - {"instance"}
        assert labels <= set(known[name].labels)
        if matchers:
            assert {"pool", "upstream"} & set(known[name].labels) <= labels, "the variables have to select"


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_right_over_instances_and_silent_where_there_is_nothing(query):
    expr = query.expr
    assert "vector(" not in expr and "absent" not in expr
    windows = set(re.findall(r"\[([^]]+)\]", expr))
    assert windows <= {"$__rate_interval", "$__range"}
    for rate in re.finditer(r"(\S*)\s*\(?(rate|increase)\(", expr):
        assert "sum" in expr[: rate.start(2)], "rates first, then sums"
    for quantile in re.findall(r"histogram_quantile\([\d.]+, (.*)", expr):
        assert re.match(r"sum by \(le[,)]", quantile)
        assert re.search(r"\) >= 0\)?$", quantile), "NaN where nothing was observed"
    if re.search(r"\) / ", expr):
        assert re.search(r" > 0\)$", expr), "NaN where the whole is 0"


def test_every_metric_stands_on_a_panel_or_is_excepted():
    shown = {name for query in panel_queries() for name in re.findall(r"trioproxy_\w+", query.expr)}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} | shown
    missing = {metric.name for metric in ALL_METRICS} - bare
    assert missing == set(EXCEPTIONS)


def test_annotations_mark_upstreams_drains_and_reloads():
    names = {annotation["name"] for annotation in dashboard()["annotations"]["list"]}
    upstream = {"Upstream down", "Upstream up", "Upstream ejected", "Upstream drained"}
    assert names == upstream | {"Chaos", "Drain", "Reload", "Reload failed"}
