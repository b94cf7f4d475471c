"""Fixtures every test may ask for."""

from __future__ import annotations

import pytest
from support.processes import open_programs, raise_descriptor_limit


@pytest.fixture
async def programs(tmp_path):
    """Real processes that end with the test; one that printed a traceback fails it."""
    raise_descriptor_limit()
    async with open_programs(tmp_path) as running:
        yield running
