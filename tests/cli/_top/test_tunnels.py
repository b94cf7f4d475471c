"""Which tunnels are busiest, from lists that come page by page."""

from __future__ import annotations

import pytest

from trioproxy.cli._top.tunnels import SORTS, Tunnels


def row(name, age, *, messages=0, octets=0, idle=0.0):
    """Half of it in each direction."""
    return {
        "id": name,
        "age": age,
        "idle": idle,
        "messages": {"to_upstream": messages / 2, "to_client": messages / 2},
        "bytes": {"to_upstream": octets / 2, "to_client": octets / 2},
    }


def names(tunnels, sort="bytes", count=10):
    return [listed.row["id"] for listed in tunnels.most(sort, count)]


def test_rates_are_between_two_looks_by_the_proxys_clock_and_at_first_since_the_beginning():
    tunnels = Tunnels()
    tunnels.take(1, [row("a", 10.0, messages=100, octets=1000)], last=True)
    (listed,) = tunnels.most("bytes", 10)
    assert (listed.messages, listed.bytes) == (10, 100)
    tunnels.take(1, [row("a", 12.0, messages=108, octets=1200)], last=True)
    (listed,) = tunnels.most("bytes", 10)
    assert (listed.messages, listed.bytes) == (4, 100)


def test_a_tunnel_seen_twice_at_the_same_moment_has_no_rate():
    tunnels = Tunnels()
    tunnels.take(1, [row("a", 0.0, messages=5)], last=True)
    assert tunnels.most("messages", 1)[0].messages == 0


def test_what_a_whole_round_has_not_shown_has_ended():
    tunnels = Tunnels()
    tunnels.take(3, [row("a", 1), row("b", 1)], last=False)
    tunnels.take(3, [row("c", 1)], last=True)
    assert set(names(tunnels)) == {"a", "b", "c"}
    tunnels.take(2, [row("a", 2)], last=False)
    assert set(names(tunnels)) == {"a", "b", "c"}  # the round is not over
    tunnels.take(2, [row("c", 2)], last=True)
    assert set(names(tunnels)) == {"a", "c"}
    assert (len(tunnels), tunnels.total) == (2, 2)


@pytest.mark.parametrize(("sort", "first"), [("bytes", "b"), ("messages", "a"), ("age", "c"), ("idle", "d")])
def test_they_are_sorted_by_what_they_have_most_of(sort, first):
    tunnels = Tunnels()
    rows = [
        row("a", 1, messages=100),
        row("b", 1, octets=100),
        row("c", 99),
        row("d", 1, idle=1),
    ]
    tunnels.take(4, rows, last=True)
    assert sort in SORTS
    assert names(tunnels, sort, 1) == [first]


def test_of_another_process_nothing_is_known():
    tunnels = Tunnels()
    tunnels.take(1, [row("a", 10.0)], last=True)
    tunnels.forget()
    assert (len(tunnels), tunnels.total) == (0, 0)
