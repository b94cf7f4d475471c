"""`process_*`, beside prometheus-client's own collector."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from prometheus_client import ProcessCollector
from support.serving import no_descriptors_left

from trioproxy.metrics import process
from trioproxy.metrics.process import Process


def test_names_types_and_values_are_those_of_prometheus_client():
    ours = {family.name: family for family in Process().collect()}
    theirs = {family.name: family for family in ProcessCollector(registry=None).collect()}
    assert ours.keys() == theirs.keys()
    for name, family in theirs.items():
        assert (ours[name].type, ours[name].documentation) == (family.type, family.documentation)
        (our,), (their,) = ours[name].samples, family.samples
        assert our.name == their.name
        assert our.value == pytest.approx(their.value, rel=0.1, abs=2)


def test_the_start_is_exactly_the_same():
    (ours,) = (f.samples[0].value for f in Process().collect() if f.name == "process_start_time_seconds")
    collected = ProcessCollector(registry=None).collect()
    assert ours == next(f.samples[0].value for f in collected if f.name == "process_start_time_seconds")


def test_where_the_kernel_does_not_know_the_number_of_descriptors_they_are_counted_seldom(monkeypatch):
    listed = []

    def listdir(path):
        listed.append(path)
        return os.listdir(path)  # noqa: PTH208

    unknown = SimpleNamespace(stat=lambda _path: SimpleNamespace(st_size=0), listdir=listdir)
    known = Process().descriptors()
    here = Process()
    monkeypatch.setattr(process, "os", unknown)
    assert [abs(here.descriptors() - known) <= 2 for _ in range(11)] == [True] * 11
    assert len(listed) == 2


@pytest.mark.parametrize("known", [True, False])
def test_out_of_descriptors_what_takes_one_stays_as_it_was(monkeypatch, known):
    if not known:
        unknown = SimpleNamespace(st_size=0)
        system = SimpleNamespace(stat=lambda _: unknown, listdir=os.listdir, sysconf=os.sysconf)
        monkeypatch.setattr(process, "os", system)
    here = Process()
    before = here.resident(), here.descriptors()
    with no_descriptors_left():
        assert len(list(here.collect())) == 6
        assert here.resident() == before[0]
        assert {here.descriptors() for _ in range(11)} == {before[1]}
