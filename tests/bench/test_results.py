"""Medians, and the JSON they are kept in."""

from __future__ import annotations

from bench.results import Results, Spread


def results(**rows):
    made = Results({"peers": {"nginx": "1", "trioproxy": "2"}}, {"echo-64B-1": "echo"})
    for peer, values in rows.items():
        for value in values:
            made.add("echo-64B-1", peer, {"p50_us": value})
    return made


def test_a_spread_is_the_median_with_the_least_and_the_greatest():
    assert Spread.of([3.0, 9.0, 1.0]) == Spread(3.0, 1.0, 9.0)
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_what_was_saved_is_what_is_loaded(tmp_path):
    before = results(nginx=[1.0, 2.0], trioproxy=[4.0])
    before.fail("echo-64B-1", "envoy", "ended with status 1")
    before.save(tmp_path / "new" / "bench.json")
    after = Results.load(tmp_path / "new" / "bench.json")
    assert after.samples == before.samples
    assert after.errors == [{"case": "echo-64B-1", "peer": "envoy", "problem": "ended with status 1"}]


def test_a_peer_without_samples_has_no_spread():
    made = results(nginx=[1.0])
    made.fail("echo-64B-1", "trioproxy", "gone")
    assert made.peers("echo-64B-1") == ["nginx", "trioproxy"]
    assert made.spread("echo-64B-1", "trioproxy", "p50_us") is None


def test_rows_that_are_no_peers_come_last():
    made = results(nginx=[1.0], more=[2.0], direct=[3.0])
    assert made.peers("echo-64B-1") == ["direct", "nginx", "more"]


def test_a_case_is_found_by_its_whole_name_or_by_a_beginning_that_ends_in_a_dash():
    made = results()
    made.add("echo-64B-1000", "nginx", {})
    made.add("memory-1000", "nginx", {})
    assert made.find("echo-64B-1") is None
    assert made.find("memory-") == "memory-1000"
