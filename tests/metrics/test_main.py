"""The command that writes the reference page."""

from __future__ import annotations

import runpy

from trioproxy.metrics.reference import reference_page


def test_the_command_prints_the_page(capsys):
    runpy.run_module("trioproxy.metrics", run_name="__main__")
    assert capsys.readouterr().out == reference_page()
