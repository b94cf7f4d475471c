"""Autobahn|Testsuite against a `websockets` server, directly and through the proxy: case by case the same comes out.

Whether the server passes a case is its own business. `tests/autobahn/install` says how to get the suite, which
TRIOPROXY_WSTEST names or PATH has; where there is no Python 2.7 there is none, and this file is skipped.
TRIOPROXY_AUTOBAHN=all adds the sections about compression, which take a quarter of an hour.
"""

from __future__ import annotations

import json
import os
import shutil

import pytest
import trio
from support.peers import run_server
from support.proxy import run_proxy
from support.settings import settings

BASIC = {  # section → its number of cases
    "framing, pings, reserved bits, opcodes, fragments": (["1.*", "2.*", "3.*", "4.*", "5.*"], 64),
    "UTF-8": (["6.*"], 145),
    "closing, automatic fragments": (["7.*", "10.*"], 38),
    "large messages": (["9.*"], 54),
}
COMPRESSION = {  # a few at a time, as a test may not take minutes
    f"compression {section} from {first}": ([f"{section}.{case}" for case in range(first, first + 3)], 3)
    for section in (*(f"12.{n}" for n in range(1, 6)), *(f"13.{n}" for n in range(1, 8)))
    for first in range(1, 19, 3)
}
SECTIONS = BASIC | (COMPRESSION if os.environ.get("TRIOPROXY_AUTOBAHN") == "all" else {})
PATIENCE_SECONDS = 140.0
# In these a good message is followed at once by a bad frame. Whether its echo still comes before the Close is a race, with
# the proxy or without; Autobahn calls it OK if it does and NON-STRICT if not, and both right.
RACING = ("3.", "4.", "5.")


@pytest.fixture
def wstest():
    found = os.environ.get("TRIOPROXY_WSTEST") or shutil.which("wstest")
    if not found:
        pytest.skip("needs Autobahn|Testsuite: tests/autobahn/install, where there is a Python 2.7")
    return found


async def run_suite(programs, wstest, name, address, cases, outcomes):
    """The fuzzing client against one address; case → behaviour, behaviour at the close, the server's Close code."""
    folder = programs.folder / name
    specification = {"servers": [{"agent": name, "url": f"ws://{address}"}], "cases": cases, "outdir": str(folder)}
    path = programs.folder / f"{name}.json"
    path.write_text(json.dumps(specification | {"exclude-cases": [], "exclude-agent-cases": {}}))
    suite = await programs.start(name, [wstest, "-m", "fuzzingclient", "-s", path], env={"PYTHONPATH": ""})
    assert await suite.wait(PATIENCE_SECONDS) == 0, suite.err.text
    report = json.loads((folder / "index.json").read_text())[name]
    outcomes[name] = {case: outcome(case, seen) for case, seen in report.items()}


def outcome(case, seen):
    behavior = seen["behavior"]
    if behavior == "NON-STRICT" and case.startswith(RACING):
        behavior = "OK"
    return behavior, seen["behaviorClose"], seen["remoteCloseCode"]


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
async def test_every_case_has_the_outcome_it_has_without_the_proxy(programs, wstest, section):
    cases, count = SECTIONS[section]
    server = await run_server(programs, "websockets_echo.py")
    proxy = await run_proxy(programs, settings([server.address]))
    outcomes = {}
    async with trio.open_nursery() as nursery:
        for name, address in (("direct", server.address), ("proxied", proxy.address)):
            nursery.start_soon(run_suite, programs, wstest, name, address, cases, outcomes)
    direct, proxied = outcomes["direct"], outcomes["proxied"]
    assert len(direct) == count
    assert {case: (direct[case], proxied[case]) for case in direct if direct[case] != proxied[case]} == {}
    assert direct.keys() == proxied.keys()
