"""The configurations with and without access log, as far as a text can show it."""

from __future__ import annotations

import pytest

from bench.peers import CONFIGS, PEERS, rendered
from trioproxy.config_file import parse_config

VALUES = {
    "@PORT@": "8080",
    "@UPSTREAM@": "9000",
    "@ADMIN@": "9464",
    "@DIR@": "/run/bench",
    "@DESCRIPTORS@": "20000",
    "@WORKERS@": "2",
}


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.config], ids=lambda peer: peer.name)
@pytest.mark.parametrize("access_log", ["with", "without"])
def test_no_placeholder_is_left(peer, access_log):
    text = rendered((CONFIGS / peer.config).read_text(), VALUES, access_log)
    assert "#: with" not in text
    assert not any(part.isupper() for part in text.split("@")[1::2])


@pytest.mark.parametrize(("access_log", "expected"), [("with", True), ("without", False)])
def test_trioproxys_configuration_loads_and_says_what_was_asked_for(access_log, expected):
    template = (CONFIGS / "trioproxy.toml").read_text()
    config = parse_config(rendered(template, VALUES, access_log), "trioproxy.toml")
    assert config.log.access is expected
    assert config.websocket.strict
    assert config.server.workers == 2
