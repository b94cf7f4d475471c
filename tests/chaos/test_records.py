"""What is known of a run."""

import pytest

from trioproxy.chaos.records import Comparison, Tunnel


def test_what_has_no_echo_is_lost():
    assert Tunnel("0-0", 0, 0.0, sent=5, echoed=3).lost == 2


@pytest.mark.parametrize(("proxy", "agree"), [(2, False), (3, True), (5, True), (6, False)])
def test_numbers_agree_where_both_can_be_true(proxy, agree):
    assert Comparison(what="tunnels", proxy=proxy, least=3, most=5).agree is agree
