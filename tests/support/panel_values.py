"""What each query of the dashboard has to show after a known load: by row and panel, one expectation a query.

A panel that is not here fails the test: whoever draws one says here what it has to show.
"""

from __future__ import annotations

import math
import platform
import resource
from collections import Counter
from typing import TYPE_CHECKING

import trio
from support.expectations import (
    BOUNDS,
    Expectation,
    bounded,
    constant,
    count,
    gauge,
    heat,
    mean,
    per_second,
    quantile,
    share,
)
from support.known_load import FALL, MOST_CONNECTIONS, PROBE_SECONDS
from support.ledger import Span

from trioproxy import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.expectations import Values
    from support.live_run import Measured, State

# What becomes of a probe on a busy machine, while the proxy is out of descriptors, or when the upstream dies meanwhile.
LATE = ("timeout", "skipped", "closed", "reset")
STATES = ("down", "ejected", "unknown", "draining", "up")  # as the timeline numbers them
NEVER = constant(0)
YEAR = 365 * 86400


def _top(name: str) -> float:
    """What Prometheus gives at most for a quantile: of these nobody but the proxy itself can know more."""
    return BOUNDS[f"trioproxy_{name}"][-1]


def _not_accepted(labels: Mapping[str, str]) -> bool:
    return labels["result"] != "accepted"


def _cut(labels: Mapping[str, str]) -> bool:
    return labels["code"] == "none"


def _error(labels: Mapping[str, str]) -> bool:
    return labels["code"] not in {"1000", "1001", "1012", "1013", "empty", "none"}


def _not_done(labels: Mapping[str, str]) -> bool:
    return labels["reason"] != "done"


def _after(measured: Measured) -> State:
    assert measured.after is not None
    return measured.after


def _before(measured: Measured) -> State:
    assert measured.before is not None
    return measured.before


def _workers(measured: Measured) -> int:
    assert measured.known is not None
    return int(measured.known.tables["server"]["workers"])


def _open(*places: int) -> Values:
    """Open tunnels by route (0), pool (1), upstream (2)."""

    def values(measured: Measured) -> Mapping[tuple[str, ...], float]:
        return Counter(tuple(tunnel[place] for place in places) for tunnel in _after(measured).tunnels)

    return values


def upstreams_of(measured: Measured) -> dict[tuple[str, str], float]:
    """Pool and upstream → weight, of all."""
    assert measured.known is not None
    found: dict[tuple[str, str], float] = {}
    for name, pool in measured.known.tables["pools"].items():
        for upstream in pool["upstreams"]:
            settings = upstream if isinstance(upstream, dict) else {"address": upstream}
            found[name, settings["address"]] = settings.get("weight", 1)
    return found


def _each_upstream(value: float) -> Expectation:
    return gauge("pool, upstream", lambda measured: dict.fromkeys(upstreams_of(measured), value))


def _each_pool(value: float) -> Expectation:
    return gauge("pool", lambda measured: {(pool,): value for pool, _ in upstreams_of(measured)})


def _each_instance(value: float) -> Expectation:
    return gauge("instance", lambda measured: {(measured.instance,): value})


def _versions(measured: Measured) -> dict[tuple[str, ...], float]:
    return {(measured.instance, __version__, platform.python_version(), trio.__version__): 1}


def _probes(measured: Measured) -> dict[tuple[str, str], Span]:
    """How many of the probes each upstream answered are counted in this time: some are on their way at either end."""
    doubt = 1.0  # seconds: a probe on its way, a loop that is late
    found = {}
    for key, moments in _after(measured).probes.items():
        surely = sum(measured.start + doubt < moment < measured.end - doubt for moment in moments)
        perhaps = sum(measured.start - doubt < moment < measured.end + doubt for moment in moments)
        found[key] = Span(surely, perhaps)
    return found


def _failed_probes(measured: Measured) -> Span:
    """Of an upstream that was dead for a while: some took it down, then came as many as there was time for."""
    return Span(FALL, _after(measured).down_seconds / (0.9 * PROBE_SECONDS) + 2)


def _probe_rates(measured: Measured) -> Values:
    """An answered probe was good, or, on a busy machine, too late."""
    good, bad = _probes(measured).values(), _failed_probes(measured)
    seconds, most = measured.seconds, sum(each.high for each in good)
    return {
        ("ok",): Span(sum(each.low for each in good) / 2 / seconds, most / seconds),
        ("refused",): Span(bad.low / seconds, bad.high / seconds),
        **{(result,): Span(0, most / 2 / seconds) for result in LATE},
    }


def _failing_probes(measured: Measured) -> Values:
    known, bad, seconds = measured.known, _failed_probes(measured), measured.seconds
    assert known is not None
    surely = {("chat", known.beta.address, "refused"): Span(bad.low / seconds, bad.high / seconds)}
    perhaps = {
        (*key, result): Span(0, each.high / 2 / seconds) for key, each in _probes(measured).items() for result in LATE
    }
    return surely | perhaps


def _by_worker(measured: Measured, kind: str, slack: float) -> Values:
    """What the system said before and behind, and somewhat around it."""
    early, late = getattr(_after(measured).early, kind), getattr(_after(measured).late, kind)
    return {
        (measured.instance, worker): Span(
            min(early[worker], late[worker]) - slack, max(early[worker], late[worker]) + slack
        )
        for worker in early
    }


def _processors(measured: Measured) -> Values:
    before, after = _before(measured), _after(measured)
    return {
        (measured.instance, worker): Span(
            max(after.early.cpu[worker] - before.late.cpu[worker] - 0.05, 0) / measured.seconds,
            (after.late.cpu[worker] - before.early.cpu[worker] + 0.05) / measured.seconds,
        )
        for worker in after.early.cpu
    }


def _of_the_limit(measured: Measured) -> Values:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    spans = _by_worker(measured, "descriptors", 3).values()
    return {(measured.instance,): Span(max(span.low for span in spans) / most, max(span.high for span in spans) / most)}


def _failed_accepts(measured: Measured) -> Values:
    """One at least, then one every tenth of a second, by each worker."""
    most = _workers(measured) * (math.ceil(_after(measured).exhausted / 0.1) + 2)
    return {("public", "descriptors"): Span(1 / measured.seconds, most / measured.seconds)}


def _restarted(measured: Measured) -> dict[tuple[str, ...], float]:
    """None was; where there is but one, nothing is said about it."""
    return {} if _workers(measured) == 1 else {(): 0}


def _restarts(measured: Measured) -> dict[tuple[str, ...], float]:
    reasons = ("killed", "exited", "stalled", "start", "reload")
    return {} if _workers(measured) == 1 else {(measured.instance, reason): 0 for reason in reasons}


OPEN_BY_UPSTREAM = gauge("pool, upstream", _open(1, 2))
PING_TIMES = [quantile(part, "ping_rtt_seconds", "side") for part in (0.99, 0.5)]
CLOSE_RATES = {by: per_second("closes_total", by) for by in ("code", "by")}
LAG = bounded(
    "instance, worker",
    lambda measured: {
        (measured.instance, worker): Span(0, _top("event_loop_lag_seconds")) for worker in _after(measured).early.cpu
    },
)

EXPECTED: dict[str, dict[str, list[Expectation]]] = {
    "Overview": {
        "Proxies answering": [constant(1)],
        "Draining": [constant(0)],
        "Upstreams up": [constant(1)],
        "Pools without upstream": [NEVER],
        "Handshakes that fail": [share("handshakes_total", _not_accepted)],
        "Handshake p99": [quantile(0.99, "handshake_duration_seconds")],
        "Event loop lag p99": [constant(0, _top("event_loop_lag_seconds"))],
        "Bugs": [NEVER],
        "Open tunnels": [gauge("instance", lambda measured: {(measured.instance,): len(_after(measured).tunnels)})],
        "Messages": [per_second("messages_total", "direction")],
        "Tunnel traffic": [per_second("bytes_total", "direction")],
        "Connections": [
            gauge("instance", lambda measured: {(measured.instance,): len(_after(measured).tunnels)}),
            _each_instance(MOST_CONNECTIONS),
        ],
        "Connections accepted and rejected": [
            per_second("connections_total", "listener"),
            per_second("connections_rejected_total", "listener, reason"),
            bounded("listener, reason", _failed_accepts),
        ],
        "Requests": [per_second("requests_total", "kind, code")],
        "Plain HTTP: duration": [quantile(part, "request_duration_seconds") for part in (0.99, 0.5)],
        "Plain HTTP: bodies": [per_second("http_bytes_total", "direction")],
        "Versions": [gauge("instance, version, python, trio", _versions)],
    },
    "Tunnels and frames": {
        "Open tunnels by upstream": [OPEN_BY_UPSTREAM],
        "Open tunnels by route": [gauge("route", _open(0))],
        "Tunnels opened and ended": [per_second("tunnels_total"), per_second("closes_total")],
        "Messages by pool": [per_second("messages_total", "pool, direction")],
        "Bytes by pool": [per_second("bytes_total", "pool, direction")],
        "Frames by kind": [per_second("frames_total", "direction, opcode")],
        "Message size": [
            *(quantile(part, "message_size_bytes", "direction") for part in (0.99, 0.5)),
            mean("message_size_bytes", "direction"),
        ],
        "Message sizes": [heat("message_size_bytes")],
        "Frames of the proxy itself": [per_second("injected_frames_total", "side, opcode")],
        "Ping round trip": PING_TIMES,
        "Life of tunnels": [quantile(part, "tunnel_duration_seconds") for part in (0.9, 0.5, 0.1)],
        "Lives of tunnels": [heat("tunnel_duration_seconds")],
    },
    "Handshakes": {
        "Handshakes": [per_second("handshakes_total", "result")],
        "Handshakes that fail, by pool": [share("handshakes_total", _not_accepted, "pool")],
        "Handshakes that fail, by upstream": [per_second("handshakes_total", "pool, upstream, result", _not_accepted)],
        "Handshake duration": [quantile(part, "handshake_duration_seconds", "pool") for part in (0.99, 0.9, 0.5)],
        "Handshake durations": [heat("handshake_duration_seconds")],
        "Connect duration": [quantile(part, "connect_duration_seconds", "pool") for part in (0.99, 0.5)],
        "Connects that fail": [per_second("connect_failures_total", "pool, upstream, reason")],
        "Second tries": [per_second("retries_total", "pool, reason")],
    },
    "Upstreams": {
        "States": [_each_upstream(STATES.index("up"))],
        "Now": [
            _each_upstream(1),
            OPEN_BY_UPSTREAM,
            OPEN_BY_UPSTREAM,
            gauge("pool, upstream", upstreams_of),
        ],
        "Upstreams up, by pool": [_each_pool(1)],
        "Leases": [OPEN_BY_UPSTREAM],
        "New tunnels": [per_second("tunnels_total", "pool, upstream")],
        "Weights": [gauge("pool, upstream", upstreams_of)],
        "Probes": [bounded("result", _probe_rates)],
        "Probes that fail": [bounded("pool, upstream, result", _failing_probes)],
        "Probe duration p99": [
            bounded(
                "pool, upstream",
                lambda measured: dict.fromkeys(_probes(measured), Span(0, _top("probe_duration_seconds"))),
            )
        ],
        "Failures in the traffic": [per_second("upstream_failures_total", "pool, upstream, reason")],
        "Ejections": [per_second("upstream_ejections_total", "pool, upstream, reason")],
        "Queue": [gauge("pool", lambda _: {})],  # nobody may wait
        "Bytes by upstream": [per_second("bytes_total", "pool, upstream")],
        "Injected faults": [
            gauge("verb", lambda _: {}),  # over before it is looked at
            per_second("chaos_injected_total", "pool, upstream, verb"),
        ],
    },
    "Endings and closes": {
        "Closes by code": [CLOSE_RATES["code"]],
        "Closes by who": [CLOSE_RATES["by"]],
        "Cut without Close": [share("closes_total", _cut, "by", "")],
        "Cut without Close, by upstream": [per_second("closes_total", "pool, upstream, by", _cut)],
        "Closed with an error": [per_second("closes_total", "by, code", _error)],
        "Endings": [per_second("endings_total", "reason")],
        "Endings that are not good, by phase": [per_second("endings_total", "by, phase", _not_done)],
        "What ended in the time shown": [count("endings_total", "by, phase, reason")],
        "Share of good ends": [share("endings_total", lambda labels: not _not_done(labels))],
        "Bugs in the time shown": [NEVER],
    },
    "Process and workers": {
        "Up for": [constant(1, 600)],
        "Configuration in force since": [
            bounded("", lambda measured: {(): Span(_after(measured).reloaded * 1000, measured.end * 1000)})
        ],
        "Last reload failed": [NEVER],
        "Workers restarted": [gauge("", _restarted)],
        "Log lines dropped": [NEVER],
        "Series dropped": [NEVER],
        "Event loop lag p99": [LAG],
        "CPU": [bounded("instance, worker", _processors)],
        "Memory": [bounded("instance, worker", lambda measured: _by_worker(measured, "memory", 4 * 2**20))],
        "Open descriptors": [bounded("instance, worker", lambda measured: _by_worker(measured, "descriptors", 3))],
        "Descriptors of the limit": [bounded("instance", _of_the_limit)],
        "Worker restarts": [gauge("instance, reason", _restarts)],
        "Reloads": [per_second("config_reloads_total", "result")],
        "Log lines dropped a second": [_each_instance(0)],
        "Certificates expire": [bounded("listener", lambda _: {("secure",): Span(YEAR, 1000 * YEAR)})],
        "Draining": [_each_instance(0)],
    },
}
