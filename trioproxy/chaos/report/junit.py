"""A run as JUnit XML, which CI systems show: a test case for each expectation."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # only written with, never read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.expectations import Verdict


def junit(name: str, duration: float, verdicts: Sequence[Verdict]) -> str:
    """The document, for a scenario of that name that took so many seconds."""
    failures = sum(not verdict.held for verdict in verdicts)
    suite = ET.Element(
        "testsuite", name=name, tests=str(len(verdicts)), failures=str(failures), errors="0", time=f"{duration:g}"
    )
    for verdict in verdicts:
        case = ET.SubElement(suite, "testcase", classname=f"chaos.{name}", name=verdict.name)
        if not verdict.held:
            ET.SubElement(case, "failure", message=str(verdict))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
