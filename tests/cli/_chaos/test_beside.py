"""Several proxies, and the file that the table is written into."""

import json

import click
import pytest

from trioproxy.chaos.command import ChaosError
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.scenario import LoadConfig, Scenario
from trioproxy.cli._chaos.beside import BEGIN, END, Wanted, beside

SHORT = Scenario(
    title="Words",
    duration=0.3,
    load=LoadConfig(clients=1, ramp=0.0),
    faults=(FAULTS["latency"](delay=0.001),),
    expect={"max_lost_messages": 0},
)


def wanted(**more):
    plain = {"scenarios": {"short": SHORT}, "proxies": (), "seed": 5, "length": 1.0}
    return Wanted(**{**plain, "json_path": None, "markdown_path": None, "quiet": False, **more})


def test_a_table_is_shown_and_written_between_the_lines_of_a_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nMore.\n")
    scenarios = {"short": SHORT, "again": SHORT}
    status = beside(wanted(scenarios=scenarios, markdown_path=str(page), json_path=str(tmp_path / "out.json")))
    said = capsys.readouterr().out
    assert status == 0
    assert "expectations met" in said
    assert "latency begins" in said
    assert said.splitlines()[-1].split() == ["again", "1", "of", "1"]
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\ntrioproxy ")
    assert text.endswith(f"{END}\n\nMore.\n")
    assert "old" not in text
    told = json.loads((tmp_path / "out.json").read_text())
    assert set(told["scenarios"]) == {"short", "again"}
    assert told["scenarios"]["short"]["trioproxy"]["seed"] == 5


def test_a_page_that_does_not_exist_is_the_table_alone_and_one_without_lines_is_refused(tmp_path, capsys):
    failing = {"short": SHORT.stretched(1)}
    page = tmp_path / "new.md"
    assert beside(wanted(scenarios=failing, markdown_path=str(page), quiet=True)) == 0
    assert "begins" not in capsys.readouterr().out
    assert page.read_text().startswith("trioproxy ")
    with pytest.raises(click.ClickException, match="has no lines"):
        beside(wanted(markdown_path=str(page)))


def test_a_proxy_that_is_not_installed_is_told_before_a_run(monkeypatch, capsys):
    monkeypatch.setattr("trioproxy.chaos.peers.program._SEARCH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ChaosError, match="nginx is not installed: apt install nginx-light"):
        beside(wanted(proxies=("trioproxy", "nginx")))
    with pytest.raises(ChaosError, match="is not installed"):
        beside(wanted(proxies=("all",)))
    assert capsys.readouterr().out == ""
