"""What a scenario asks of any proxy, from its `[proxy.settings]`; and what of it a peer does not do as asked.

Pure. How a peer is made to do it stands in a module for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from trioproxy.chaos.proxies import POOL, ProxyError, as_toml, base_settings, laid_over
from trioproxy.config_file import ConfigError, parse_config

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from trioproxy.config import Config, PoolConfig

# Of these every proxy has its own, which is no loss to a scenario.
_PLUMBING: Final = ("admin", "log", "server.handover", "listeners", "routes", f"pools.{POOL}.upstreams")
# What every peer has in its own words.
COMMON: Final = frozenset(
    {
        "server.workers",
        "server.via",
        "server.drain.timeout",
        "limits.max_connections",
        "timeouts.head",
        "timeouts.connect",
        "timeouts.keep_alive",
        "timeouts.tunnel_idle",
        f"pools.{POOL}.balance",
        f"pools.{POOL}.attempts",
        f"pools.{POOL}.retry_on",
        f"pools.{POOL}.passive",
    }
)


PROBE_KEY: Final = "dHJpb3Byb3h5IGNoYW9zIQ=="  # of a probe's upgrade: any 16 bytes


def understood(listener: str, upstreams: Sequence[str], settings: Mapping[str, Any]) -> Config:
    """The configuration that trioproxy would have in this place, every default filled in. Raises ProxyError."""
    whole = laid_over(base_settings(listener, "", upstreams), settings)
    try:
        return parse_config(as_toml(whole), "proxy.settings")
    except ConfigError as error:
        raise ProxyError("; ".join(str(error).splitlines())) from None


def pool_of(config: Config) -> PoolConfig:
    """The one that hops stand in."""
    return config.pools[POOL]


def remarks(settings: Mapping[str, Any], taken: Collection[str], notes: Mapping[str, str]) -> Sequence[str]:
    """What is not done as these settings ask: a key or a table of keys, and why or what instead.

    `taken` and `notes` name keys or tables; a key in neither is one that the peer has nothing for.
    """
    found: dict[str, str] = {}
    for key in sorted(_keys(settings)):
        table = _within(key, notes)
        if table or not _within(key, (*taken, *_PLUMBING)):
            found[table or key] = notes.get(table, "has no such setting")
    return [f"{key}: {why}" for key, why in found.items()]


def usual() -> Mapping[str, Any]:
    """The settings that every run has."""
    return base_settings("", "", ())


def _keys(settings: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _keys(value, f"{above}{key}.")
        else:
            yield f"{above}{key}"


def _within(key: str, names: Collection[str]) -> str:
    """The one of these keys and tables that has it; empty for none."""
    return next((name for name in names if key == name or key.startswith(f"{name}.")), "")


def ms(seconds: float) -> str:
    """A time as nginx and HAProxy write it."""
    return f"{round(seconds * 1000)}ms"
