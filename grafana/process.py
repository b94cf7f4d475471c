"""The row on the process: workers, memory, descriptors, configuration and log."""

from __future__ import annotations

from grafana.panels import BLUE, GREEN, NEVER, ORANGE, RED, figure, graph
from grafana.queries import Query, each, increase, of_process, quantile, rate, ratio, select, total
from trioproxy import metrics as m

_START = of_process("process_start_time_seconds")
_LIMIT = of_process("process_max_fds")

PANELS = (
    figure(
        "Up for",
        "The youngest of the proxies shown: a low figure without a deployment is a restart.",
        "s",
        Query(f"min(time() - ({_START}))", "up"),
        width=4,
    ),
    figure(
        "Configuration in force since",
        "The last reload that was applied, or the start.",
        "dateTimeFromNow",
        Query(each("max", m.CONFIG_LAST_RELOAD_SUCCESS) + " * 1000", "since"),
        width=4,
    ),
    figure(
        "Last reload failed",
        "Proxies on which the file as last read is not in force: `trioproxy check` and the log say why.",
        "short",
        Query(f"sum({select(m.CONFIG_LAST_RELOAD_SUCCESSFUL)} == bool 0)", "failed"),
        width=4,
        limits=NEVER,
    ),
    figure(
        "Workers restarted",
        "In the time shown; each took its tunnels along. The log event worker_ended says why. Alone it has none.",
        "short",
        Query(f"ceil({increase(m.WORKER_RESTARTS)})", "restarts"),
        width=4,
        limits=NEVER,
    ),
    figure(
        "Log lines dropped",
        "In the time shown: their reader stalled or the disk was full.",
        "short",
        Query(f"ceil({increase(m.LOG_LINES_DROPPED)})", "lines"),
        width=4,
        limits=NEVER,
    ),
    figure(
        "Series dropped",
        "Ever since the start: what they count is missing from all figures. Name fewer routes and upstreams.",
        "short",
        Query(total(m.SERIES_DROPPED), "series"),
        width=4,
        limits=NEVER,
    ),
    graph(
        "Event loop lag p99",
        "How much later than due timers run, by worker: what every one of its connections waits for. Above 50 ms users "
        "notice; above 1 s the machine was paused or starved.",
        "s",
        Query(quantile(0.99, m.EVENT_LOOP_LAG, by="instance, worker"), "{{instance}} worker {{worker}}"),
        limits=((None, GREEN), (0.05, ORANGE), (0.25, RED)),
    ),
    graph(
        "CPU",
        "Processors used, by worker. At 1 a worker is full: server.workers, or another machine.",
        "percentunit",
        Query(rate(m.WORKER_CPU, by="instance, worker"), "{{instance}} worker {{worker}}"),
        limits=((None, GREEN), (0.8, ORANGE), (0.95, RED)),
    ),
    graph(
        "Memory",
        "Resident, by worker. It follows tunnels; without more of them it should not grow for days.",
        "bytes",
        Query(
            total(m.WORKER_MEMORY, by="instance, worker"),
            "{{instance}} worker {{worker}}",
        ),
    ),
    graph(
        "Open descriptors",
        "By worker: two a tunnel. The limit holds for each.",
        "short",
        Query(total(m.WORKER_DESCRIPTORS, by="instance, worker"), "{{instance}} worker {{worker}}"),
    ),
    graph(
        "Descriptors of the limit",
        "Share of the limit that the worst worker uses. Above 80 %: raise LimitNOFILE before connections are rejected.",
        "percentunit",
        Query(
            ratio(
                each("max", m.WORKER_DESCRIPTORS, by="instance"),
                f"min by (instance) ({_LIMIT})",
            ),
            "{{instance}}",
        ),
        limits=((None, GREEN), (0.8, ORANGE), (0.95, RED)),
    ),
    graph(
        "Worker restarts",
        "By reason, a second. killed: out of memory, or by somebody; stalled: its loop stood still; exited and start: "
        "see the log.",
        "ops",
        Query(rate(m.WORKER_RESTARTS, by="instance, reason"), "{{instance}} {{reason}}"),
    ),
    graph(
        "Reloads",
        "Of the configuration, a second, by result. Only applied changes anything.",
        "ops",
        Query(rate(m.CONFIG_RELOADS, by="result"), "{{result}}"),
    ),
    graph(
        "Log lines dropped a second",
        "Their reader stalled, the disk was full or the file could not be written.",
        "ops",
        Query(rate(m.LOG_LINES_DROPPED, by="instance"), "{{instance}}"),
    ),
    graph(
        "Certificates expire",
        "Time left, by listener, the shortest of all proxies. Whoever renews them has to have the proxies reload.",
        "s",
        Query(f"{each('min', m.CERTIFICATE_EXPIRY, by='listener')} - time()", "{{listener}}"),
        limits=((None, RED), (1_814_400, GREEN)),
    ),
    graph(
        "Draining",
        "1 while a proxy shuts down politely.",
        "short",
        Query(each("max", m.DRAINING, by="instance"), "{{instance}}"),
        limits=((None, BLUE), (1, ORANGE)),
    ),
)
