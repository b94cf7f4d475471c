"""A record starts out empty, and has a place for nothing else."""

from __future__ import annotations

import attrs
import pytest

from trioproxy.record import Record


def test_what_is_not_known_is_empty_zero_or_none():
    assert set(attrs.asdict(Record()).values()) == {"", 0, None}


def test_a_misspelt_field_is_an_error():
    with pytest.raises(AttributeError):
        Record().upsteam = "x"
