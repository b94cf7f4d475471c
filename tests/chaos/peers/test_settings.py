"""What a scenario asks of any proxy."""

import pytest

from trioproxy.chaos.peers.settings import COMMON, pool_of, remarks, understood, usual
from trioproxy.chaos.proxies import ProxyError

UPSTREAMS = ("127.0.0.1:3001", "127.0.0.1:3002")


def test_a_scenario_s_settings_are_understood_with_every_default():
    config = understood("127.0.0.1:3000", UPSTREAMS, {"pools": {"backend": {"health": {"interval": 3}}}})
    assert [upstream.address for upstream in pool_of(config).upstreams] == list(UPSTREAMS)
    assert (pool_of(config).health.probe, pool_of(config).health.interval) == ("websocket", 3)
    assert config.timeouts.connect == 3


def test_what_trioproxy_would_refuse_is_refused_in_a_line():
    with pytest.raises(ProxyError, match=r"server.workers: expected .*; .*pools.backend.balance: expected") as caught:
        understood("127.0.0.1:3000", UPSTREAMS, {"server": {"workers": "x"}, "pools": {"backend": {"balance": "y"}}})
    assert "\n" not in str(caught.value)


def test_each_key_that_is_not_done_as_asked_is_told_once_by_table_where_that_is_what_is_missing():
    settings = {
        "server": {"workers": 2, "drain": {"spread": 3}},
        "log": {"access": False},
        "websocket": {"ping_interval": 1, "strict": False},
        "pools": {"backend": {"attempts": 3, "health": {"interval": 1, "fall": 2}}},
    }
    notes = {"pools.backend.health": "no probes", "server.workers": "threads"}
    assert remarks(settings, COMMON, notes) == [
        "pools.backend.health: no probes",
        "server.drain.spread: has no such setting",
        "server.workers: threads",
        "websocket.ping_interval: has no such setting",
        "websocket.strict: has no such setting",
    ]


def test_of_what_every_run_has_the_plumbing_is_no_loss():
    assert remarks(usual(), (*COMMON, "server.drain", "pools.backend.health"), {}) == []
