"""Source distribution and wheel: what is in them, and that the wheel alone is a program that runs."""

from __future__ import annotations

import os
import subprocess
import tarfile
import venv
import zipfile

import pytest
from support.processes import PYTHON, ROOT

pytestmark = pytest.mark.skipif(
    not os.environ.get("TRIOPROXY_PACKAGES"), reason="builds, and installs from the package index: .ci/full does"
)


def run(*argv, **how):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The source distribution, and the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp("packages")
    run(PYTHON, "-m", "build", "--outdir", folder, ROOT)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


def test_the_wheel_has_every_module_and_nothing_else(packages):
    with zipfile.ZipFile(packages[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "trioproxy").rglob("*.py")}
    folders = (ROOT / "trioproxy/admin/status-page", ROOT / "trioproxy/chaos/library")
    data = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.iterdir()}
    data.add("trioproxy/chaos/report/page.css")
    assert names == expected | data | {"trioproxy/py.typed"}


def test_the_source_distribution_has_what_an_install_needs(packages):
    with tarfile.open(packages[0]) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"config.toml", "LICENSE", "deploy/systemd/install", "deploy/systemd/trioproxy.socket"} <= names
    assert {"docs/how-to/systemd.md", "deploy/container/Containerfile"} <= names
    assert {"grafana/dashboards/trioproxy.json", "grafana/prometheus/rules/alerts.yml"} <= names
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name]


def test_the_installed_wheel_runs(packages, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    run(tmp_path / "venv/bin/python", "-m", "pip", "install", "-q", packages[1])
    program, outside = tmp_path / "venv/bin/trioproxy", {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}}
    version = packages[1].name.split("-")[1]
    assert run(program, "--version", **outside) == f"trioproxy, version {version}\n"
    assert ": ok (" in run(program, "check", "-c", ROOT / "config.toml", **outside)
