"""What a scrape costs, measured at a proxy that watches its own loop."""

from __future__ import annotations

import shutil

import pytest

from bench import scrape
from bench.cases import Case
from bench.load import compile_programs

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


def test_a_sample_has_the_loop_the_processor_and_the_series_of_all_upstreams(tmp_path, monkeypatch):
    monkeypatch.setattr(scrape, "SCRAPES", 1)
    compile_programs(tmp_path)
    case = Case(name="scrape-3-20", title="", mode="scrape", tunnels=20, seconds=0.2, upstreams=3)
    sample = scrape.measure(case, folder=tmp_path, proxy_cpus=None, load_cpus=None)
    assert sample["lost"] == 0
    assert sample["held_cpu_ms"] > 0 and sample["held_ms"] > 0 and sample["scrape_cpu_ms"] > 0
    assert sample["series"] > 100 and sample["scrape_kb"] > 10
