"""The reference page of scenarios is what settings, faults and measures say."""

from pathlib import Path

from trioproxy.chaos.reference import reference_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "chaos.md"


def test_the_page_is_current():
    assert PAGE.read_text() == reference_page(), "run: python -m trioproxy.chaos > docs/reference/chaos.md"
