import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from trioproxy import __version__
from trioproxy.cli import Commands, main

EXAMPLE = Path(__file__).parents[2] / "config.toml"


def run(*args):
    return CliRunner().invoke(main, list(args))


def failing_with(error):
    """A command line whose only command raises this."""

    @click.command("break")
    def breaking():
        raise error

    class One(Commands):
        def list_commands(self, ctx):
            return ["break"]

        def get_command(self, ctx, cmd_name):
            return breaking

    return CliRunner().invoke(One(), ["break"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "trioproxy: Missing command."),
        (["chek"], "trioproxy: No such command 'chek'."),
        (["check", "-c"], "trioproxy: Option '-c' requires an argument."),
        (["check", "extra"], "trioproxy: Got unexpected extra argument (extra)"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(args, message):
    result = run(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(98, "Address already in use"), "trioproxy: Address already in use"),
        (FileNotFoundError(2, "No such file or directory", "x.pem"), "trioproxy: x.pem: No such file or directory"),
        (OSError("127.0.0.1:80 is in use"), "trioproxy: 127.0.0.1:80 is in use"),
        (click.Abort(), "trioproxy: interrupted"),
        (click.ClickException("two\nlines"), "trioproxy: two lines"),
    ],
)
def test_a_failure_is_one_line_and_status_1(error, message):
    result = failing_with(error)
    assert (result.exit_code, result.stderr) == (1, f"{message}\n")


def test_a_mistake_of_the_program_is_not_hidden():
    assert isinstance(failing_with(ZeroDivisionError()).exception, ZeroDivisionError)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_what_a_command_returns_is_the_exit_status(returned, status):
    class One(Commands):
        def get_command(self, ctx, cmd_name):
            return click.Command(cmd_name, callback=lambda: returned)

    assert CliRunner().invoke(One(), ["anything"]).exit_code == status


def test_help_lists_the_commands():
    result = run("--help")
    assert result.exit_code == 0
    assert "check " in result.stdout


def test_the_version_is_told():
    assert run("--version").stdout.strip().endswith(__version__)


def test_check_loads_nothing_of_the_server():
    code = (
        "import sys; from trioproxy.cli import main\n"
        "try: main(['check', '-c', 'config.toml'])\n"
        "except SystemExit as end: print(end.code or 0, {'trio', 'httptools', 'hypercorn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.endswith("0 set()\n")


def test_a_reader_that_has_had_enough_is_no_error():
    command = subprocess.Popen(
        [sys.executable, "-m", "trioproxy", "check", "--show", "-c", str(EXAMPLE)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    command.stdout.close()
    assert command.stderr.read() == b""
    assert command.wait() == 1
    command.stderr.close()
