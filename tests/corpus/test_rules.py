"""Every rule of docs/reference/protocol.md is shown by a case or a test, and each of them names rules that there are."""

from __future__ import annotations

from collections import Counter

from support.protocol import PAGE, rows, witnesses, written_page

ROWS = rows()
WITNESSES = witnesses()


def test_no_rule_stands_twice():
    assert [rule for rule, times in Counter(row.rule for row in ROWS).items() if times > 1] == []


def test_every_rule_is_shown():
    shown = {rule for witness in WITNESSES for rule in witness.rules}
    assert [row.rule for row in ROWS if row.rule not in shown] == []


def test_every_case_and_test_names_rules_that_there_are():
    known = {row.rule for row in ROWS}
    assert [witness.name for witness in WITNESSES if not witness.rules or not known.issuperset(witness.rules)] == []


def test_every_cve_is_named_by_a_test_of_its_rule():
    tests = [witness for witness in WITNESSES if witness.kind == "test"]
    for row in ROWS:
        named = {cve for test in tests if row.rule in test.rules for cve in test.cves}
        assert row.cves <= named, row.rule


def test_the_page_says_what_shows_each_rule():
    assert PAGE.read_text() == written_page(), "write it anew: PYTHONPATH=.:tests python -m support.protocol"
