"""A run as JUnit XML."""

from xml.etree import ElementTree as ET

from trioproxy.chaos.expectations import Verdict
from trioproxy.chaos.report import junit


def test_each_expectation_is_a_test_case():
    text = junit("kill-one", 12.5, [Verdict("max_p99_ms", 50, 70), Verdict("cut_without_close", 0, 0)])
    suite = ET.fromstring(text)
    assert suite.attrib == {"name": "kill-one", "tests": "2", "failures": "1", "errors": "0", "time": "12.5"}
    failed, passed = suite
    assert (failed.get("name"), passed.get("name")) == ("max_p99_ms", "cut_without_close")
    assert failed.find("failure").get("message") == "NOT MET: p99_ms <= 50, measured 70 ms"
    assert passed.find("failure") is None
