"""The row on how tunnels come about: connecting to upstreams, the upgrade, and second tries."""

from __future__ import annotations

from grafana.panels import GREEN, ORANGE, RED, graph, heat
from grafana.queries import Query, quantiles, rate, ratio
from trioproxy import metrics as m

PANELS = (
    graph(
        "Handshakes",
        "Upgrades a second by result. refused: the upstream answered another status; invalid: no proper 101 or a "
        "connection closed; timeout: no answer in timeouts.handshake; unreachable: no connection.",
        "ops",
        Query(rate(m.HANDSHAKES, by="result"), "{{result}}"),
        stacked=True,
    ),
    graph(
        "Handshakes that fail, by pool",
        "Share of all. Near 100 %: the service is out, or a deployment broke its upgrade.",
        "percentunit",
        Query(
            ratio(rate(m.HANDSHAKES, 'result!="accepted"', by="pool"), rate(m.HANDSHAKES, by="pool")),
            "{{pool}}",
        ),
        limits=((None, GREEN), (0.01, ORANGE), (0.1, RED)),
    ),
    graph(
        "Handshakes that fail, by upstream",
        "A second. One upstream alone: look at it, drain it; all of a pool: look at what they share.",
        "ops",
        Query(
            rate(m.HANDSHAKES, 'result!="accepted"', by="pool, upstream, result"), "{{pool}} {{upstream}} {{result}}"
        ),
    ),
    graph(
        "Handshake duration",
        "From sending the upgrade to the complete answer, by pool; connecting is not in it. Upstreams that "
        "authenticate clients here wait for what they ask.",
        "s",
        *quantiles(m.HANDSHAKE_DURATION, "{{pool}}", by="pool", shares=(0.5, 0.9, 0.99)),
        limits=((None, GREEN), (0.25, ORANGE), (1, RED)),
    ),
    heat(
        "Handshake durations",
        "How many upgrades a second took how long. Two bands are two kinds of upstreams, or a cache that sometimes "
        "misses.",
        "s",
        Query(rate(m.HANDSHAKE_DURATION, by="le", suffix="_bucket"), "{{le}}"),
    ),
    graph(
        "Connect duration",
        "Connecting to upstreams where it succeeded, TLS too. Around 1 s: lost packets, or a full accept queue.",
        "s",
        *quantiles(m.CONNECT_DURATION, "{{pool}}", by="pool"),
        limits=((None, GREEN), (0.1, ORANGE), (1, RED)),
    ),
    graph(
        "Connects that fail",
        "A second, by reason, requests and tunnels together. refused: nothing listens there; timeout and unreachable: "
        "the network or the machine; tls: a certificate that is not accepted, or no TLS.",
        "ops",
        Query(rate(m.CONNECT_FAILURES, by="pool, upstream, reason"), "{{pool}} {{upstream}} {{reason}}"),
        width=12,
    ),
    graph(
        "Second tries",
        "Requests a second that were tried at another upstream, by what went wrong before. Clients saw none of it, but "
        "the upstreams have a problem.",
        "ops",
        Query(rate(m.RETRIES, by="pool, reason"), "{{pool}} {{reason}}"),
        width=12,
    ),
)
