"""The command that writes the reference page."""

from __future__ import annotations

import runpy

from trioproxy.chaos.reference import reference_page


def test_the_command_prints_the_page(capsys):
    runpy.run_module("trioproxy.chaos", run_name="__main__")
    assert capsys.readouterr().out == reference_page()
