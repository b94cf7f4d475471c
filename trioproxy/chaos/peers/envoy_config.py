"""Envoy's configuration in a run: what it starts with, and the files on disk that it watches (xDS).

Pure. Starting and commanding it is `envoy`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trioproxy.chaos.peers.settings import PROBE_KEY, pool_of
from trioproxy.chaos.proxies import POOL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from trioproxy.config import Config, PoolConfig

_TYPE: Final = "type.googleapis.com/envoy"
_RETRY: Final[Mapping[str, str]] = {"connect": "connect-failure", "closed": "reset", "5xx": "5xx"}

Json = dict[str, Any]


def bootstrap(folder: Path, admin: int) -> Json:
    """What it is started with: its admin at this port of loopback, and where the rest is."""
    return {
        "node": {"id": "chaos", "cluster": "chaos"},
        "admin": {"address": _address("127.0.0.1", admin)},
        "dynamic_resources": {"cds_config": _watched(folder, "clusters"), "lds_config": _watched(folder, "listeners")},
    }


def resources(config: Config, folder: Path, drained: Collection[str] = ()) -> Mapping[str, Json]:
    """The watched files by their names; the upstreams in `drained` get nothing new."""
    return {
        "endpoints": _file(_endpoints(config, drained)),
        "clusters": _file(_cluster(config, folder)),
        "routes": _file(_routes(config)),
        "listeners": _file(_listener(config, folder)),
    }


def path_of(folder: Path, name: str) -> Path:
    """Where one of them is."""
    return folder / f"{name}.json"


def _file(resource: Json) -> Json:
    return {"version_info": "1", "resources": [resource]}


def _watched(folder: Path, name: str) -> Json:
    return {"path_config_source": {"path": str(path_of(folder, name))}, "resource_api_version": "V3"}


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _split(address: str) -> Json:
    host, _, port = address.rpartition(":")
    return _address(host.strip("[]"), int(port))


def _seconds(seconds: float) -> str:
    return f"{max(seconds, 0.001):.3f}s"


def _endpoints(config: Config, drained: Collection[str]) -> Json:
    endpoints = [
        {
            "endpoint": {"address": _split(upstream.address)},
            "health_status": "DRAINING" if upstream.address in drained else "UNKNOWN",  # unknown: as probes find
        }
        for upstream in pool_of(config).upstreams
    ]
    return {
        "@type": f"{_TYPE}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": POOL,
        "endpoints": [{"lb_endpoints": endpoints}],
    }


def _cluster(config: Config, folder: Path) -> Json:
    pool = pool_of(config)
    least = pool.balance == "least-connections"
    slow_start = {"slow_start_config": {"slow_start_window": _seconds(pool.slow_start)}} if pool.slow_start else {}
    most = config.limits.max_connections  # the default of 1,024 is a limit that nobody asked for
    thresholds = [
        {"max_connections": most, "max_pending_requests": most, "max_requests": most, "max_retries": most},
    ]
    return {
        "@type": f"{_TYPE}.config.cluster.v3.Cluster",
        "name": POOL,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": _watched(folder, "endpoints")},
        "connect_timeout": _seconds(config.timeouts.connect),
        "lb_policy": "LEAST_REQUEST" if least else "ROUND_ROBIN",
        **({("least_request_lb_config" if least else "round_robin_lb_config"): slow_start} if slow_start else {}),
        # By default it sends requests to those that are down, too, once they are the half.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": thresholds},
        **_probes(pool),
        **_outliers(pool),
        **_keepalive(config),
    }


def _probes(pool: PoolConfig) -> Json:
    health = pool.health
    if health.probe == "none":
        return {}
    check: Json = {
        "interval": _seconds(health.interval),
        "no_traffic_interval": _seconds(health.interval),  # by default once a minute before the first request
        "interval_jitter_percent": 10,
        "timeout": _seconds(health.timeout),
        "healthy_threshold": health.rise,
        "unhealthy_threshold": health.fall,
    }
    if health.probe == "http":
        check["http_health_check"] = {
            "host": health.host,
            "path": health.path,
            "expected_statuses": [{"start": status, "end": status + 1} for status in health.expect],
            "request_headers_to_add": [_header(name, value) for name, value in health.headers.items()],
        }
    elif health.probe == "websocket":
        # Its HTTP check waits for the end of an answer, and a 101 has none: the handshake in bytes.
        fields = {"Host": health.host or POOL, "Connection": "Upgrade", "Upgrade": "websocket", **health.headers}
        fields |= {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": PROBE_KEY}
        request = f"GET {health.path} HTTP/1.1\r\n" + "".join(f"{name}: {each}\r\n" for name, each in fields.items())
        send = {"text": f"{request}\r\n".encode().hex()}
        check["tcp_health_check"] = {"send": send, "receive": [{"text": b"HTTP/1.1 101 ".hex()}]}
        check["reuse_connection"] = False  # it is a tunnel then
    else:
        check["tcp_health_check"] = {}
    return {"health_checks": [check]}


def _outliers(pool: PoolConfig) -> Json:
    passive = pool.passive
    if not passive.max_failures:
        return {}
    return {
        "outlier_detection": {
            "consecutive_5xx": passive.max_failures,  # failed connects are such, too
            "interval": "1s",
            "base_ejection_time": _seconds(passive.eject),
            "max_ejection_percent": 50,
        }
    }


def _keepalive(config: Config) -> Json:
    if not config.websocket.ping_interval:
        return {}
    seconds = max(1, round(config.websocket.ping_interval))
    keepalive = {"keepalive_probes": 1, "keepalive_time": seconds, "keepalive_interval": seconds}
    return {"upstream_connection_options": {"tcp_keepalive": keepalive}}


def _header(name: str, value: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _routes(config: Config) -> Json:
    pool = pool_of(config)
    fields = {"x-forwarded-host": "%REQ(:AUTHORITY)%", "x-real-ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    if config.server.via:
        fields["via"] = f"1.1 {config.server.via}"
    others = f"{_TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retry: Json = {
        "retry_on": ",".join(_RETRY[each] for each in pool.retry_on),
        "num_retries": pool.attempts - 1,
        # Without these two a retry may go to the upstream that has just failed.
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": others}}
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},  # to another one, so at once
    }
    route: Json = {"cluster": POOL, "timeout": _seconds(config.timeouts.handshake)}  # until the 101, in an upgrade
    if pool.retry_on and pool.attempts > 1:
        route["retry_policy"] = retry
    return {
        "@type": f"{_TYPE}.config.route.v3.RouteConfiguration",
        "name": "routes",
        "request_headers_to_add": [_header(name, value) for name, value in fields.items()],
        "virtual_hosts": [{"name": "any", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}],
    }


def _listener(config: Config, folder: Path) -> Json:
    timeouts = config.timeouts
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "codec_type": "HTTP1",
        "use_remote_address": True,  # X-Forwarded-For and -Proto
        "generate_request_id": False,
        "stream_idle_timeout": _seconds(timeouts.tunnel_idle),
        "request_headers_timeout": _seconds(timeouts.head),
        "common_http_protocol_options": {"idle_timeout": _seconds(timeouts.keep_alive)},
        "delayed_close_timeout": "0.1s",  # by default a client learns a second late that its upstream is gone
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [
            {
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": str(folder / "access.log"),
                },
            }
        ],
        "rds": {"route_config_name": "routes", "config_source": _watched(folder, "routes")},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    return {
        "@type": f"{_TYPE}.config.listener.v3.Listener",
        "name": "public",
        "address": _split(config.listeners[0].address),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
