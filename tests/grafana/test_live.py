"""A real Prometheus scrapes real proxies under a known load: what dashboard and alerts ask for is there, and is right."""

from __future__ import annotations

import pytest
from support.dashboards import panel_queries
from support.live_run import live_run
from support.panel_values import EXPECTED

pytestmark = pytest.mark.slow
QUERIES = list(panel_queries())
EACH_QUERY = pytest.mark.parametrize("asked", QUERIES, ids=[asked.where for asked in QUERIES])
EACH_PROXY = pytest.mark.parametrize("name", ["one", "two"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with live_run(tmp_path_factory.mktemp("live")) as running:
        yield running


def variables(measured):
    window = f"{round(measured.seconds * 1000)}ms"
    chosen = {"instance": measured.instance, "pool": ".*", "upstream": ".*"}
    return {**chosen, "interval": window, "__rate_interval": window, "__range": window}


def test_every_panel_has_its_expectation():
    shown = {(asked.row, asked.panel): 0 for asked in QUERIES}
    for asked in QUERIES:
        shown[asked.row, asked.panel] += 1
    assert shown == {(row, panel): len(each) for row, panels in EXPECTED.items() for panel, each in panels.items()}


@EACH_PROXY
@EACH_QUERY
def test_a_panel_shows_what_the_clients_counted(run, asked, name):
    measured = getattr(run, name)
    found = run.prometheus.query(asked.filled(variables(measured)), measured.end)
    expectation = EXPECTED[asked.row][asked.panel][asked.number]
    assert expectation.check(found, measured) == []
    assert found or expectation.nothing_from(measured)
