"""The reference page of the metrics is what the table says."""

from __future__ import annotations

from pathlib import Path

from trioproxy.metrics import ALL_METRICS
from trioproxy.metrics.reference import reference_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def test_the_page_is_current():
    assert PAGE.read_text() == reference_page(), "run: python -m trioproxy.metrics > docs/reference/metrics.md"


def test_every_metric_has_a_section():
    page = reference_page()
    assert all(f"\n## `{metric.name}`\n" in page for metric in ALL_METRICS)


def test_buckets_are_given_with_their_reason():
    page = reference_page()
    assert "Buckets (s): 1, 10, 60, 300, 900, 3600, 14400, 86400, 604800. A second" in page
