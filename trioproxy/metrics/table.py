"""The table of all metrics: name, type, labels, what it tells an operator, and why its buckets stand where they do.

Values only: counting is `registry`'s, the text for Prometheus `exposition`'s, the reference page `reference`'s.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import attrs

from trioproxy.wire.traffic import MESSAGE_SIZES


class Kind(StrEnum):
    """The types of Prometheus that are in use here."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@attrs.frozen
class Buckets:
    """Upper bounds of a histogram, ascending, in its unit, and why they were chosen."""

    bounds: tuple[float, ...]
    why: str


@attrs.frozen(eq=False)
class Metric:
    """One row of the table; compared and hashed by identity, so that a counter is found quickly.

    A cell holds whole numbers: `scale` cells are one unit of the metric (histograms: of its sum). `unit` is what a
    histogram's bounds are in.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    scale: int = 1
    buckets: Buckets = Buckets((), "")
    unit: str = "s"

    @classmethod
    def counter(cls, name: str, text: str, labels: tuple[str, ...] = (), *, scale: int = 1) -> Metric:
        """A number of events, or an amount kept to 1/`scale`; the name ends in `_total`."""
        return cls(name, Kind.COUNTER, text, labels, scale)

    @classmethod
    def gauge(cls, name: str, text: str, labels: tuple[str, ...] = (), *, scale: int = 1) -> Metric:
        """A state; fractions are kept to 1/`scale`."""
        return cls(name, Kind.GAUGE, text, labels, scale)

    @classmethod
    def histogram(cls, name: str, text: str, labels: tuple[str, ...], buckets: Buckets) -> Metric:
        """A distribution of seconds; the sum is kept in nanoseconds, good for 292 years."""
        return cls(name, Kind.HISTOGRAM, text, labels, 1_000_000_000, buckets)

    @classmethod
    def size_histogram(cls, name: str, text: str, labels: tuple[str, ...], buckets: Buckets) -> Metric:
        """A distribution of bytes."""
        return cls(name, Kind.HISTOGRAM, text, labels, 1, buckets, "bytes")

    @property
    def width(self) -> int:
        """How many cells a series takes: one, or each bucket, the one above all bounds, and the sum."""
        return len(self.buckets.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1


_REQUEST_SECONDS: Final = Buckets(
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    "From what a cached answer takes to the default `timeouts.response` (60 s), about two a factor of five.",
)
_HANDSHAKE_SECONDS: Final = Buckets(
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    "A local upstream answers within a millisecond or two; the default `timeouts.handshake` is 10 s.",
)
_CONNECT_SECONDS: Final = Buckets(
    (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1, 3),
    "Finest below 10 ms, the range of one data centre. A lost SYN is sent again after 1 s, so what stands above that "
    "bound is packet loss; the default `timeouts.connect` is 3 s.",
)
_PROBE_SECONDS: Final = Buckets(
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    "The default `health.timeout` is 1 s; above it only pools with a longer one have probes.",
)
_TUNNEL_SECONDS: Final = Buckets(
    (1, 10, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600),
    "A second (clients that fail and reconnect) to a week; 60 s, 5 min, 1 h and a day are where the timeouts of "
    "proxies, load balancers and networks usually cut, so a cut at one of them shows as a step.",
)
_RTT_SECONDS: Final = Buckets(
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
    "Upstreams of the same data centre answer in about a millisecond, clients in 10 to 300 ms; a phone that has to "
    "wake its radio takes seconds. The default `websocket.ping_timeout` is 20 s.",
)
_MESSAGE_BYTES: Final = Buckets(
    MESSAGE_SIZES,
    "125 bytes is what the shortest frame header can announce, and most chat and telemetry; then a factor of four a "
    "bucket: 1 KiB (what compression begins to pay for) to 64 MiB (above any library's default limit).",
)
_LAG_SECONDS: Final = Buckets(
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10),
    "Below 5 ms is the normal life of a busy loop; from 50 ms on users notice; above 1 s the machine was paused or "
    "starved.",
)

_UPSTREAM: Final = ("pool", "upstream")

BUILD_INFO: Final = Metric.gauge(
    "trioproxy_build_info", "Always 1; the labels say which versions run.", ("version", "python", "trio")
)
CONNECTIONS_ACTIVE: Final = Metric.gauge(
    "trioproxy_connections_active", "Client connections open now, idle ones and tunnels included.", ("listener",)
)
CONNECTIONS: Final = Metric.counter(
    "trioproxy_connections_total", "Client connections accepted, those rejected at once included.", ("listener",)
)
CONNECTIONS_REJECTED: Final = Metric.counter(
    "trioproxy_connections_rejected_total",
    "Client connections closed without being served: `overloaded` is above trioproxy_connections_limit, `too_many` is "
    "above `max_connections_per_client` of the listener, and both are told 503, and to come again; `forbidden` is kept "
    "out by `allow` and `deny` of the listener, and told nothing.",
    ("listener", "reason"),
)
CONNECTIONS_LIMIT: Final = Metric.gauge(
    "trioproxy_connections_limit",
    "Client connections that may be open at once: limits.max_connections, or less where the limit of open files allows "
    "no more. Above it clients get 503.",
)
ACCEPT_FAILURES: Final = Metric.counter(
    "trioproxy_accept_failures_total",
    "Attempts to accept a client that failed, ten a second while it lasts: `descriptors` (raise the limit of open "
    "files), `memory` (of the kernel), `other` (of that one client). Clients wait in the kernel's queue meanwhile.",
    ("listener", "reason"),
)
CERTIFICATE_EXPIRY: Final = Metric.gauge(
    "trioproxy_certificate_expiry_timestamp_seconds",
    "Unix time at which a listener's certificate expires. Only of listeners with tls; a reload reads it again.",
    ("listener",),
)
REQUESTS: Final = Metric.counter(
    "trioproxy_requests_total",
    "Requests by the status the client was answered; an accepted upgrade has code 101 and counts when it is accepted. "
    "`other`: nothing could be answered, or no status between 100 and 599.",
    ("route", "pool", "kind", "code"),
)
REQUEST_DURATION: Final = Metric.histogram(
    "trioproxy_request_duration_seconds",
    "Plain HTTP from the complete request head to the last byte of the answer. Tunnels are not in it: a tunnel's life "
    "is no latency.",
    ("route", "pool"),
    _REQUEST_SECONDS,
)
HTTP_BYTES: Final = Metric.counter(
    "trioproxy_http_bytes_total",
    "Octets of bodies of plain HTTP: `to_upstream` from requests, `to_client` from answers; heads and chunk framing "
    "are left out.",
    (*_UPSTREAM, "direction"),
)
HANDSHAKES: Final = Metric.counter(
    "trioproxy_handshakes_total",
    "Upgrades for upstreams: `accepted` got a valid 101, `refused` another status, `invalid` a wrong 101, no HTTP or "
    "none at all (closed, reset), `timeout` no answer within timeouts.handshake, `unreachable` no connection. "
    "`chaos`: refused in the upstream's name, by a fault that an operator injected.",
    ("route", *_UPSTREAM, "result"),
)
HANDSHAKE_DURATION: Final = Metric.histogram(
    "trioproxy_handshake_duration_seconds",
    "How long upstreams took to answer an upgrade, from sending it to the complete head of the answer; connecting is "
    "not in it.",
    ("pool",),
    _HANDSHAKE_SECONDS,
)
TUNNELS_ACTIVE: Final = Metric.gauge("trioproxy_tunnels_active", "Tunnels open now.", ("route", *_UPSTREAM))
TUNNELS: Final = Metric.counter("trioproxy_tunnels_total", "Tunnels opened.", ("route", *_UPSTREAM))
TUNNEL_DURATION: Final = Metric.histogram(
    "trioproxy_tunnel_duration_seconds", "How long tunnels lived; observed when they end.", ("pool",), _TUNNEL_SECONDS
)
BYTES: Final = Metric.counter(
    "trioproxy_bytes_total",
    "Octets received in tunnels behind the handshake, frame headers included; `to_upstream` came from clients. Live "
    "while tunnels are open.",
    (*_UPSTREAM, "direction"),
)
FRAMES: Final = Metric.counter(
    "trioproxy_frames_total",
    "WebSocket frames received, counted when their header is complete; not the one that breaks a rule or a limit, nor "
    "what comes behind it. `other` are reserved opcodes, which only pass with strict = false.",
    (*_UPSTREAM, "direction", "opcode"),
)
MESSAGES: Final = Metric.counter(
    "trioproxy_messages_total",
    "WebSocket messages received in whole (text and binary, however many frames they came in).",
    (*_UPSTREAM, "direction"),
)
MESSAGE_SIZE: Final = Metric.size_histogram(
    "trioproxy_message_size_bytes",
    "Payload of the messages in trioproxy_messages_total, as on the wire (so compressed where the ends compress), "
    "summed over the frames of each. Live while tunnels are open.",
    ("pool", "direction"),
    _MESSAGE_BYTES,
)
INJECTED_FRAMES: Final = Metric.counter(
    "trioproxy_injected_frames_total",
    "Frames the proxy itself sent into tunnels, by the side that got them; and as `pong` the answers to its pings, "
    "which it took out, by the side that sent them. No other metric counts any of these, nor their octets.",
    ("pool", "side", "opcode"),
)
CLOSES: Final = Metric.counter(
    "trioproxy_closes_total",
    "Tunnels ended, by who ended them and the Close code: `none` means cut without a Close frame (what clients see as "
    "1006), `empty` a Close without a code.",
    (*_UPSTREAM, "by", "code"),
)
ENDINGS: Final = Metric.counter(
    "trioproxy_endings_total",
    "Requests, tunnels and connections ended: who ended them, how far they had come, why. Reason `done` is the good "
    "end; `internal` is a bug with a traceback in the log.",
    ("by", "phase", "reason"),
)
PING_RTT: Final = Metric.histogram(
    "trioproxy_ping_rtt_seconds",
    "From sending a ping of the proxy's own (websocket.ping_interval) to the Pong that answers it, by the side that "
    "was pinged. What waits in buffers before the ping counts, and what the side is in the middle of sending.",
    ("pool", "side"),
    _RTT_SECONDS,
)
UPSTREAM_UP: Final = Metric.gauge(
    "trioproxy_upstream_up", "1 while health checks call the upstream up, else 0 (down, or not probed yet).", _UPSTREAM
)
UPSTREAM_STATE: Final = Metric.gauge(
    "trioproxy_upstream_state", "1 for the state the upstream is in, 0 for the others.", (*_UPSTREAM, "state")
)
UPSTREAM_ACTIVE: Final = Metric.gauge(
    "trioproxy_upstream_active",
    "Leases held on the upstream: requests and tunnels, from being assigned (before the connect) to their end. Its "
    "max_connections is the most it gets.",
    _UPSTREAM,
)
UPSTREAM_WEIGHT: Final = Metric.gauge(
    "trioproxy_upstream_weight",
    "The share of new work the upstream gets, relative to its pool; slow start included.",
    _UPSTREAM,
    scale=1000,
)
UPSTREAM_FAILURES: Final = Metric.counter(
    "trioproxy_upstream_failures_total",
    "What the upstream failed at in the traffic itself, probes aside; passive checks go by it. `connect`: no connect, "
    "`handshake`: no valid answer to an upgrade, `response`: none to a plain request, an invalid one, or a part, "
    "`tunnel`: it left an open tunnel without a Close frame, was silent to pings, or broke the rules of framing, "
    "`chaos`: one of these, injected.",
    (*_UPSTREAM, "reason"),
)
CHAOS_INJECTED: Final = Metric.counter(
    "trioproxy_chaos_injected_total",
    "With admin.chaos, what chaos verbs have struck: `close` and `blackhole` count tunnels, `refuse` upgrades.",
    (*_UPSTREAM, "verb"),
)
CHAOS_ACTIVE: Final = Metric.gauge(
    "trioproxy_chaos_active", "With admin.chaos, 1 while a chaos verb is on for the upstream.", (*_UPSTREAM, "verb")
)
UPSTREAM_EJECTIONS: Final = Metric.counter(
    "trioproxy_upstream_ejections_total",
    "Ejections by passive checks (passive.max_failures); the reason is the failure that was one too many.",
    (*_UPSTREAM, "reason"),
)
PROBES: Final = Metric.counter(
    "trioproxy_probes_total",
    "Health probes ended: `ok`, or what went wrong; the log line probe_failed says more. `skipped` could not be made "
    "(out of descriptors) and `error` is a bug: neither says anything of the upstream.",
    (*_UPSTREAM, "result"),
)
PROBE_DURATION: Final = Metric.histogram(
    "trioproxy_probe_duration_seconds", "How long health probes took, failed ones included.", _UPSTREAM, _PROBE_SECONDS
)
CONNECT_FAILURES: Final = Metric.counter(
    "trioproxy_connect_failures_total",
    "Connects to the upstream that failed for requests and tunnels (probes are not in it). `overloaded` is this "
    "machine's doing: it is out of descriptors or memory.",
    (*_UPSTREAM, "reason"),
)
CONNECT_DURATION: Final = Metric.histogram(
    "trioproxy_connect_duration_seconds",
    "How long connecting to upstreams took where it succeeded (probes are not in it).",
    ("pool",),
    _CONNECT_SECONDS,
)
RETRIES: Final = Metric.counter(
    "trioproxy_retries_total",
    "Requests tried again at another upstream, by what went wrong before (as in retry_on; `chaos` was injected). No "
    "client saw it, but one fails: trioproxy_connect_failures_total and trioproxy_handshakes_total say which.",
    ("pool", "reason"),
)
QUEUE_LENGTH: Final = Metric.gauge(
    "trioproxy_queue_length",
    "Requests and upgrades that wait for a lease because every upstream of the pool that is up is full (queue).",
    ("pool",),
)
CONFIG_RELOADS: Final = Metric.counter(
    "trioproxy_config_reloads_total",
    "Reloads asked for: `applied`; `invalid`, the file has mistakes; `refused`, it asks for what takes a restart or "
    "cannot be opened; `failed`, a bug with a traceback in the log. Only the first changes anything.",
    ("result",),
)
CONFIG_LAST_RELOAD_SUCCESSFUL: Final = Metric.gauge(
    "trioproxy_config_last_reload_successful", "1 while the file as last read is in force, else 0: see the log."
)
CONFIG_LAST_RELOAD_SUCCESS: Final = Metric.gauge(
    "trioproxy_config_last_reload_success_timestamp_seconds",
    "Unix time at which the configuration in force came into force.",
    scale=1000,
)
EVENT_LOOP_LAG: Final = Metric.histogram(
    "trioproxy_event_loop_lag_seconds",
    "How much later than due the event loop ran a timer, sampled about once a second: what every connection waits for. "
    "Where 50 ms are usual, one process has too much to do: more server.workers. `supervisor` is the process beside "
    "several workers, which has no connections.",
    ("worker",),
    _LAG_SECONDS,
)
WORKER_RESTARTS: Final = Metric.counter(
    "trioproxy_worker_restarts_total",
    "Worker processes started anew: `killed` by a signal, `exited` by itself, `stalled` (its loop stood still, so it "
    "was killed), `start` (it was not ready in time), `reload` (it came up with the old configuration while another "
    "was put in force).",
    ("reason",),
)
WORKER_CPU: Final = Metric.counter(
    "trioproxy_worker_cpu_seconds_total",
    "CPU time of the process, user and system. `supervisor` is the process beside several workers.",
    ("worker",),
    scale=1_000_000,
)
WORKER_MEMORY: Final = Metric.gauge(
    "trioproxy_worker_resident_memory_bytes", "Resident memory of the process.", ("worker",)
)
WORKER_DESCRIPTORS: Final = Metric.gauge(
    "trioproxy_worker_open_fds",
    "Open descriptors of the process; process_max_fds is how many there may be.",
    ("worker",),
)
LOG_LINES_DROPPED: Final = Metric.counter(
    "trioproxy_log_lines_dropped_total",
    "Log lines lost because their reader stalled, the disk was full or the file could not be written.",
)
SERIES_DROPPED: Final = Metric.counter(
    "trioproxy_series_dropped_total",
    "Series there was no room for on the board: what they would have counted is missing from all figures. Should be 0.",
)
DRAINING: Final = Metric.gauge("trioproxy_draining", "1 while the proxy shuts down politely, else 0.")

ALL_METRICS: Final[tuple[Metric, ...]] = (
    BUILD_INFO, CONNECTIONS_ACTIVE, CONNECTIONS, CONNECTIONS_REJECTED, CONNECTIONS_LIMIT,
    ACCEPT_FAILURES, CERTIFICATE_EXPIRY, REQUESTS, REQUEST_DURATION, HTTP_BYTES, HANDSHAKES,
    HANDSHAKE_DURATION, TUNNELS_ACTIVE, TUNNELS, TUNNEL_DURATION, BYTES, FRAMES, MESSAGES,
    MESSAGE_SIZE, INJECTED_FRAMES, CLOSES, ENDINGS, PING_RTT, UPSTREAM_UP, UPSTREAM_STATE,
    UPSTREAM_ACTIVE, UPSTREAM_WEIGHT, UPSTREAM_FAILURES, UPSTREAM_EJECTIONS, CHAOS_INJECTED,
    CHAOS_ACTIVE, PROBES, PROBE_DURATION, CONNECT_FAILURES, CONNECT_DURATION, RETRIES, QUEUE_LENGTH,
    CONFIG_RELOADS, CONFIG_LAST_RELOAD_SUCCESSFUL, CONFIG_LAST_RELOAD_SUCCESS, EVENT_LOOP_LAG,
    WORKER_RESTARTS, WORKER_CPU, WORKER_MEMORY, WORKER_DESCRIPTORS, LOG_LINES_DROPPED,
    SERIES_DROPPED, DRAINING,
)  # fmt: skip
