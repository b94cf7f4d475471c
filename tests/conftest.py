"""Fixtures every test may ask for."""

from __future__ import annotations

import os

import pytest
from support.processes import open_programs, raise_descriptor_limit

# Autobahn|Testsuite runs on Python 2.7 alone, which no distribution or index offers any more: a machine has it or not.
# The soak is long, and its faults are raced by the clock: .ci/full runs it.
# A machine in a container needs more rights than many machines give: .ci/full boots it.
# Packages are built and installed from the index there, too.
MAY_BE_SKIPPED = (
    "tests/autobahn/test_autobahn.py::",
    "tests/deploy/test_packages.py::",
    "tests/nspawn/test_nspawn.py::",
    "tests/soak/test_soak.py::",
)


@pytest.fixture
async def programs(tmp_path):
    """Real processes that end with the test; one that printed a traceback fails it."""
    raise_descriptor_limit()
    async with open_programs(tmp_path) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where TRIOPROXY_REQUIRE_ALL is set, a skip for want of a program is a failure."""
    report = yield
    required = os.environ.get("TRIOPROXY_REQUIRE_ALL") and not item.nodeid.startswith(MAY_BE_SKIPPED)
    if report.skipped and not hasattr(report, "wasxfail") and required:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
