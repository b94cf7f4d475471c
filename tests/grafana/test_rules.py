"""The files for Prometheus: valid, every alert tested and explained, and about metrics that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess

import click
import promql_parser
import pytest
import yaml
from support.processes import ROOT

from trioproxy.cli import main
from trioproxy.config import AdminConfig
from trioproxy.metrics import ALL_METRICS

PROMETHEUS = ROOT / "grafana" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = ROOT / "tests" / "grafana" / "alerts.yml"
RUNBOOKS = (ROOT / "docs" / "how-to" / "runbooks.md").read_text()
EVENTS = (ROOT / "docs" / "reference" / "logs.md").read_text()

RULE = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULE if "alert" in rule}
RECORDED = {rule["record"] for rule in RULE if "record" in rule}
CASES = [case for case in yaml.safe_load(TESTS.read_text())["tests"] if case["name"].startswith("Trioproxy")]
SECTIONS = dict(zip(*[iter(re.split(r"^## (\w+)\n", RUNBOOKS, flags=re.MULTILINE)[1:])] * 2, strict=True))

each_alert = pytest.mark.parametrize("alert", [pytest.param(rule, id=name) for name, rule in ALERTS.items()])


def promtool(*args):
    """What it says; it ends with 0 where all is well."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (apt install prometheus)")
    done = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration():
    assert f"{len(RULES)} rule files found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_prometheus_takes_the_rules():
    said = promtool("check", "rules", "--lint-fatal", *RULES)
    assert sum(map(int, re.findall(r"(\d+) rules found", said))) == len(RULE)


def test_every_alert_fires_where_it_should_and_is_quiet_where_it_should_be():
    assert "SUCCESS" in promtool("test", "rules", TESTS)


def test_the_target_is_where_a_proxy_answers():
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "trioproxy"
    assert job["static_configs"] == [{"targets": [AdminConfig().address]}]


def test_names_stand_once():
    assert len(ALERTS) + len(RECORDED) == len(RULE) > 40


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.get("alert") or rule["record"]) for rule in RULE])
def test_a_rule_asks_for_metrics_labels_and_records_that_exist(rule):
    promql_parser.parse(rule["expr"])
    known = {metric.name: metric for metric in ALL_METRICS}
    for recorded in re.findall(r"\w+:\w+:\w+", rule["expr"]):
        assert recorded in RECORDED
    for name, matchers in re.findall(r"(?<![:\w])(trioproxy_\w+)(?:{([^}]*)})?", rule["expr"]):
        metric = known.get(name) or known[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert set(re.findall(r"(\w+)[=!]", matchers)) <= set(metric.labels)


@each_alert
def test_an_alert_has_a_severity_and_says_what_is_the_matter(alert):
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert not alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["description"].strip().endswith(".")


@each_alert
def test_an_alert_has_tests_of_both_kinds(alert):
    cases = [case for case in CASES if case["name"].split()[0] == alert["alert"]]
    assert {case["name"].split()[1] for case in cases} == {"fires", "is"}
    for case in cases:
        wanted = ["is"] if case["name"].split()[1] == "is" else ["pending", "firing"] if "for" in alert else ["firing"]
        for state, test in zip(wanted, case["promql_expr_test"], strict=True):
            asked = f'ALERTS{{alertname="{alert["alert"]}", alertstate="{state.replace("is", "firing")}"}}'
            assert test["expr"] in {asked, f"max_over_time({asked}[2h])"}
            assert bool(test.get("exp_samples")) == (state != "is")


@each_alert
def test_the_text_of_an_alert_uses_labels_that_it_has(alert):
    used = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
    firing = [case for case in CASES if case["name"].startswith(f"{alert['alert']} fires")]
    for case in firing:
        (sample,) = case["promql_expr_test"][-1]["exp_samples"]
        assert used <= set(re.findall(r'(\w+)="[^"]', sample["labels"]))


def test_every_case_is_of_an_alert():
    assert {case["name"].split()[0] for case in CASES} == set(ALERTS)


# Runbooks


def test_every_alert_has_its_runbook_and_no_other():
    assert list(SECTIONS) == list(ALERTS)


@each_alert
def test_a_runbook_tells_what_it_means_what_to_look_at_and_what_to_do(alert):
    name = alert["alert"]
    assert alert["annotations"]["runbook_url"] == f"{{{{ $externalURL }}}}/user/runbooks.md#{name.lower()}"
    parts = re.findall(r"^\*\*(\w+)\*\*", SECTIONS[name], re.MULTILINE)
    assert parts == ["Means", "Impact", "Look", "Do"]
    assert "```sh\n" in SECTIONS[name].partition("**Look**")[2].partition("**Do**")[0]


def commands():
    """Each `trioproxy ...` of the runbooks, as words."""
    spans = re.findall(r"`(trioproxy [^`]+)`", RUNBOOKS)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", RUNBOOKS, re.DOTALL) for line in block.splitlines()]
    for each in {*spans, *(line for line in lines if line.startswith("trioproxy "))}:
        yield shlex.split(each.partition("|")[0])[1:]


def test_the_commands_of_the_runbooks_are_there():
    context = click.Context(main)
    found = list(commands())
    assert ["resume", "POOL", "UPSTREAM"] in found and ["status"] in found
    for name, *args in found:
        if name in {"--version", "run"}:
            continue
        command = main.get_command(context, name)
        command.make_context(name, list(args))


def test_the_events_and_metrics_of_the_runbooks_are_there():
    names = {metric.name for metric in ALL_METRICS}
    stems = {name.removeprefix("trioproxy_") for name in names}
    for used in re.findall(r"`(trioproxy_\w+)`", RUNBOOKS):
        assert used in names
    events = set(re.findall(r"^\| `(\w+)`", EVENTS, re.MULTILINE))
    for pattern in re.findall(r"grep (?:-\S+ )*(?:'([\w|]+)'|(\w+_\w+))", RUNBOOKS):
        for word in "".join(pattern).split("|"):
            if "_" in word and not word.startswith("process_"):
                assert word in events | names | stems, word


def test_the_shell_of_the_runbooks_is_shell():
    blocks = re.findall(r"```sh\n(.*?)```", RUNBOOKS, re.DOTALL)
    assert len(blocks) == len(ALERTS)
    script = "\n".join(blocks)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_links_of_the_runbooks_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", RUNBOOKS):
        path, _, section = target.partition("#")
        if path:
            assert (ROOT / "docs" / "how-to" / path).exists(), target
        if section:
            assert section in {name.lower() for name in SECTIONS}
