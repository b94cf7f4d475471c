import subprocess
import sys

import trioproxy.__main__
from trioproxy import __version__
from trioproxy.cli import main


def test_the_package_runs_as_a_program():
    command = [sys.executable, "-m", "trioproxy", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert __version__ in done.stdout


def test_importing_it_runs_nothing():
    assert trioproxy.__main__.main is main
