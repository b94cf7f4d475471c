"""Which proxy is measured with which case."""

from __future__ import annotations

from bench.cases import CASES
from bench.peers import PEERS
from bench.run import fits


def test_only_trioproxy_is_measured_with_several_workers_and_only_where_it_is_about_them():
    for case in CASES:
        names = [peer.name for peer in PEERS if fits(case, peer)]
        if case.upstreams:
            assert names == ["trioproxy"]
        elif case.workers:
            assert names == ["trioproxy", "trioproxy-2"]
        else:
            assert {"nginx", "trioproxy"} <= {*names} and "trioproxy-2" not in names
            assert ("naive" in names) is (case.mode != "http" and not case.tls)
