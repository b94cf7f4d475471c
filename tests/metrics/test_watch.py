"""Sums asked for again and again."""

from __future__ import annotations

import gc
import os

from trioproxy.metrics import ENDINGS, HANDSHAKE_DURATION, MESSAGES, TUNNELS_ACTIVE, Metrics
from trioproxy.metrics.watch import Watch
from trioproxy.shared_board import SUPERVISOR, create_memory, open_board, retired_row, worker_row


def seen(watch):
    """Each sum under its metric and labels."""
    values = watch.read()
    return {key: values[place] for key, place in watch.places.items()}


def test_one_metric_is_summed_in_several_ways():
    metrics = Metrics()
    watch = Watch(metrics.board, [(MESSAGES, ("direction",)), (MESSAGES, ("upstream", "direction")), (MESSAGES, ())])
    for upstream, count in (("a", 3), ("b", 4)):
        metrics.inc(MESSAGES, ("p", upstream, "to_client"), count)
    metrics.inc(ENDINGS, ("client", "tunnel", "done"))
    assert seen(watch) == {
        (MESSAGES, ("to_client",)): 7,
        (MESSAGES, ("a", "to_client")): 3,
        (MESSAGES, ("b", "to_client")): 4,
        (MESSAGES, ()): 7,
    }


def test_what_comes_later_stands_behind_what_was_there():
    metrics = Metrics()
    watch = Watch(metrics.board, [(ENDINGS, ("reason",))])
    metrics.inc(ENDINGS, ("client", "tunnel", "done"), 2)
    before = watch.read()
    metrics.inc(ENDINGS, ("upstream", "tunnel", "reset"), 5)
    metrics.inc(ENDINGS, ("upstream", "close", "done"))
    assert (before, watch.read()) == ([2], [3, 5])
    assert watch.places == {(ENDINGS, ("done",)): 0, (ENDINGS, ("reset",)): 1}


def test_a_histogram_has_all_its_cells():
    metrics = Metrics()
    watch = Watch(metrics.board, [(HANDSHAKE_DURATION, ())])
    for pool in "ab":
        metrics.observe(HANDSHAKE_DURATION, (pool,), 0.001)
    metrics.observe(HANDSHAKE_DURATION, ("a",), 60)
    *counts, total = watch.read()
    assert counts == [2, *[0] * 12, 1]
    assert total == 60_002_000_000


def test_workers_are_summed_with_what_dead_ones_had_counted():
    memory = create_memory(2)
    own = Metrics(open_board(memory, 2, SUPERVISOR), SUPERVISOR)
    own.declare(MESSAGES, ("p", "a", "to_client"))
    workers = [Metrics(open_board(memory, 2, worker_row(number)), worker_row(number)) for number in range(2)]
    watch = Watch(own.board, [(MESSAGES, ("upstream",)), (TUNNELS_ACTIVE, ())])
    for metrics in workers:
        metrics.inc(MESSAGES, ("p", "a", "to_client"), 10)
        metrics.inc(MESSAGES, ("p", "b", "to_client"), 1)  # which each has a column of its own for
        metrics.inc(TUNNELS_ACTIVE, ("r", "p", "a"))
    alive = {(MESSAGES, ("a",)): 20, (MESSAGES, ("b",)): 2, (TUNNELS_ACTIVE, ()): 2}
    assert seen(watch) == alive
    own.retire(worker_row(0), retired_row(2))
    assert seen(watch) == {**alive, (TUNNELS_ACTIVE, ()): 1}
    os.close(memory)
    del own, workers, watch, metrics
    gc.collect()  # the boards hold descriptors of their own, and other tests count those that are open
