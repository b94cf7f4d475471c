from pathlib import Path

import pytest
from click.testing import CliRunner

from trioproxy.cli import main
from trioproxy.config_file import load_config

EXAMPLE = Path(__file__).parents[2] / "config.toml"
BROKEN = """\
[admin]
chaos = 1
[timeouts]
heed = 3
connect = "3"
[[listeners]]
address = "0.0.0.0:80800"
[[routes]]
path = "websocket"
pool = "bakend"
set_headers = { "X-Env" = 1 }
[pools.backend]
balance = "round_robin"
upstreams = ["192.168.3.1:3000", { address = "192.168.3.2:300", weight = 0 }]
[pools.backend.health]
timeout = 3
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(main, ["check", *args])


def test_a_good_file_is_ok(run):
    result = run("-c", str(EXAMPLE))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{EXAMPLE}: ok (1 listener, 1 route, 1 pool, 2 upstreams)\n"


def test_the_file_of_the_current_folder_is_the_default(run, tmp_path):
    (tmp_path / "config.toml").write_bytes(EXAMPLE.read_bytes())
    assert run().stdout.startswith("config.toml: ok")


def test_ten_mistakes_are_ten_lines_and_status_2(run, tmp_path):
    (tmp_path / "config.toml").write_text(BROKEN)
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert [int(line.split(":")[1]) for line in lines] == [2, 4, 5, 7, 9, 10, 11, 13, 14, 16]
    assert all(line.startswith("config.toml:") for line in lines)


def test_a_missing_file_is_one_line_and_status_2(run):
    result = run()
    assert (result.exit_code, result.stderr) == (2, "config.toml: cannot be read: No such file or directory\n")


def test_show_prints_what_loads_again_to_the_same(run, tmp_path):
    result = run("--show", "--config", str(EXAMPLE))
    assert result.exit_code == 0
    shown = tmp_path / "shown.toml"
    shown.write_text(result.stdout)
    assert load_config(shown) == load_config(EXAMPLE)


def test_a_broken_file_is_not_shown(run, tmp_path):
    (tmp_path / "config.toml").write_text(BROKEN)
    result = run("--show")
    assert (result.exit_code, result.stdout) == (2, "")
