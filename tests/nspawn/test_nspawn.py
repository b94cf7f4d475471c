"""A real systemd, booted in a container, installs, starts, watches, reloads, restarts and stops the service.

What is checked stands in `checks`, which runs inside; how the machine is made in `container`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig

import pytest
from nspawn.checks import CHECKS
from nspawn.container import CANNOT
from support.processes import PYTHON, ROOT

BOOT_SECONDS = 300  # a guard: it takes half a minute


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """One boot for all checks: what came of each by name, "" or what went wrong."""
    if not os.environ.get("TRIOPROXY_NSPAWN"):
        pytest.skip("boots a machine, half a minute: .ci/full does, or TRIOPROXY_NSPAWN=1")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("needs systemd-nspawn (apt install systemd-container)")
    share = tmp_path_factory.mktemp("nspawn") / "share"
    share.mkdir()
    argv = ["unshare", "--mount", "--propagation", "private", PYTHON, ROOT / "tests/nspawn/container.py", share]
    argv += ["/repository/tests/nspawn/checks.py", sysconfig.get_path("purelib")]
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as container:
        try:
            said, _ = container.communicate(timeout=BOOT_SECONDS)
        finally:
            container.terminate()
    if container.returncode == CANNOT:
        pytest.skip(f"systemd-nspawn cannot run here: {said}")
    progress = share / "progress"
    print(progress.read_text() if progress.exists() else said)
    assert (share / "outcomes.json").exists(), said
    return json.loads((share / "outcomes.json").read_text())


@pytest.mark.parametrize("check", [check.__name__ for check in CHECKS])
def test_under_a_real_systemd(outcomes, check):
    assert outcomes[check] == "", outcomes[check]
