"""Which values the labels of each metric can have, and how many series that makes.

A label's values are a closed set, written down here, or names out of the configuration; never anything peers send. What
a metric means stands in `table`; making series exist at 0 is `declared`'s.
"""

from __future__ import annotations

from itertools import product
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.counts import DIRECTIONS, OPCODE_LABELS, OTHER, HandshakeResult
from trioproxy.ejection import Failure
from trioproxy.errors import Phase, Reason, Source
from trioproxy.health import UpstreamState
from trioproxy.metrics import table
from trioproxy.metrics.table import Kind, Metric
from trioproxy.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trioproxy.config import Config
    from trioproxy.metrics.reading import Labels

NONE: Final = "none"  # where there is no route, pool or upstream

# Of a label wherever it occurs. Those of modules above this one are held by tests to be theirs.
_EVERYWHERE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "direction": DIRECTIONS,
        "opcode": (*OPCODE_LABELS, OTHER),
        "side": ("client", "upstream"),
        "by": tuple(Source),
        "phase": tuple(Phase),
        "state": tuple(UpstreamState),
        "kind": ("http", "websocket"),
    }
)
# Of a metric's own.
_CLOSED: Final[Mapping[tuple[Metric, str], tuple[str, ...]]] = MappingProxyType(
    {
        (table.CONNECTIONS_REJECTED, "reason"): (Reason.OVERLOADED, Reason.FORBIDDEN, Reason.TOO_MANY),
        (table.ACCEPT_FAILURES, "reason"): ("descriptors", "memory", OTHER),
        (table.REQUESTS, "code"): (*map(str, range(100, 600)), OTHER),
        (table.HANDSHAKES, "result"): tuple(HandshakeResult),
        (table.INJECTED_FRAMES, "opcode"): ("close", "ping", "pong"),
        (table.CLOSES, "code"): (
            *map(str, (1000, 1001, 1002, 1003, *range(1007, 1015))), "3xxx", "4xxx", OTHER, "empty", NONE,
        ),
        (table.ENDINGS, "reason"): tuple(Reason),
        (table.PROBES, "result"): (
            "ok", "timeout", "refused", "unreachable", "reset", "closed", "status", "invalid", "tls", "skipped",
            "error",
        ),
        (table.CONNECT_FAILURES, "reason"): (
            Reason.REFUSED, Reason.RESET, Reason.TIMEOUT, Reason.TLS, Reason.UNREACHABLE, Reason.OVERLOADED,
        ),
        (table.UPSTREAM_FAILURES, "reason"): tuple(Failure),
        (table.UPSTREAM_EJECTIONS, "reason"): tuple(Failure),
        (table.RETRIES, "reason"): ("connect", "closed", "5xx", Reason.CHAOS),
        (table.CHAOS_INJECTED, "verb"): tuple(Verb),
        (table.CHAOS_ACTIVE, "verb"): tuple(Verb),
        (table.CONFIG_RELOADS, "result"): ("applied", "invalid", "refused", "failed"),
        (table.WORKER_RESTARTS, "reason"): ("killed", "exited", "stalled", "start", "reload"),
    }
)  # fmt: skip
# Counted under NONE, too: requests without a route, upgrades without an upstream that could be tried.
_ALSO_NONE: Final[Mapping[Metric, str]] = MappingProxyType({table.REQUESTS: "route", table.HANDSHAKES: "upstream"})
_CONFIGURED: Final = ("listener", "worker", "route", "pool", "upstream")


@attrs.frozen
class Shape:
    """The names in a configuration that labels have, and the processes there are."""

    listeners: Sequence[str]
    routes: Sequence[tuple[str, str]]  # each with its pool
    pools: Mapping[str, Sequence[str]]  # the upstreams of each
    processes: Sequence[str] = ("0",)

    @classmethod
    def of(cls, config: Config) -> Shape:
        """That of a configuration in one process."""
        return cls(
            [listener.name for listener in config.listeners],
            [(route.name, route.pool) for route in config.routes],
            {name: [upstream.address for upstream in pool.upstreams] for name, pool in config.pools.items()},
        )


def closed_sets(metric: Metric) -> dict[str, tuple[str, ...]]:
    """The labels of a metric that are no names, each with all its values. Raises KeyError for one nobody wrote down."""
    labels = () if metric is table.BUILD_INFO else metric.labels
    return {label: _CLOSED.get((metric, label)) or _EVERYWHERE[label] for label in labels if label not in _CONFIGURED}


def names(metric: Metric, shape: Shape) -> Iterator[Labels]:
    """What a configuration has for the other labels, which always come first; one empty one where there are none."""
    labels = set(metric.labels)
    if "listener" in labels:
        yield from ((name,) for name in shape.listeners)
    elif "worker" in labels:
        yield from ((name,) for name in shape.processes)
    elif {"route", "upstream"} <= labels:
        yield from ((route, pool, upstream) for route, pool in shape.routes for upstream in shape.pools[pool])
    elif "route" in labels:
        yield from shape.routes
    elif "upstream" in labels:
        yield from ((pool, upstream) for pool, upstreams in shape.pools.items() for upstream in upstreams)
    elif "pool" in labels:
        yield from ((pool,) for pool in shape.pools)
    else:
        yield ()


def combinations(metric: Metric, shape: Shape) -> Iterator[Labels]:
    """All label values a metric could ever have but NONE."""
    sets = closed_sets(metric).values()
    return ((*name, *values) for name in names(metric, shape) for values in product(*sets))


def lines(metric: Metric) -> int:
    """How many series of Prometheus one of ours is: of a histogram its buckets, its count and its sum."""
    return metric.width + 1 if metric.kind is Kind.HISTOGRAM else 1


def most_series(metric: Metric, shape: Shape) -> int:
    """How many series of Prometheus there can be, whatever happens."""
    named = sum(1 for _ in names(metric, shape))
    match _ALSO_NONE.get(metric):
        case "route":
            named += 1
        case "upstream":
            named += len(shape.routes)
    return named * prod(map(len, closed_sets(metric).values())) * lines(metric)


def formula(metric: Metric) -> str:
    """The same in words."""
    labels = set(metric.labels)
    factors = {
        "listener": "listeners",
        "worker": "processes",
        "route": "routes",
        "upstream": "upstreams",
        "pool": "pools" if not labels & {"route", "upstream"} else "",
    }
    words = [word for label, word in factors.items() if word and label in labels]
    if metric in _ALSO_NONE:
        words[-1] = f"({words[-1]} + 1)"
    each = prod(map(len, closed_sets(metric).values())) * lines(metric)
    return " x ".join([*words, f"{each:,}"] if each > 1 or not words else words)
