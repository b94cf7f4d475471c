"""The first row: whether all is well, and how much goes through."""

from __future__ import annotations

from grafana.panels import GREEN, NEVER, ORANGE, RED, figure, graph, rows
from grafana.queries import Query, each, increase, quantile, quantiles, rate, ratio, total
from trioproxy import metrics as m

_BUG = 'reason="internal"'
_BEST = each("max", m.UPSTREAM_STATE, 'state="up"', by="instance, pool")

PANELS = (
    figure(
        "Proxies answering",
        "Proxies that Prometheus could scrape last. Fewer than you run: look at Status > Targets in Prometheus.",
        "short",
        Query(each("count", m.BUILD_INFO), "proxies"),
        limits=((None, RED), (1, GREEN)),
    ),
    figure(
        "Draining",
        "Proxies that shut down politely just now. Without a deployment going on, somebody stops them.",
        "short",
        Query(total(m.DRAINING), "draining"),
        limits=((None, GREEN), (1, ORANGE)),
    ),
    figure(
        "Upstreams up",
        "Share of upstreams that get new work; those draining or down do not. See the row Upstreams.",
        "percentunit",
        Query(each("avg", m.UPSTREAM_STATE, 'state="up"'), "up"),
        limits=((None, RED), (0.5, ORANGE), (1, GREEN)),
    ),
    figure(
        "Pools without upstream",
        "Pools in which some proxy finds no upstream up: its clients get 503. Look at these upstreams first.",
        "short",
        Query(f"sum({_BEST} == bool 0)", "pools"),
        limits=NEVER,
    ),
    figure(
        "Handshakes that fail",
        "Share of upgrades that did not become tunnels. Above a few per cent see the row Handshakes.",
        "percentunit",
        Query(
            ratio(rate(m.HANDSHAKES, 'result!="accepted"'), rate(m.HANDSHAKES)),
            "fail",
        ),
        limits=((None, GREEN), (0.01, ORANGE), (0.1, RED)),
    ),
    figure(
        "Handshake p99",
        "Of a hundred upgrades, how long upstreams took to answer the slowest. What new clients wait for.",
        "s",
        Query(quantile(0.99, m.HANDSHAKE_DURATION), "p99"),
        limits=((None, GREEN), (0.25, ORANGE), (1, RED)),
    ),
    figure(
        "Event loop lag p99",
        "What every connection of the worst worker waits for. Above 50 ms users notice: more workers or machines.",
        "s",
        Query(f"max({quantile(0.99, m.EVENT_LOOP_LAG, by='instance, worker')})", "p99"),
        limits=((None, GREEN), (0.05, ORANGE), (0.25, RED)),
    ),
    figure(
        "Bugs",
        "Endings with reason internal in the time shown: the log has a traceback of each. Please report it.",
        "short",
        Query(f"ceil({increase(m.ENDINGS, _BUG)})", "bugs"),
        limits=NEVER,
    ),
    graph(
        "Open tunnels",
        "By proxy. A step down is a drain, a cut or an upstream lost; clients that come back make a step up elsewhere.",
        "short",
        Query(total(m.TUNNELS_ACTIVE, by="instance"), "{{instance}}"),
        stacked=True,
    ),
    graph(
        "Messages",
        "Whole WebSocket messages a second, by the way they went.",
        "ops",
        Query(rate(m.MESSAGES, by="direction"), "{{direction}}"),
    ),
    graph(
        "Tunnel traffic",
        "Bytes a second in tunnels, frame headers included, by the way they went.",
        "Bps",
        Query(rate(m.BYTES, by="direction"), "{{direction}}"),
    ),
    graph(
        "Connections",
        "Open client connections by proxy, idle ones and tunnels included, and how many there may be: above that, "
        "clients get 503. Raise limits.max_connections or the limit of open files, or add proxies, well before.",
        "short",
        Query(total(m.CONNECTIONS_ACTIVE, by="instance"), "{{instance}}"),
        Query(each("max", m.CONNECTIONS_LIMIT, by="instance"), "{{instance}} limit"),
    ),
    graph(
        "Connections accepted and rejected",
        "A second. Rejected ones found the proxy full; failed are attempts for want of descriptors or memory, while "
        "clients wait. Many accepted with few tunnels: clients that fail and try again.",
        "cps",
        Query(rate(m.CONNECTIONS, by="listener"), "{{listener}} accepted"),
        Query(rate(m.CONNECTIONS_REJECTED, by="listener, reason"), "{{listener}} rejected: {{reason}}"),
        Query(rate(m.ACCEPT_FAILURES, by="listener, reason"), "{{listener}} failed: {{reason}}"),
    ),
    graph(
        "Requests",
        "A second, by kind and status. 101 are tunnels opened; 502, 503 and 504 speak of upstreams, see the next rows; "
        "`other` could not be answered.",
        "reqps",
        Query(rate(m.REQUESTS, by="kind, code"), "{{kind}} {{code}}"),
        stacked=True,
    ),
    graph(
        "Plain HTTP: duration",
        "From the complete request head to the last byte of the answer, tunnels left out. Slow with idle proxies: the "
        "upstreams are slow.",
        "s",
        *quantiles(m.REQUEST_DURATION),
        limits=((None, GREEN), (1, ORANGE), (10, RED)),
    ),
    graph(
        "Plain HTTP: bodies",
        "Bytes a second of requests (to upstream) and answers (to client).",
        "Bps",
        Query(rate(m.HTTP_BYTES, by="direction"), "{{direction}}"),
    ),
    rows(
        "Versions",
        "What runs where. Two versions are an upgrade under way, or one that stopped half way.",
        "short",
        Query(each("max", m.BUILD_INFO, by="instance, version, python, trio"), "running"),
        width=8,
    ),
)
