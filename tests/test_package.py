"""The package as others meet it: its names, its version, how it is started, what importing it costs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from importlib.resources import files

import pytest
import trio
from support.http_client import get
from support.processes import PYTHON, ROOT
from support.settings import settings, toml

import trioproxy
from trioproxy.config_file import parse_config
from trioproxy.server import serve

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*argv):
    return subprocess.run([PYTHON, *argv], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_names_of_the_library_are_there():
    assert trioproxy.serve is serve
    for name in trioproxy.__all__:
        assert getattr(trioproxy, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nginx'"):
        trioproxy.nginx  # noqa: B018 - asking is the test


def test_the_version_is_one_and_the_same():
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", trioproxy.__version__)
    assert importlib.metadata.version("trioproxy") == trioproxy.__version__
    assert run("-m", "trioproxy", "--version").split()[-1] == trioproxy.__version__


def test_the_command_and_the_module_are_the_same():
    assert PROJECT["scripts"] == {"trioproxy": "trioproxy.cli:main"}
    assert run("-m", "trioproxy", "--help") == run(
        "-c", "from trioproxy.cli import main; main(prog_name='python -m trioproxy')", "--help"
    )


def test_its_types_are_for_others_too():
    assert files("trioproxy").joinpath("py.typed").is_file()


def test_checking_a_file_loads_nothing_of_the_proxy():
    loaded = run("-c", "import sys, trioproxy; trioproxy.load_config('config.toml'); print(*sys.modules)").split()
    assert "trioproxy.config_file" in loaded
    assert not {"trio", "trioproxy.server", "prometheus_client", "hypercorn"} & set(loaded)


def test_importing_everything_needs_no_more_than_the_dependencies():
    """What only developers have installed must not be imported by the program."""
    needed = {re.split(r"[><=~!]", each)[0].replace("-", "_") for each in PROJECT["dependencies"]}
    extra = {re.split(r"[><=~!]", each)[0].replace("-", "_") for each in PROJECT["optional-dependencies"]["dev"]}
    plugin = ROOT / "trioproxy" / "chaos" / "pytest_plugin.py"  # which pytest alone imports
    source = "".join(path.read_text() for path in (ROOT / "trioproxy").rglob("*.py") if path != plugin)
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", source, re.MULTILINE))
    assert not imported & (extra - needed)
    assert needed <= imported


async def test_the_proxy_in_another_trio_program():
    config = parse_config(toml(settings(["127.0.0.1:1"])), "inline")
    async with trio.open_nursery() as nursery, trioproxy.serve(config) as proxy:
        nursery.start_soon(get, proxy.listeners[0].address)
        answer = await get(proxy.listeners[0].address)
    assert answer.status == 503
