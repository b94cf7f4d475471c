"""The command, as people use it."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import click
import pytest

from trioproxy.chaos.scenario_file import shipped
from trioproxy.cli.chaos import _in_a_folder

SHORT = 'title = "Nothing goes wrong"\nduration = 1\n[load]\nclients = 2\n[[faults]]\nfault = "latency"\ndelay = 0.001\n[expect]\n'


def chaos(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "trioproxy", "chaos", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_holds_is_status_0_and_what_does_not_is_named_with_status_1(tmp_path):
    scenario = tmp_path / "mine.toml"
    scenario.write_text(SHORT + "lost_messages = 0\nmin_tunnels = 9\n")
    files = ("--json", "out.json", "--junit", "out.xml", "--html", "out.html")
    done = chaos(scenario, "--seed", 7, *files, folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "Nothing goes wrong\n1 s of load, seed 7\n" in done.stdout
    assert " clients without, " in done.stdout  # how it stood, now and then
    assert done.stdout.endswith("met: lost_messages = 0, measured 0\nNOT MET: tunnels >= 9, measured 2\n")
    told = json.loads((tmp_path / "out.json").read_text())
    assert (told["seed"], told["passed"], len(told["tunnels"])) == (7, False, 2)
    assert ET.parse(tmp_path / "out.xml").getroot().get("name") == "mine"
    html = (tmp_path / "out.html").read_text()
    assert f"trioproxy chaos {scenario} --seed 7<" in html
    assert "[load]\nclients = 2\n" in html
    scenario.write_text(SHORT + "lost_messages = 0\n")
    one = ("--proxy", "trioproxy", "--html", "one.html")
    done = chaos(scenario, "--length", 0.5, "--quiet", *one, folder=tmp_path)
    assert f"trioproxy chaos {scenario} --proxy trioproxy --length 0.5<" in (tmp_path / "one.html").read_text()
    assert (done.returncode, done.stdout) == (0, "met: lost_messages = 0, measured 0\n")


def test_the_scenarios_that_ship_are_listed(tmp_path):
    done = chaos("--list", folder=tmp_path)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(shipped())


def test_a_wrong_file_or_none_is_status_2(tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("duration = 0\n[[faults]]\nfault = 'nothing'\n")
    done = chaos(wrong, folder=tmp_path)
    assert done.returncode == 2
    assert [line.rpartition("wrong.toml:")[2][:2] for line in done.stderr.splitlines()] == ["1:", "3:"]
    assert (
        chaos("no-such-scenario", folder=tmp_path).stderr
        == "no-such-scenario: cannot be read: No such file or directory\n"
    )
    assert (none := chaos(folder=tmp_path)).returncode == 2
    assert "which scenario?" in none.stderr


def test_what_does_not_start_is_one_line_and_status_1(tmp_path):
    scenario = tmp_path / "mine.toml"
    scenario.write_text('[upstreams]\naddresses = ["127.0.0.1:1"]\n')
    done = chaos(scenario, folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "trioproxy: upstream 127.0.0.1:1: nothing listens there\n")


def test_a_report_that_may_not_be_written_is_refused_before_the_run(monkeypatch, tmp_path):
    path = tmp_path / "x.json"
    asked = []
    monkeypatch.setattr("os.access", lambda *what: asked.append(what))  # nobody is root then
    for _ in ("its folder", "itself"):
        with pytest.raises(click.BadParameter, match=r"x\.json may not be written"):
            _in_a_folder(None, None, str(path))
        path.touch()
    assert asked == [(tmp_path, os.W_OK), (str(path), os.W_OK)]


def test_several_proxies_make_a_table_and_what_does_not_go_together_is_status_2(tmp_path):
    scenario = tmp_path / "mine.toml"
    scenario.write_text(SHORT + "min_tunnels = 9\n")
    running = tmp_path / "running.toml"
    running.write_text('[proxy]\naddress = "127.0.0.1:1"\n')
    done = chaos(scenario, "--length", 0.3, "--proxy", "trioproxy", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "trioproxy: NOT MET: tunnels >= 9, measured 2\n" in done.stdout
    for words, why in (
        ((scenario, "--all"), "which scenario?"),
        (
            (scenario, "--proxy", "trioproxy", "--proxy", "nginx", "--junit", "x.xml"),
            "--html and --junit are for one run",
        ),
        ((scenario, "--proxy", "all", "--html", "x.html"), "--html and --junit are for one run"),
        ((scenario, "--html", "nowhere/x.html"), "there is no folder nowhere"),
        ((running, "--proxy", "nginx", "--html", "x.html"), "running names a proxy that runs already"),
        ((scenario, "--proxy", "squid"), "'squid' is not one of"),
    ):
        done = chaos(*words, folder=tmp_path)
        assert (done.returncode, why in done.stderr) == (2, True)
