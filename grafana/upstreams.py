"""The row on upstreams: their states, what they carry, and what probes see."""

from __future__ import annotations

from grafana.panels import GREEN, GREY, ORANGE, PURPLE, RED, graph, rows, timeline
from grafana.queries import Query, each, quantile, rate, select, total
from trioproxy import metrics as m
from trioproxy.health import UpstreamState

# From bad to good: where proxies do not agree, the worst is shown.
STATES = {
    UpstreamState.DOWN: RED,
    UpstreamState.EJECTED: ORANGE,
    UpstreamState.UNKNOWN: GREY,
    UpstreamState.DRAINING: PURPLE,
    UpstreamState.UP: GREEN,
}
# One of them is 1: the sum is its place in the table, from 0.
_PLACE = " + ignoring (state) ".join(
    f"{place} * " + select(m.UPSTREAM_STATE, f'state="{state}"') for place, state in enumerate(STATES)
)

PANELS = (
    timeline(
        "States",
        "Red: its probes fail, no new work. Orange: the traffic itself failed. Purple: an operator drains it. Where "
        "proxies do not agree, the worst is shown: then the way between one proxy and the upstream is broken.",
        Query(f"min by (pool, upstream) ({_PLACE})", "{{pool}} {{upstream}}"),
        {place: (state.value, color) for place, (state, color) in enumerate(STATES.items())},
        width=16,
    ),
    rows(
        "Now",
        "What each upstream is and has, all proxies together. Weight is the share of new work, relative to its pool.",
        "short",
        Query(each("min", m.UPSTREAM_UP, by="pool, upstream"), "up"),
        Query(total(m.UPSTREAM_ACTIVE, by="pool, upstream"), "leases"),
        Query(total(m.TUNNELS_ACTIVE, by="pool, upstream"), "tunnels"),
        Query(each("avg", m.UPSTREAM_WEIGHT, by="pool, upstream"), "weight"),
        width=8,
    ),
    graph(
        "Upstreams up, by pool",
        "Share of proxies and upstreams where the upstream gets new work. What remains has to carry all.",
        "percentunit",
        Query(each("avg", m.UPSTREAM_STATE, 'state="up"', by="pool"), "{{pool}}"),
        limits=((None, RED), (0.5, ORANGE), (1, GREEN)),
    ),
    graph(
        "Leases",
        "Requests and tunnels each upstream has, those still connecting included. Near its max_connections it gets no "
        "more.",
        "short",
        Query(total(m.UPSTREAM_ACTIVE, by="pool, upstream"), "{{pool}} {{upstream}}"),
        stacked=True,
    ),
    graph(
        "New tunnels",
        "Tunnels opened a second at each upstream: should follow the weights.",
        "ops",
        Query(rate(m.TUNNELS, by="pool, upstream"), "{{pool}} {{upstream}}"),
    ),
    graph(
        "Weights",
        "The share of new work each upstream is to get, relative to its pool, as in force.",
        "short",
        Query(each("avg", m.UPSTREAM_WEIGHT, by="pool, upstream"), "{{pool}} {{upstream}}"),
    ),
    graph(
        "Probes",
        "Health probes a second by result, all proxies together. Only `ok` is good; skipped: this machine could not "
        "probe.",
        "ops",
        Query(rate(m.PROBES, by="result"), "{{result}}"),
        stacked=True,
    ),
    graph(
        "Probes that fail",
        "A second, by upstream. Some all the time, but never enough to take it down: health.timeout is too short, or "
        "the upstream is busy.",
        "ops",
        Query(rate(m.PROBES, 'result!="ok"', by="pool, upstream, result") + " > 0", "{{pool}} {{upstream}} {{result}}"),
    ),
    graph(
        "Probe duration p99",
        "How long health probes took. Near health.timeout the upstream is about to be taken for down.",
        "s",
        Query(quantile(0.99, m.PROBE_DURATION, by="pool, upstream"), "{{pool}} {{upstream}}"),
        limits=((None, GREEN), (0.5, ORANGE), (1, RED)),
    ),
    graph(
        "Failures in the traffic",
        "Connects, handshakes, answers and tunnels that upstreams failed at, a second: what passive.max_failures goes "
        "by.",
        "ops",
        Query(rate(m.UPSTREAM_FAILURES, by="pool, upstream, reason") + " > 0", "{{pool}} {{upstream}} {{reason}}"),
    ),
    graph(
        "Ejections",
        "Upstreams taken out for a while because of such failures, a second. Again and again the same: it comes back "
        "broken.",
        "ops",
        Query(rate(m.UPSTREAM_EJECTIONS, by="pool, upstream, reason") + " > 0", "{{pool}} {{upstream}} {{reason}}"),
    ),
    graph(
        "Queue",
        "Requests and upgrades that wait for a lease, by pool: every upstream that is up has as many as its "
        "max_connections allows.",
        "short",
        Query(total(m.QUEUE_LENGTH, by="pool"), "{{pool}}"),
        stacked=True,
    ),
    graph(
        "Bytes by upstream",
        "In tunnels, both ways together.",
        "Bps",
        Query(rate(m.BYTES, by="pool, upstream"), "{{pool}} {{upstream}}"),
    ),
    graph(
        "Injected faults",
        "On purpose, by chaos verbs: upstreams that have one on now, and tunnels and upgrades struck a second.",
        "short",
        Query(total(m.CHAOS_ACTIVE, by="verb"), "{{verb}} on"),
        Query(rate(m.CHAOS_INJECTED, by="pool, upstream, verb") + " > 0", "{{pool}} {{upstream}} {{verb}}"),
    ),
)
