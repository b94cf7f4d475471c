import pytest
from click.testing import CliRunner

from trioproxy.cli import main
from trioproxy.config_file import load_config

WHOLE = "server { listen 8080; tcp_nodelay on; location /ws { proxy_pass http://localhost:3000; } }\n"
PARTLY = "gzip on;\n" + WHOLE
MINE = "trioproxy: config.toml exists already, and was not written by this command; --force overwrites it\n"
WRONG = "server {\n    ...\n    location / { proxy_pass http://localhost:3000; }\n}\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(text, *args):
        (tmp_path / "nginx.conf").write_text(text)
        return CliRunner().invoke(main, ["import-nginx", "nginx.conf", *args])

    return run


def test_what_converts_whole_goes_to_stdout_with_status_0(run, tmp_path):
    result = run(WHOLE)
    assert result.exit_code == 0
    (tmp_path / "out.toml").write_text(result.stdout)
    assert load_config(tmp_path / "out.toml").routes[0].path == "/ws"
    lines = result.stderr.splitlines()
    assert all(line.startswith("nginx.conf:") for line in lines)
    assert "nginx.conf:1: harmless: tcp_nodelay on: it is always on" in lines
    assert lines[-1] == "nginx.conf: of 5 directives 4 converted, 1 harmless, 0 left over"


def test_the_result_goes_to_the_file_that_is_named(run, tmp_path):
    result = run(WHOLE, "-o", "config.toml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert load_config(tmp_path / "config.toml").pools["localhost-3000"]


def test_a_file_that_is_there_is_overwritten_by_force_alone(run, tmp_path):
    (tmp_path / "config.toml").write_text("mine")
    result = run(WHOLE, "-o", "config.toml")
    assert (result.exit_code, result.stderr) == (2, MINE)
    assert (tmp_path / "config.toml").read_text() == "mine"
    assert run(WHOLE, "-o", "config.toml", "--force").exit_code == 0
    assert (tmp_path / "config.toml").read_text() != "mine"


def test_what_the_command_wrote_itself_it_writes_again(run, tmp_path):
    (tmp_path / "config.toml").touch()
    assert run(WHOLE, "-o", "config.toml").exit_code == 0
    assert run(WHOLE.replace("/ws", "/chat"), "-o", "config.toml").exit_code == 0
    assert load_config(tmp_path / "config.toml").routes[0].path == "/chat"
    assert run(WHOLE, "-o", str(tmp_path)).exit_code == 2


def test_what_is_left_over_is_told_and_the_rest_written_with_status_1(run):
    result = run(PARTLY, "--quiet")
    assert result.exit_code == 1 and "[[routes]]" in result.stdout
    assert result.stderr.splitlines() == [
        "nginx.conf:1: left over: gzip on: answers pass as the upstream sent them; let that one compress",
        "nginx.conf: of 6 directives 4 converted, 1 harmless, 1 left over",
    ]


def test_a_file_nginx_refuses_is_told_with_status_2_and_nothing_is_written(run, tmp_path):
    result = run(WRONG, "-o", "config.toml")
    assert (result.exit_code, result.stdout) == (2, "") and not (tmp_path / "config.toml").exists()
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["nginx.conf:2", "mistake"],
        ["nginx.conf", "nothing is written"],
    ]


def test_a_file_without_anything_to_proxy_is_told_with_status_1(run):
    result = run("server { root /var/www; }")
    assert (result.exit_code, result.stdout) == (1, "")


def test_a_missing_file_is_one_line_and_status_2(run):
    result = CliRunner().invoke(main, ["import-nginx", "none.conf"])
    assert (result.exit_code, result.stderr) == (2, "none.conf: cannot be read: No such file or directory\n")


def test_a_file_that_cannot_be_written_is_one_line_and_status_1(run):
    result = run(WHOLE, "-q", "-o", "none/config.toml")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "trioproxy: none/config.toml: No such file or directory"
