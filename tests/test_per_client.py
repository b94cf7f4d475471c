"""How many connections each client has: limits over processes, and places in the table that are taken."""

from __future__ import annotations

import random

import pytest

from trioproxy import per_client
from trioproxy.board import CELL_BYTES, CLIENT_TABLE_CELLS
from trioproxy.per_client import WAYS, PerClient


def tables(count):
    return [memoryview(bytearray(CLIENT_TABLE_CELLS * CELL_BYTES)).cast("q") for _ in range(count)]


def processes(count):
    found = tables(count)
    return [PerClient(own, tuple(table for table in found if table is not own)) for own in found]


@pytest.mark.parametrize("count", [1, 3])
def test_a_client_gets_so_many_and_one_more_when_one_ends(count):
    shares = processes(count) if count > 1 else [PerClient()]
    keys = [shares[at % count].claim("l", "192.0.2.1", 3) for at in range(3)]
    assert all(keys) and len(set(keys)) == 1
    assert [share.claim("l", "192.0.2.1", 3) for share in shares] == [0] * count
    assert shares[0].claim("l", "192.0.2.2", 3) and shares[0].claim("other", "192.0.2.1", 3)
    shares[0].release(keys[0])
    assert shares[-1].claim("l", "192.0.2.1", 3)
    assert shares[-1].claim("l", "192.0.2.1", 5)


def test_what_counts_is_a_64_of_ipv6():
    share = PerClient()
    assert share.claim("l", "2001:db8::1", 1)
    assert not share.claim("l", "2001:db8::2", 1)
    assert share.claim("l", "2001:db8:0:1::1", 1)


def test_nothing_is_left_of_who_has_left():
    (own,) = tables(1)
    share = PerClient(own)
    keys = [share.claim("l", f"10.0.{number >> 8}.{number & 255}", 2) for number in range(2000)]
    assert all(keys)
    assert sum(own[1::2]) == 2000
    for key in random.Random(1).sample(keys, len(keys)):
        share.release(key)
    assert sum(own[1::2]) == 0 and not share._open


def test_places_of_who_has_left_are_taken_anew(monkeypatch):
    monkeypatch.setattr(per_client, "_SETS", 1)
    share, other = processes(2)
    for number in range(10 * WAYS):
        key = share.claim("l", f"10.0.0.{number}", 1)
        assert not other.claim("l", f"10.0.0.{number}", 1)
        share.release(key)
        assert other.claim("l", f"10.0.0.{number}", 1)
        other.release(key)


def test_where_all_places_are_taken_a_client_is_counted_in_its_process_alone(monkeypatch):
    monkeypatch.setattr(per_client, "_SETS", 1)
    share, other = processes(2)
    keys = [share.claim("l", f"10.0.0.{number}", 1) for number in range(WAYS)]
    late = share.claim("l", "10.1.1.1", 1)
    assert late and not share.claim("l", "10.1.1.1", 1)
    assert other.claim("l", "10.1.1.1", 1)  # more than it should have, and nobody is kept out for it
    assert not other.claim("l", "10.0.0.3", 1)
    for key in (late, *keys):
        share.release(key)
    assert share.claim("l", "10.1.1.1", 2)
