"""The table of probes and the configuration agree."""

from __future__ import annotations

from typing import get_type_hints

from trioproxy.config import HealthConfig
from trioproxy.probes import PROBES


def test_every_probe_that_can_be_configured_exists_and_the_other_way_round():
    rule = get_type_hints(HealthConfig, include_extras=True)["probe"].__metadata__[0]
    for name in PROBES:
        assert rule.read(name) == name
    assert rule.expected.count('"') == 2 * (len(PROBES) + 1)  # and "none", which probes nothing
