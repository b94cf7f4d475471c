"""When a setting that a reload changed is heeded: a statement for every one, and the reference page made of them.

What the settings are stands in `config`; `changes` asks here what takes a restart.
`python -m trioproxy.config_reload` prints the page as it should stand in docs/reference.
"""

import sys
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

import attrs

from trioproxy.config import (
    AdminConfig,
    Config,
    DrainConfig,
    HealthConfig,
    LimitsConfig,
    ListenerConfig,
    ListenerTlsConfig,
    LogConfig,
    PassiveConfig,
    PoolConfig,
    RouteConfig,
    ServerConfig,
    TimeoutsConfig,
    UpstreamConfig,
    UpstreamTlsConfig,
    WebSocketConfig,
)


class Reload(StrEnum):
    """When a changed setting is heeded."""

    RESTART = "at a restart: a reload that changes it is refused as a whole"
    AT_ONCE = "at once"
    REREAD = "at once; the file it names is read again at every reload"
    FILES = "by new connections; the file it names is read again at every reload"
    REQUESTS = "from the next request on, on open connections, too; what is under way goes on as it began"
    CONNECTIONS = "by new client connections; open ones go on as they began"
    LIMIT = "by new client connections; no open one is closed for being one too many"
    TUNNELS = "by new tunnels; open ones go on as they began"
    LONGER = "by new tunnels; a longer time by open ones, too, within a second"
    NAME = "at once; open tunnels keep the old name in metrics and logs"
    WAY = "at once; open tunnels whose way it takes away get Close 1012, others stay"
    TO_UPSTREAMS = (
        "by new connections to upstreams; idle ones are closed, tunnels stay; the file is read again at every reload"
    )
    PROBES = "at once: each upstream of the pool is probed, and its health goes on from what it was"


_WHEN: Final[Mapping[type, Mapping[Reload, str]]] = {
    ServerConfig: {Reload.RESTART: "workers handover", Reload.REQUESTS: "via"},
    DrainConfig: {Reload.AT_ONCE: "lame_duck spread timeout code"},
    AdminConfig: {Reload.RESTART: "address", Reload.REREAD: "token_file", Reload.AT_ONCE: "hosts ready_pools chaos"},
    LogConfig: {Reload.AT_ONCE: "format level access file"},
    LimitsConfig: {
        Reload.LIMIT: "max_connections",
        Reload.CONNECTIONS: "max_head_bytes max_headers",
        Reload.REQUESTS: "max_body_bytes min_body_rate",
    },
    TimeoutsConfig: {
        Reload.REQUESTS: "head connect handshake response body keep_alive",
        Reload.LONGER: "tunnel_idle",
        Reload.TUNNELS: "close",
    },
    WebSocketConfig: {
        Reload.TUNNELS: "ping_interval ping_timeout max_message_bytes max_message_rate max_frame_rate max_age strict",
    },
    ListenerConfig: {
        Reload.WAY: "address",
        Reload.NAME: "name",
        Reload.CONNECTIONS: "proxy_protocol trusted_proxies allow deny",
        Reload.LIMIT: "max_connections_per_client",
        Reload.REQUESTS: "handshake_rate",
    },
    ListenerTlsConfig: {Reload.FILES: "certificate key client_ca"},
    RouteConfig: {
        Reload.WAY: "host path listeners pool",
        Reload.NAME: "name",
        Reload.REQUESTS: "exact host_header forwarded request_id set_headers strip_prefix replace_prefix "
        "allow deny allowed_origins",
    },
    UpstreamConfig: {Reload.WAY: "address", Reload.REQUESTS: "weight max_connections backup"},
    UpstreamTlsConfig: {Reload.TO_UPSTREAMS: "server_name ca"},
    HealthConfig: {Reload.PROBES: "probe path host port headers subprotocol expect interval timeout rise fall"},
    PassiveConfig: {Reload.AT_ONCE: "max_failures window eject"},
    PoolConfig: {
        Reload.WAY: "name",
        Reload.REQUESTS: "balance attempts retry_on queue queue_timeout",
        Reload.AT_ONCE: "keep_alive keep_alive_connections slow_start",
    },
}
"""By the class of `config` that has them. What is not built yet needs none."""

_START: Final = """# What a reload applies, and when

<!-- Written by `python -m trioproxy.config_reload > docs/reference/reload.md`; the text is in that module. -->

How a reload goes, and what becomes of open tunnels, is in [the how-to](../how-to/reload.md). A setting that is added or
taken away counts as changed from or to its default. `[routes.timeouts]` and `[routes.websocket]` are as `[timeouts]`
and `[websocket]`.

| a change is heeded | settings |
|---|---|
"""


def heeded(settings: type, name: str) -> Reload | None:
    """When a change of that setting of a class of `config` is heeded; None where nothing is said, or it is a table."""
    return next((when for when, names in _WHEN.get(settings, {}).items() if name in names.split()), None)


def statements(settings: type = Config, where: str = "") -> Iterator[tuple[str, Reload]]:
    """Every setting with its key, as `pools.NAME.balance` and `routes[].path`, and its statement."""
    for field in attrs.fields(settings):
        inner = list(_tables(field.type))
        key = f"{where}{field.name}"
        if (when := heeded(settings, field.name)) is not None:
            yield key, when
        for table in inner:
            yield from statements(table, key + _step(field.type))


def _tables(annotation: Any) -> Iterator[type]:
    """The classes of `config` that a field of this type holds."""
    if isinstance(annotation, type) and attrs.has(annotation):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _tables(part)


def _step(annotation: Any) -> str:
    """How a key goes on inside a field of this type."""
    match typing.get_origin(annotation):
        case origin if origin is tuple:
            return "[]."
        case origin if origin is Mapping:
            return ".NAME."
        case _:
            return "."


def reload_page() -> str:
    """The reference page, as Markdown."""
    rows: dict[Reload, list[str]] = {when: [] for when in Reload}
    for key, when in statements():
        if not key.startswith(("routes[].timeouts", "routes[].websocket")):
            rows[when].append(f"`{key}`")
    return _START + "".join(f"| {when} | {', '.join(keys)} |\n" for when, keys in rows.items())


if __name__ == "__main__":
    sys.stdout.write(reload_page())
