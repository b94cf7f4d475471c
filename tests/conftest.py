"""Fixtures every test may ask for, and how the suite runs: in how many processes, in which order, what may be skipped."""

from __future__ import annotations

import os
import signal

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from support.processes import ROOT, open_programs, raise_descriptor_limit

# A machine with other work may take a second for what usually takes a millisecond.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Autobahn|Testsuite runs on Python 2.7 alone, which no distribution or index offers any more: a machine has it or not.
# The soak is long, and its faults are raced by the clock: .ci/full runs it.
# A machine in a container needs more rights than many machines give: .ci/full boots it.
# Packages are built and installed from the index there, too.
MAY_BE_SKIPPED = (
    "tests/autobahn/test_autobahn.py::",
    "tests/chaos/test_library.py::",
    "tests/deploy/test_packages.py::",
    "tests/nspawn/test_nspawn.py::",
    "tests/soak/test_soak.py::",
)


MOST_PROCESSES = 4  # end-to-end tests start several programs each: more would only wait for one another
END_TO_END = ROOT / "tests" / "end_to_end"

# How long an example takes says nothing: other tests and other people use the machine, too.
settings.register_profile("suite", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


# What a shell starts in the background ignores SIGINT, and so would the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config):
    """The whole suite runs in a process for each CPU; what is named on the command line runs in this one."""
    named = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    processes = 0 if named or config.option.usepdb else min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    return processes if processes > 1 else 0


def pytest_collection_modifyitems(config, items):
    """With several processes, the longest files come first and leave small ones to fill up with."""
    if config.option.dist != "no" or hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.path.is_relative_to(END_TO_END))


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
