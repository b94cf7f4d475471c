"""The fixtures, in real runs of pytest."""

import importlib.metadata

import pytest
from support.processes import ROOT

pytest_plugins = ["pytester"]

CONFTEST = """
import os, threading

pytest_plugins = ["trioproxy.chaos.pytest_plugin"]

def pytest_sessionfinish(session):
    left = [thread for thread in threading.enumerate() if thread.name.startswith("trioproxy-chaos")]
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        session.config.stash["left"] = left
    else:
        session.config.stash["left"] = [*left, "a process"]

def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(f"left: {config.stash['left']}")
"""


@pytest.fixture
def inner(pytester, monkeypatch):
    """Runs these tests in a process of their own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest(CONFTEST)

    def run(tests, *argv):
        pytester.makepyfile(tests)
        return pytester.runpytest_subprocess(*argv, timeout=120)

    return run


def test_what_fails_tells_why_and_how_to_have_the_same_again(inner):
    result = inner(
        """
        import socket
        import pytest
        from trioproxy.chaos.testing import Refuse

        SHORT = dict(duration=0.3, upstreams={"count": 1}, load={"clients": 1, "ramp": 0.1})

        @pytest.fixture(scope="module")
        def address():
            with socket.create_server(("127.0.0.1", 0)) as server:
                yield "127.0.0.1:%d" % server.getsockname()[1]

        def test_in_a_hop(chaos_hop, address):
            with chaos_hop(address) as hop:
                hop.begin(Refuse())
                socket.create_connection((hop.host, hop.port))

        def test_in_a_proxy(chaos_proxy, address):
            with chaos_proxy(address, address) as proxy:
                assert len(proxy.hops) == 3

        def test_a_scenario(chaos_run, request):
            (request.path.parent / "mine.toml").write_text('faults = [{fault = "latency"}]')
            result = chaos_run("mine.toml", **SHORT, expect={"handshake_success": 1, "max_tunnels": 0})
            assert result.seed == 7
            assert result.passed

        def test_without_faults():
            assert False
        """,
        "--chaos-seed=7",
    )
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            "chaos seed: 7",
            "*ConnectionRefusedError*",
            "*assert 2 == 3*",
            "*where False = <seed 7: NOT MET: tunnels <= 0, measured 1>.passed",
            "left: [[]]",
        ]
    )
    assert result.stdout.str().count("the same again: --chaos-seed=7") == 3


def test_ctrl_c_ends_the_run_and_all_that_was_started(inner):
    result = inner(
        """
        import os, signal

        def test_a_scenario(chaos_run):
            def interrupt(_):
                os.kill(os.getpid(), signal.SIGINT)

            chaos_run("kill-one", duration=600.0, faults=[{"fault": "refuse"}], say=interrupt)

        def test_another():
            pass
        """
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["left: [[]]", "!*! KeyboardInterrupt !*!"])
    result.assert_outcomes()


def test_a_random_seed_is_one_for_all_and_told(inner):
    result = inner(
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_seed(number, pytestconfig, chaos_hop, chaos_proxy):
            seed = pytestconfig.option.chaos_seed
            assert chaos_hop.keywords == chaos_proxy.keywords == {"seed": seed}
            assert not 0 <= seed < 1_000_000
        """,
        "--chaos-seed=random",
        "-pxdist.plugin",
        "-n2",
    )
    result.assert_outcomes(failed=2)
    told = {line.rpartition("=")[2] for line in result.outlines if line.startswith("the same again")}
    assert len(told) == 1
    result.stdout.fnmatch_lines([f"chaos seed: {told.pop()}"])


def test_without_a_seed_it_is_one_and_pytest_does_not_load_it_by_itself(pytestconfig, request):
    assert [
        each for each in importlib.metadata.distribution("trioproxy").entry_points if each.group == "pytest11"
    ] == []
    assert not pytestconfig.pluginmanager.has_plugin("trioproxy.chaos.pytest_plugin")
    with pytest.raises(pytest.FixtureLookupError):
        request.getfixturevalue("chaos_hop")
