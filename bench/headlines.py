"""Which figures stand for the whole, and what trioproxy is held to beside its peers.

Cases whose number the quick run shortens are named without it ("memory-").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from bench.results import Results


@attrs.frozen
class Headline:
    """One figure of one case; `better` is "less" or "more"."""

    title: str
    case: str
    figure: str
    unit: str
    better: str = "less"


HEADLINES = (
    Headline("CPU per 64 B round trip, 64 tunnels", "echo-64B-64", "proxy_cpu_us", "µs"),
    Headline("CPU per 1 KiB round trip, 64 tunnels", "echo-1KiB-64", "proxy_cpu_us", "µs"),
    Headline("CPU per message, 1,000 quiet tunnels", "sparse-", "proxy_cpu_us", "µs"),
    Headline("64 KiB frames, 16 tunnels", "echo-64KiB-16", "mb_per_second", "MB/s", "more"),
    Headline("1 MiB frames, 16 tunnels", "echo-1MiB-16", "mb_per_second", "MB/s", "more"),
    Headline("p50, one tunnel, 64 B", "echo-64B-1", "p50_us", "µs"),
    Headline("p99, 64 tunnels, 64 B", "echo-64B-64", "p99_us", "µs"),
    Headline("memory per idle tunnel", "memory-", "kb_per_tunnel", "KB"),
    Headline("CPU per handshake", "handshake-", "proxy_cpu_us", "µs"),
    Headline("handshakes a second", "handshake-", "per_second", "/s", "more"),
    Headline("CPU per plain HTTP request", "http-", "proxy_cpu_us", "µs"),
    Headline("plain HTTP requests a second", "http-", "per_second", "/s", "more"),
    Headline("TLS: CPU per 64 B round trip, 64 tunnels", "tls-echo-64B-64", "proxy_cpu_us", "µs"),
    Headline("TLS: CPU per 64 KiB round trip, 16 tunnels", "tls-echo-64KiB-16", "proxy_cpu_us", "µs"),
    Headline("TLS: 64 KiB frames, 16 tunnels", "tls-echo-64KiB-16", "mb_per_second", "MB/s", "more"),
    Headline("TLS: CPU per handshake, TLS and WebSocket", "tls-handshake-", "proxy_cpu_us", "µs"),
    Headline("TLS: CPU per HTTP request", "tls-http-", "proxy_cpu_us", "µs"),
    Headline("TLS: memory per idle tunnel", "tls-memory-", "kb_per_tunnel", "KB"),
)


@attrs.frozen
class Judgement:
    """`value` is trioproxy's median; `ratio` its relation to the peer's, comparable with the goal's factor."""

    value: float
    bound: float
    ratio: float | None
    met: bool


@attrs.frozen
class Goal:
    """trioproxy's median is at most (`better` "less") or at least ("more") `factor` times the peer's median.

    Without a peer the factor is the bound itself. `own` is the row that is judged. With fewer processors than `cpus`
    the figure would be the machine's: it is not judged, and `skipped` says so.
    """

    title: str
    case: str
    figure: str
    better: str
    factor: float
    peer: str = ""
    own: str = "trioproxy"
    cpus: int = 1

    def skipped(self, results: Results) -> str | None:
        """Why a goal whose case was measured is not judged; None where it is, or there is nothing to judge."""
        have = results.about["machine"]["cpus"]
        if have >= self.cpus or results.find(self.case) is None:
            return None
        return f"{self.title}: needs {self.cpus} processors, there are {have}"

    def judge(self, results: Results) -> Judgement | None:
        """None where either side was not measured, or is `skipped`."""
        if self.skipped(results):
            return None
        case = results.find(self.case) or ""
        own = results.spread(case, self.own, self.figure)
        other = results.spread(case, self.peer, self.figure) if self.peer else None
        if own is None or (self.peer and other is None):
            return None
        bound = self.factor * (other.median if other else 1.0)
        met = own.median <= bound if self.better == "less" else own.median >= bound
        return Judgement(own.median, bound, own.median / other.median if other else None, met)


GOALS = (
    Goal("CPU per 64 B round trip <= 1.0 haproxy", "echo-64B-64", "proxy_cpu_us", "less", 1.0, "haproxy"),
    Goal("CPU per 64 B round trip <= 1.15 nginx", "echo-64B-64", "proxy_cpu_us", "less", 1.15, "nginx"),
    Goal("CPU per 64 B round trip < envoy", "echo-64B-64", "proxy_cpu_us", "less", 1.0, "envoy"),
    Goal("CPU per 64 B round trip < caddy", "echo-64B-64", "proxy_cpu_us", "less", 1.0, "caddy"),
    *(
        Goal(f"{size} throughput >= {peer}", f"echo-{case}-16", "mb_per_second", "more", 1.0, peer)
        for size, case in (("64 KiB", "64KiB"), ("1 MiB", "1MiB"))
        for peer in ("nginx", "haproxy", "envoy", "caddy")
    ),
    Goal("memory per idle tunnel <= haproxy", "memory-", "kb_per_tunnel", "less", 1.0, "haproxy"),
    Goal("memory per idle tunnel <= 3.5 KB", "memory-", "kb_per_tunnel", "less", 3.5),
    Goal("CPU per handshake <= 0.7 envoy", "handshake-", "proxy_cpu_us", "less", 0.7, "envoy"),
    Goal("CPU per handshake <= 1.5 nginx", "handshake-", "proxy_cpu_us", "less", 1.5, "nginx"),
    Goal("no handshake fails", "handshake-", "failed", "less", 0),
    Goal("plain HTTP >= 1.2 envoy", "http-", "per_second", "more", 1.2, "envoy"),
    Goal("plain HTTP >= 0.5 nginx", "http-", "per_second", "more", 0.5, "nginx"),
    Goal("p50, one tunnel <= 1.6 nginx", "echo-64B-1", "p50_us", "less", 1.6, "nginx"),
    Goal("p50, one tunnel <= 1.2 nginx", "echo-64B-1", "p50_us", "less", 1.2, "nginx"),
    Goal("p99, 64 tunnels <= haproxy", "echo-64B-64", "p99_us", "less", 1.0, "haproxy"),
    Goal("open loop, CPU per message <= 2 nginx", "sparse-", "proxy_cpu_us", "less", 2.0, "nginx"),
    Goal("open loop, CPU per message <= 1.3 nginx", "sparse-", "proxy_cpu_us", "less", 1.3, "nginx"),
    Goal("a scrape holds the loop < 5 ms, 100 upstreams", "scrape-100-", "held_cpu_ms", "less", 5.0),
    # Two cores for the workers, one each for load and echo.
    Goal("two workers >= 1.7 one", "workers-", "per_second", "more", 1.7, "trioproxy", own="trioproxy-2", cpus=4),
    Goal(
        "two workers, CPU per round trip <= 1.1 one",
        "workers-",
        "proxy_cpu_us",
        "less",
        1.1,
        "trioproxy",
        "trioproxy-2",
    ),
)
