"""Tables, goals and picture, drawn from figures that are made up."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.headlines import HEADLINES, Goal
from bench.picture import draw
from bench.results import Results
from bench.table import columns, markdown, number, report

MACHINE = {"cpu": "<CPU & more>", "cpus": 2, "kernel": "6", "python": "3", "when": "now"}


@pytest.fixture
def results():
    about = {
        "peers": {"nginx": "1", "trioproxy": "2"},
        "machine": MACHINE,
        "settings": {"rounds": 1},
        "skipped": ["envoy"],
    }
    made = Results(about, {})
    for headline in HEADLINES:
        case = headline.case + "9" * headline.case.endswith("-")
        made.titles[case] = "a case"
        made.add(case, "nginx", {headline.figure: 10.0})
        made.add(case, "trioproxy", {headline.figure: 12.0})
    return made


def test_the_picture_is_well_formed_and_has_every_headline(results):
    root = ET.fromstring(draw(results))
    words = "".join(root.itertext())
    assert all(headline.title in words for headline in HEADLINES)
    assert "<CPU & more>" in words


def test_the_report_names_what_was_not_measured(results):
    results.fail("echo-64B-64", "caddy", "ended with status 3")
    text = "\n".join(report(results))
    assert "not measured: echo-64B-64, caddy: ended with status 3" in text
    assert "skipped, not installed: envoy" in text


def test_a_goal_with_a_peer_compares_medians(results):
    found = Goal("", "echo-64B-64", "proxy_cpu_us", "less", 1.15, "nginx").judge(results)
    assert (found.value, found.bound, found.ratio, found.met) == (12.0, 11.5, 1.2, False)
    assert Goal("", "echo-64B-64", "proxy_cpu_us", "more", 1.15, "nginx").judge(results).met


def test_a_goal_without_a_peer_is_a_bound_of_its_own(results):
    assert Goal("", "memory-", "kb_per_tunnel", "less", 12.0).judge(results).met
    assert Goal("", "memory-", "kb_per_tunnel", "less", 1.0, "envoy").judge(results) is None


def test_a_goal_that_needs_more_processors_is_skipped_by_name(results):
    goal = Goal("much", "echo-64B-64", "proxy_cpu_us", "less", 2, "nginx", cpus=4)
    assert goal.judge(results) is None
    assert goal.skipped(results) == "much: needs 4 processors, there are 2"
    results.about["machine"] = {**MACHINE, "cpus": 4}
    assert goal.judge(results).met and goal.skipped(results) is None


def test_several_workers_are_judged_beside_one(results):
    results.titles["workers-64B-256"] = "workers"
    for name, rate, cpu in (("trioproxy", 100.0, 10.0), ("trioproxy-2", 180.0, 10.5)):
        results.add("workers-64B-256", name, {"per_second": rate, "proxy_cpu_us": cpu})
    text = "\n".join(report(results))
    assert "not judged: two workers >= 1.7 one: needs 4 processors, there are 2" in text
    assert "two workers, CPU per round trip <= 1.1 one" in text
    results.about["machine"] = {**MACHINE, "cpus": 4}
    (line,) = (line for line in report(results) if line.startswith("two workers >= 1.7 one"))
    assert line.split()[-2:] == ["1.80", "met"]


def test_the_table_of_a_page_begins_with_our_own_column(results):
    head, rule, *rows, gap, below = markdown(results)
    assert (head, rule, gap) == ("| median | trioproxy | nginx |", "|---|---:|---:|", "")
    assert len(rows) == len(HEADLINES)
    assert {row.split("|", 2)[2] for row in rows} == {" **12.0** | 10.0 |"}
    assert "1 alternating rounds" in below and "nginx 1, trioproxy 2" in below


def test_columns_line_up():
    assert list(columns([["a", "10"], ["bcd", "5"]])) == ["a    10", "bcd   5"]


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.00"), (1.234, "1.23"), (45.67, "45.7"), (12345.6, "12,346")])
def test_numbers_show_the_digits_that_count(value, shown):
    assert number(value) == shown


def test_the_readme_shows_the_figures_that_are_kept():
    root = Path(__file__).parents[2]
    kept = Results.load(root / "docs/bench/figures.json")
    shown = (
        (root / "README.md").read_text().partition("<!-- figures: begin -->")[2].partition("<!-- figures: end -->")[0]
    )
    assert shown.strip() == "\n".join(markdown(kept))
    assert (root / "docs/bench/figures.svg").read_text() == draw(kept)
