"""The configurations with and without access log, as far as a text can show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.certificates import Files
from bench.peers import CONFIGS, PEERS, rendered
from trioproxy.config_file import parse_config

VALUES = {
    "@PORT@": "8080",
    "@UPSTREAM@": "9000",
    "@ADMIN@": "9464",
    "@DIR@": "/run/bench",
    "@DESCRIPTORS@": "20000",
    "@WORKERS@": "2",
    **Files(*map(Path, ("a.pem", "c.pem", "k.pem", "b.pem"))).placeholders,
}


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.config], ids=lambda peer: peer.name)
@pytest.mark.parametrize("access_log", ["with", "without"])
@pytest.mark.parametrize("tls", ["with", "without"])
def test_no_placeholder_is_left(peer, access_log, tls):
    text = rendered((CONFIGS / peer.config).read_text(), VALUES, access_log, tls)
    assert "#: with" not in text
    assert not any(part.isupper() for part in text.split("@")[1::2])
    assert ("c.pem" in text or "b.pem" in text) is (tls == "with")


@pytest.mark.parametrize(("access_log", "expected"), [("with", True), ("without", False)])
def test_trioproxys_configuration_loads_and_says_what_was_asked_for(access_log, expected):
    template = (CONFIGS / "trioproxy.toml").read_text()
    config = parse_config(rendered(template, VALUES, access_log), "trioproxy.toml")
    assert config.log.access is expected
    assert config.websocket.strict
    assert config.server.workers == 2


def test_trioproxys_listener_has_tls_where_it_is_asked_for():
    template = (CONFIGS / "trioproxy.toml").read_text()
    config = parse_config(rendered(template, VALUES, "without", "with"), "trioproxy.toml")
    assert [Path(each.tls.certificate).name for each in config.listeners] == ["c.pem"]
