"""The series that a configuration makes known beforehand: they exist at 0 before anything happened.

Those are all that it can have, but for the metrics with hundreds of combinations (statuses, Close codes, endings): of
them only those that alerts wait for, others are made when they are first counted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from trioproxy.counts import HandshakeResult, close_code_label
from trioproxy.errors import Phase, Reason, Source
from trioproxy.metrics import table
from trioproxy.metrics.label_sets import NONE, Shape, combinations, lines, names
from trioproxy.metrics.table import ALL_METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trioproxy.config import Config
    from trioproxy.metrics.reading import Labels
    from trioproxy.metrics.registry import Metrics

# Made when first counted, but for some.
_MANY: Final = frozenset({table.REQUESTS, table.CLOSES, table.ENDINGS})
# Computed at a scrape, or declared by whoever measures them: the process, probers, the reloader, the supervisor.
_ELSEWHERE: Final = frozenset(
    {
        table.BUILD_INFO,
        table.DRAINING,
        table.CONNECTIONS_LIMIT,
        table.UPSTREAM_UP,
        table.UPSTREAM_STATE,
        table.UPSTREAM_ACTIVE,
        table.UPSTREAM_WEIGHT,
        table.PROBES,
        table.PROBE_DURATION,
        table.CONFIG_RELOADS,
        table.CONFIG_LAST_RELOAD_SUCCESSFUL,
        table.CONFIG_LAST_RELOAD_SUCCESS,
        table.EVENT_LOOP_LAG,
        table.WORKER_RESTARTS,
        table.WORKER_CPU,
        table.WORKER_MEMORY,
        table.WORKER_DESCRIPTORS,
    }
)
# Of a proxy that lets faults be injected, or of listeners with TLS, and of no other: said by who knows of those.
_SOME: Final = frozenset({table.CHAOS_INJECTED, table.CHAOS_ACTIVE, table.CERTIFICATE_EXPIRY})


def declare_series(metrics: Metrics, config: Config) -> None:
    """Make them exist; those that do are left as they are."""
    for metric, labels in _declared(Shape.of(config)):
        metrics.declare(metric, labels)


def first_series(shape: Shape) -> Counter[Metric]:
    """How many series of Prometheus each metric has as soon as the proxy runs, where all pools are probed."""
    count = Counter[Metric]()
    for metric, _ in _declared(shape):
        count[metric] += lines(metric)
    for metric in _ELSEWHERE:
        count[metric] += sum(1 for _ in combinations(metric, shape)) * lines(metric)
    if len(shape.processes) == 1:
        del count[table.WORKER_RESTARTS]
    return count


def _declared(shape: Shape) -> Iterator[tuple[Metric, Labels]]:
    for metric in ALL_METRICS:
        if metric not in _MANY | _ELSEWHERE | _SOME:
            yield from ((metric, labels) for labels in combinations(metric, shape))
    # What alerts wait for: `increase()` does not see a series begin. Bugs, cuts, and no upstream for an upgrade.
    yield from ((table.ENDINGS, (Source.PROXY, phase, Reason.INTERNAL)) for phase in Phase)
    cut = close_code_label(None)
    yield from ((table.CLOSES, (*upstream, by, cut)) for upstream in names(table.BYTES, shape) for by in Source)
    yield from ((table.HANDSHAKES, (*route, NONE, HandshakeResult.UNREACHABLE)) for route in shape.routes)
