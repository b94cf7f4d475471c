"""The row on how tunnels, requests and connections end."""

from __future__ import annotations

from grafana.panels import GREEN, NEVER, ORANGE, RED, figure, graph, rows
from grafana.queries import Query, increase, rate, ratio
from trioproxy import metrics as m

_CUT = rate(m.CLOSES, 'code="none"', by="by")
_ENDED = increase(m.ENDINGS, by="by, phase, reason")
_BUGS = increase(m.ENDINGS, 'reason="internal"')

PANELS = (
    graph(
        "Closes by code",
        "Tunnels ended a second. 1000 and 1001 are good; none: cut without a Close frame, clients see 1006; 1011: an "
        "upstream vanished; 1012: drained or removed; 1002, 1008, 1009: a side broke a rule or a limit.",
        "ops",
        Query(rate(m.CLOSES, by="code"), "{{code}}"),
        stacked=True,
        width=12,
    ),
    graph(
        "Closes by who",
        "Tunnels ended a second, by who ended them. proxy: timeouts, limits, drains.",
        "ops",
        Query(rate(m.CLOSES, by="by"), "{{by}}"),
        stacked=True,
        width=12,
    ),
    graph(
        "Cut without Close",
        "Share of ended tunnels, by who cut them. Clients on mobile networks do it all day; an upstream that does it "
        "crashes or is killed.",
        "percentunit",
        Query(f"{_CUT} / ignoring (by) group_left () ({rate(m.CLOSES)} > 0)", "{{by}}"),
        limits=((None, GREEN), (0.2, ORANGE), (0.5, RED)),
    ),
    graph(
        "Cut without Close, by upstream",
        "Tunnels a second. One upstream alone: it crashes or is killed.",
        "ops",
        Query(rate(m.CLOSES, 'code="none"', by="pool, upstream, by"), "{{pool}} {{upstream}} by {{by}}"),
    ),
    graph(
        "Closed with an error",
        "Tunnels a second with a code other than 1000, 1001, 1005, 1012 and 1013, by who sent it.",
        "ops",
        Query(
            rate(m.CLOSES, 'code!~"1000|1001|1012|1013|empty|none"', by="by, code"),
            "{{by}} {{code}}",
        ),
    ),
    graph(
        "Endings",
        "Requests, tunnels and connections a second by reason; done is the good end. docs/reference/logs.md explains "
        "each reason.",
        "ops",
        Query(rate(m.ENDINGS, by="reason"), "{{reason}}"),
        stacked=True,
        width=12,
    ),
    graph(
        "Endings that are not good, by phase",
        "A second: how far they had come, and by whom. head: clients that send nothing; connect and handshake: "
        "upstreams; tunnel: either side went away.",
        "ops",
        Query(rate(m.ENDINGS, 'reason!="done"', by="by, phase"), "{{by}} in {{phase}}"),
        width=12,
    ),
    rows(
        "What ended in the time shown",
        "Sorted by number it says what to look at first; the log has a line for each with more detail.",
        "short",
        Query(f"sort_desc({_ENDED} > 0)", "endings"),
        width=12,
    ),
    figure(
        "Share of good ends",
        "Of all that ended just now: reason done.",
        "percentunit",
        Query(ratio(rate(m.ENDINGS, 'reason="done"'), rate(m.ENDINGS)), "done"),
        width=6,
        limits=((None, RED), (0.5, ORANGE), (0.9, GREEN)),
    ),
    figure(
        "Bugs in the time shown",
        "Reason internal: the log has a traceback of each. Please report it.",
        "short",
        Query(f"ceil({_BUGS})", "bugs"),
        width=6,
        limits=NEVER,
    ),
)
