import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.certificates import authority
from support.settings import toml

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


def test_certificates_are_looked_at_too(run, tmp_path):
    good = tomllib.loads(EXAMPLE.read_text())
    files = authority(tmp_path / "ca").issue("a.test")
    listener = {"address": "127.0.0.1:0", "tls": {"certificate": files.certificate, "key": files.key}}
    (tmp_path / "config.toml").write_text(toml({**good, "listeners": [listener]}))
    assert (run().exit_code, run().stderr) == (0, "")
    (tmp_path / "ca" / "1.key").write_text("no key")
    result = run()
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    number, told = re.fullmatch(r"config\.toml:([0-9]+): listeners\[0\]\.tls: (.*)", line).groups()
    assert "tls" in (tmp_path / "config.toml").read_text().splitlines()[int(number) - 1]
    assert (
        told
        == f"expected a certificate chain in {files.certificate} and its private key in {files.key}, both in PEM form"
    )


def test_a_certificate_that_expired_is_a_warning(run, tmp_path):
    files = authority(tmp_path / "ca").issue("a.test", expired=True)
    listener = {"address": "127.0.0.1:0", "tls": {"certificate": files.certificate, "key": files.key}}
    (tmp_path / "config.toml").write_text(toml({**tomllib.loads(EXAMPLE.read_text()), "listeners": [listener]}))
    result = run()
    assert (result.exit_code, result.stdout.split(": ")[1][:2]) == (0, "ok")
    assert f": listeners[0].tls: {files.certificate} expired on 2001-01-02 00:00:00 UTC" in result.stderr
    assert len(result.stderr.splitlines()) == 1


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
