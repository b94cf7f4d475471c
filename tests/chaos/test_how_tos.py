"""The how-to pages do what they say: their examples are taken out of them and run."""

import re
import subprocess
import sys

import pytest
from support.processes import ROOT

from trioproxy.chaos.command import carry_out
from trioproxy.chaos.scenario_file import parse_scenario

HOW_TO = ROOT / "docs" / "how-to"


def examples(page, language):
    """Its code blocks."""
    return re.findall(rf"^```{language}\n(.*?)^```", (HOW_TO / page).read_text(), re.MULTILINE | re.DOTALL)


def verdicts(text):
    scenario = parse_scenario(text, "mine.toml").stretched(0.15)
    result = carry_out(scenario, seed=scenario.seed, say=print)
    return {verdict.name: verdict.held for verdict in result.verdicts}


def test_the_expectation_that_fails_and_then_passes():
    scenario, change, *_ = examples("chaos-test-your-backend.md", "toml")
    assert verdicts(scenario) == {"handshake_success": False, "lost_messages": True}
    assert verdicts(scenario + change) == {"handshake_success": True, "lost_messages": True}


def test_what_else_it_shows_of_scenarios_is_taken():
    _, _, *others = examples("chaos-test-your-backend.md", "toml")
    paths = {parse_scenario(text, "mine.toml").load.path for text in others}
    assert "/websocket" in paths


@pytest.fixture
def files(tmp_path):
    """The examples as files, each with the name that its first line says."""
    for language in ("python", "toml"):
        for text in examples("chaos-in-your-own-tests.md", language):
            (tmp_path / re.match(r"# ([\w-]+\.\w+)\n", text)[1]).write_text(text)
    return tmp_path


def python(files, *argv):
    return subprocess.run([sys.executable, *argv], cwd=files, capture_output=True, text=True, timeout=120, check=False)


def test_the_examples_for_pytest_pass(files, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ran = python(files, "-m", "pytest", "-p", "pytest_trio.plugin", "-o", "trio_mode=true", "-W", "error")
    assert re.search(r"^=+ 6 passed in ", ran.stdout, re.MULTILINE), ran.stdout + ran.stderr


def test_the_example_without_pytest_runs(files, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert python(files, "hop.py").stdout == "refused\n"
